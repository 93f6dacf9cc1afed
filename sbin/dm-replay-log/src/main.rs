//! dm-replay-log(8): lists a log of writes, or does again what it says.
#![forbid(unsafe_code)]

use clap::Parser;
use dm_protocol::write_log::EntryFlags;
use dm_replay_log::{Error, Log};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Lists a log of writes, or does again on a device what it says.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Begin behind this mark.
    #[arg(long, value_name = "MARK", conflicts_with = "start_entry")]
    start_mark: Option<String>,
    /// Begin with the entry of this number, counted from 0.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    start_entry: usize,
    /// End with this mark.
    #[arg(long, value_name = "MARK")]
    end_mark: Option<String>,
    /// Take at most so many entries.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// End with the next flush.
    #[arg(long)]
    next_flush: bool,
    /// End with the next durable write.
    #[arg(long)]
    next_fua: bool,
    /// Leave sectors that were discarded as they are.
    #[arg(long)]
    no_discard: bool,
    /// The log.
    log: PathBuf,
    /// The device to write to; without it, entries are listed.
    device: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("dm-replay-log: {why}");
            ExitCode::FAILURE
        }
    }
}

fn open(what: &'static str, path: &Path, write: bool) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(write).open(path);
    file.map_err(|why| Error::Io(what, why))
}

fn run(options: &Options) -> Result<(), Error> {
    let log = Log::read(open("the log", &options.log, false)?)?;
    let start = match &options.start_mark {
        Some(mark) => log.behind_mark(mark)?,
        None => options.start_entry,
    };
    if start > log.entries.len() {
        let why = format!("there is no entry {start}, there are {}", log.entries.len());
        return Err(Error::Missing(why));
    }
    let mut end = log.entries.len();
    if let Some(mark) = &options.end_mark {
        end = end.min(log.behind_mark(mark)?);
    }
    if let Some(limit) = options.limit {
        end = end.min(start.saturating_add(limit));
    }
    for (asked, flag) in
        [(options.next_flush, EntryFlags::FLUSH), (options.next_fua, EntryFlags::FUA)]
    {
        if asked {
            end = end.min(log.behind_next(start, flag));
        }
    }
    let end = end.max(start);
    let said = |why| Error::Io("standard output", why);
    let mut out = io::stdout().lock();
    let Some(device) = &options.device else {
        for (nr, noted) in log.entries.iter().enumerate().take(end).skip(start) {
            writeln!(out, "{nr} {noted}").map_err(said)?;
        }
        return Ok(());
    };
    log.replay(start..end, &open("the device", device, true)?, !options.no_discard)?;
    writeln!(out, "entries {start} to {end} of {}", log.entries.len()).map_err(said)
}
