//! The commands: one table, from which they are found, explained and completed.

mod create;
mod deps;
mod info;
mod load;
mod ls;
mod mangle;
mod message;
mod mknodes;
mod remove;
mod rename;
mod setgeometry;
mod splitname;
mod status;
mod suspend;
mod targets;
mod wait;
mod wipe_table;

use crate::error::Fail;
use crate::options::{Opt, Options};
use crate::report::Report;
use crate::session::{Session, Subject};
use crate::usage;
use libdm::Entry;

/// One use of a command.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The command's name.
    pub name: &'static str,
    /// Its words. A command that takes devices is called once for each.
    pub words: &'a [String],
    /// There may be more devices, so say which one a line is about.
    pub multiple: bool,
}

impl Call<'_> {
    /// The n-th word.
    pub fn word(&self, nr: usize) -> Option<&str> {
        self.words.get(nr).map(String::as_str)
    }
}

/// A row of the table.
#[derive(Clone, Copy)]
pub struct Command {
    pub name: &'static str,
    /// What follows the name in the usage.
    pub usage: &'static str,
    pub min: usize,
    pub max: Option<usize>,
    /// Its words are devices.
    each: bool,
    run: fn(&mut Session<'_>, &Call<'_>, &mut Report) -> Result<(), Fail>,
    pub help: &'static str,
}

macro_rules! commands {
    ($($name:literal $usage:expr, $words:expr, $run:path, $help:literal;)*) => {
        /// Every command, in the order of the usage.
        pub const ALL: &[Command] = &[$({
            let (min, max, each) = $words;
            Command { name: $name, usage: $usage, min, max, each, run: $run, help: $help }
        },)*];
    };
}

type Words = (usize, Option<usize>, bool);

const fn words(min: usize, max: usize) -> Words {
    (min, Some(max), false)
}

/// So many devices or more.
const fn devices(min: usize) -> Words {
    (min, None, true)
}

commands! {
    "help" "[-c|-C|--columns]", words(0, 0), help, "print the usage";
    "create" "<dev_name>
\t    [-j|--major <major> -m|--minor <minor>]
\t    [-U|--uid <uid>] [-G|--gid <gid>] [-M|--mode <octal_mode>]
\t    [-u|--uuid <uuid>] [--addnodeonresume|--addnodeoncreate]
\t    [--readahead {[+]<sectors>|auto|none}]
\t    [-n|--notable|--table {<table>|<table_file>}]
\tcreate --concise [<concise_device_spec_list>]",
        words(0, 2), create::create, "make a device";
    "remove" "[--deferred] [-f|--force] [--retry] <device>...",
        devices(0), remove::remove, "remove devices";
    "remove_all" "[-f|--force]", words(0, 0), remove::remove_all, "remove all devices";
    "suspend" "[--noflush] [--nolockfs] <device>...",
        devices(0), suspend::suspend, "hold new I/O back";
    "resume" "[--noflush] [--nolockfs] <device>...
\t       [--addnodeonresume|--addnodeoncreate]
\t       [--readahead {[+]<sectors>|auto|none}]",
        devices(0), suspend::resume, "make the inactive table live and let I/O flow";
    "load" "<device> [<table>|<table_file>] [--dry-run]",
        words(0, 2), load::load, "load a table into the inactive slot";
    "clear" "<device>", devices(0), suspend::clear, "drop the inactive table";
    "reload" "<device> [<table>|<table_file>] [--dry-run]",
        words(0, 2), load::load, "load a table into the inactive slot";
    "wipe_table" "[-f|--force] [--noflush] [--nolockfs] <device>...",
        devices(0), wipe_table::wipe_table, "replace the table by one that only fails";
    "rename" "<device> [--setuuid] <new_name_or_uuid>",
        words(1, 2), rename::rename, "rename a device or set its uuid";
    "message" "<device> <sector> <message>",
        (2, None, false), message::message, "say something to a target";
    "ls" "[--target <target_type>] [--exec <command>] [-o <options>] [--tree]",
        words(0, 0), ls::ls, "list the devices";
    "info" "[<device>...]", devices(0), info::info, "print the state of devices";
    "deps" "[-o <options>] [<device>...]", devices(0), deps::deps, "print the devices below";
    "status" "[<device>...] [--noflush] [--target <target_type>]",
        devices(0), status::status, "print the state of each segment";
    "table" "[<device>...] [--concise] [--target <target_type>] [--showkeys]",
        devices(0), status::table, "print the table";
    "wait" "<device> [<event_nr>] [--noflush] [--timeout <seconds>]",
        words(0, 2), wait::wait, "wait for an event";
    "mknodes" "[<device>...]", devices(0), mknodes::mknodes, "make the nodes of devices";
    "mangle" "[<device>...]", devices(0), mangle::mangle, "bring names into the mangled form";
    "target-version" "[<target>...]",
        devices(1), targets::target_version, "print the versions of target types";
    "targets" "", words(0, 0), targets::targets, "print the target types";
    "version" "", words(0, 0), targets::version, "print the versions";
    "setgeometry" "<device> <cyl> <head> <sect> <start>",
        words(5, 5), setgeometry::setgeometry, "set the geometry of a device";
    "splitname" "<device> [<subsystem>]",
        words(1, 2), splitname::splitname, "split the name of an LVM volume";
}

/// The command of this name.
pub fn find(name: &str) -> Option<&'static Command> {
    ALL.iter().find(|command| command.name == name)
}

/// True for a command of Linux alone.
pub fn needs_udev(name: &str) -> bool {
    let cookie = ["createcookie", "releasecookie", "cookies", "flags", "complete", "complete_all"];
    name.strip_prefix("udev").is_some_and(|rest| cookie.contains(&rest))
}

/// Checks `-o`, which names fields where there are columns and ways to write devices elsewhere.
pub fn check(options: &Options, command: Option<&str>) -> Result<(), String> {
    let Some(command) = command.and_then(find) else { return Ok(()) };
    match options.text(Opt::Options) {
        Some(_) if options.has(Opt::Columns) || command.name == "splitname" => Ok(()),
        Some(text) if options.has(Opt::Tree) => crate::tree::Style::parse(text, false).map(drop),
        Some(text) => ls::Shown::parse(text).map(drop),
        None => Ok(()),
    }
}

/// Runs a command, once for each of its devices if it takes devices.
pub fn run(session: &mut Session<'_>, command: &Command, words: &[String]) -> Result<(), Fail> {
    let name = command.name;
    let columns = session.has(Opt::Columns) || name == "splitname";
    let mut report = match columns && matches!(name, "info" | "splitname") {
        true => Report::new(session, name)?,
        false => Report::none(),
    };
    if report.help_only() {
        return Ok(());
    }
    let mut done = Ok(());
    if command.each {
        let by_option = session.has(Opt::Uuid) || session.has(Opt::Major);
        let multiple = words.len() > 1 || (words.is_empty() && !by_option);
        let each: Vec<&[String]> = match words {
            [] => vec![&[]],
            words => words.chunks(1).collect(),
        };
        for words in each {
            done = (command.run)(session, &Call { name, words, multiple }, &mut report);
            if done.is_err() {
                break;
            }
        }
    } else {
        done = (command.run)(session, &Call { name, words, multiple: false }, &mut report);
    }
    report.print(session)?;
    done
}

/// Calls `each` for every device, or says that there are none.
fn for_all(
    session: &mut Session<'_>,
    call: &Call<'_>,
    mut each: impl FnMut(&mut Session<'_>, &Subject, &Call<'_>) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let names = session.names()?;
    if names.is_empty() {
        writeln!(session.out, "No devices found")?;
    }
    let call = Call { multiple: true, ..*call };
    let mut failed = false;
    for Entry { name, .. } in names {
        match each(session, &Subject::named(name), &call) {
            Ok(()) => {}
            // It went between the list and the question.
            Err(fail) if fail.is_missing() => {}
            Err(fail @ Fail::Output(_)) => return Err(fail),
            Err(fail) => {
                session.out.flush()?;
                fail.print_reason(&mut *session.err)?;
                failed = true;
            }
        }
    }
    if failed { Err(Fail::Because(String::new())) } else { Ok(()) }
}

/// Says of a device that is not there what LVM2 says when asked for its state.
fn explain_missing(session: &mut Session<'_>, result: Result<(), Fail>) -> Result<(), Fail> {
    match result {
        Err(fail) if fail.is_missing() => {
            session.out.flush()?;
            writeln!(session.err, "Device does not exist.")?;
            Err(Fail::Because(String::new()))
        }
        result => result,
    }
}

/// Calls `each` for the device of a call, or for every device when none is named.
fn for_named_or_all(
    session: &mut Session<'_>,
    call: &Call<'_>,
    mut each: impl FnMut(&mut Session<'_>, &Subject, &Call<'_>) -> Result<(), Fail>,
) -> Result<(), Fail> {
    let by_option = session.has(Opt::Uuid) || session.has(Opt::Major);
    if call.words.is_empty() && !by_option {
        return for_all(session, call, each);
    }
    let subject = session.subject(call.word(0))?;
    each(session, &subject, call)
}

/// Not in the usage: what the files that complete command lines are made with.
pub fn completion(session: &mut Session<'_>, shell: &str) -> Result<(), Fail> {
    let text = crate::completion::for_shell(shell);
    let unknown = || Fail::Because("Shells are bash, fish and zsh.".into());
    session.out.write_all(text.ok_or_else(unknown)?.as_bytes())?;
    Ok(())
}

fn help(session: &mut Session<'_>, _: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    usage::print(&mut *session.err)?;
    if session.has(Opt::Columns) {
        crate::report::fields::print(&mut *session.err)?;
    }
    Ok(())
}
