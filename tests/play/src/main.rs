//! Plays the cases of an exchange disk on the Linux kernel it runs on: `dm-play DISK`. What they
//! print goes to standard output.

use dm_play::case::{Case, Script, foreign, parse};
use dm_play::exchange::{Part, Place, TEXT, has_targets, layout, print_part};
use dm_play::linux::{Linux, targets, versions};
use dm_play::play::play;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::{env, io};

fn main() -> ExitCode {
    let disk = env::args().nth(1).unwrap_or_else(|| "/dev/vda".into());
    match work(&disk) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("dm-play: {why}");
            ExitCode::FAILURE
        }
    }
}

fn work(disk: &str) -> Result<(), String> {
    let file =
        OpenOptions::new().read(true).write(true).open(disk).map_err(|why| why.to_string())?;
    let script = text(&file)?;
    let (places, _) = layout(&script);
    let targets = targets();
    say(&format!("@versions {}\n@targets {}\n", versions(), targets.join(" ")))?;
    for ((nr, case), places) in script.cases.iter().enumerate().zip(&places) {
        if has_targets(case, &targets) {
            run_case(disk, &file, nr, case, places)
                .map_err(|why| format!("{}: {why}", case.name))?;
        }
    }
    file.sync_all().map_err(|why| why.to_string())?;
    say("@complete\n")
}

fn text(file: &File) -> Result<Script, String> {
    let mut bytes = vec![0; TEXT as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|why| why.to_string())?;
    let end = bytes.iter().position(|byte| *byte == 0).ok_or("the text has no end")?;
    parse(&String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()))
}

fn run_case(
    disk: &str,
    file: &File,
    nr: usize,
    case: &Case,
    places: &[Place],
) -> Result<(), String> {
    let on = |part, steps, at: fn(&Place) -> u64| {
        let disks = case.disks.iter().map(|disk| disk.name.as_str()).zip(places);
        let mut side = Linux::attach(disk, disks, at)?;
        let printed = play(&mut side, &case.disks, steps);
        say(&print_part(nr, part, &printed))
    };
    on(Part::Before, case.before.as_slice(), |place| place.linux)?;
    let Some(after) = case.after.as_deref() else { return Ok(()) };
    file.sync_all().map_err(|why| why.to_string())?;
    for place in places {
        copy(file, place).map_err(|why| why.to_string())?;
    }
    on(Part::After, after, |place| place.scratch)?;
    if !foreign(&case.before) {
        on(Part::Crossed, after, |place| place.ours)?;
    }
    Ok(())
}

/// What Linux left, for the steps behind the handover, so that it can be handed out as it is.
fn copy(file: &File, place: &Place) -> io::Result<()> {
    let mut bytes = vec![0; place.bytes as usize];
    file.read_exact_at(&mut bytes, place.linux)?;
    file.write_all_at(&bytes, place.scratch)?;
    file.sync_data()
}

fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|why| why.to_string())
}
