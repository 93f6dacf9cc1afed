//! dmsetup(8): manage mapped devices from the command line.
//!
//! [`run`] is the whole program but for the process around it, so that tests run it against a
//! driver in memory. Words, columns and exit status are those of LVM2's dmsetup 1.02.185.
#![forbid(unsafe_code)]

mod commands;
pub mod completion;
pub mod concise;
mod error;
mod getopt;
mod nodes;
mod options;
mod report;
mod session;
pub mod table_line;
mod tree;
mod usage;

use error::Fail;
use libdm::Control;
use options::Opt;
use session::Session;
use std::io::{BufRead, Write};
use std::path::PathBuf;

/// How the driver is opened: not before a command needs it.
pub type Open<'a> = &'a dyn Fn() -> libdm::Result<Box<dyn Control + 'a>>;

/// What surrounds one run.
pub struct Environment<'a> {
    /// Opens the driver.
    pub open: Open<'a>,
    /// The directory that holds `mapper/`.
    pub dev_dir: PathBuf,
    /// `DM_DEFAULT_NAME_MANGLING_MODE`, if it is set.
    pub mangling: Option<String>,
    /// True where trees may be drawn with characters beyond ASCII.
    pub utf8: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// Tables and concise lists are read from here.
    pub stdin: &'a mut dyn BufRead,
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What went wrong.
    pub err: &'a mut dyn Write,
}

/// Runs a command line, without the program's name, and returns the exit status.
pub fn run(arguments: &[String], environment: Environment<'_>) -> u8 {
    let parsed = getopt::parse(arguments).map_err(|why| format!("dmsetup: {why}"));
    let checked = parsed.and_then(|(options, words)| {
        let mode = session::check(&options, environment.mangling.as_deref())?;
        commands::check(&options, words.first().map(String::as_str))?;
        Ok((options, words, mode))
    });
    let (options, words, mode) = match checked {
        Ok(checked) => checked,
        Err(why) => {
            let _ = writeln!(environment.err, "{why}\nCouldn't process command line.");
            return 1;
        }
    };
    let mut session = Session::new(options, mode, environment);
    let result = dispatch(&mut session, &words);
    let flushed = session.out.flush();
    match result {
        Ok(()) if flushed.is_ok() => 0,
        Ok(()) => 1,
        Err(fail) => {
            let _ = fail.print(&mut *session.err);
            1
        }
    }
}

fn dispatch(session: &mut Session<'_>, words: &[String]) -> Result<(), Fail> {
    let name = match words.first() {
        _ if session.options.has(Opt::Help) => "help",
        _ if session.options.has(Opt::Version) => "version",
        Some(name) => name,
        None => {
            usage::print(&mut *session.err)?;
            return Err(Fail::Said);
        }
    };
    let asked_by_option = words.first().is_none_or(|word| word != name);
    let words = if asked_by_option { &[] } else { words.get(1..).unwrap_or_default() };
    if commands::needs_udev(name) {
        let why = "There is no udev on this system, so there are no udev cookies.";
        return Err(Fail::Because(why.into()));
    }
    if let ("completion", [shell]) = (name, words) {
        return commands::completion(session, shell);
    }
    let Some(command) = commands::find(name) else {
        writeln!(session.err, "Unknown command.")?;
        usage::print(&mut *session.err)?;
        return Err(Fail::Said);
    };
    if words.len() < command.min || command.max.is_some_and(|max| words.len() > max) {
        writeln!(session.err, "Incorrect number of arguments.")?;
        usage::print(&mut *session.err)?;
        return Err(Fail::Said);
    }
    match commands::run(session, command, words) {
        // As LVM2, which has told the library's version by then.
        Err(fail) if asked_by_option && name == "version" => {
            session.out.flush()?;
            fail.print_reason(&mut *session.err)?;
            Ok(())
        }
        result => result,
    }
}
