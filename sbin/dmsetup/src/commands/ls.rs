//! ls: the devices, as a list, as a tree, or each to a command.

use super::{Call, status};
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::Session;
use crate::tree::{self, Style};
use libdm::DevNo;

/// How a device is written, `-o` of ls and deps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// `major:minor`
    #[default]
    Number,
    /// The mapped name, or that of its node.
    DeviceName,
    /// The kernel's name.
    BlockName,
}

impl Shown {
    /// Reads `-o`; of several the last one counts.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',').try_fold(Self::default(), |_, word| match word {
            "devno" => Ok(Self::Number),
            "devname" => Ok(Self::DeviceName),
            "blkdevname" => Ok(Self::BlockName),
            _ => Err(format!("Option not recognised: {text}.")),
        })
    }

    /// What the options say.
    pub fn of(session: &Session<'_>) -> Result<Self, Fail> {
        let text = session.options.text(Opt::Options).filter(|_| !session.has(Opt::Columns));
        text.map_or(Ok(Self::default()), Self::parse).map_err(Fail::Because)
    }
}

pub fn ls(session: &mut Session<'_>, call: &Call<'_>, report: &mut Report) -> Result<(), Fail> {
    if session.has(Opt::Target) || session.has(Opt::Exec) {
        return status::status(session, call, report);
    }
    if session.has(Opt::Tree) {
        let options = session.options.text(Opt::Options).unwrap_or_default();
        let style = Style::parse(options, session.utf8).map_err(Fail::Because)?;
        return tree::print(session, &style);
    }
    let names = session.names()?;
    if names.is_empty() {
        writeln!(session.out, "No devices found")?;
    }
    for entry in names {
        print_one(session, &entry.name, entry.devno)?;
    }
    Ok(())
}

/// Prints a device that `--target` found, as LVM2 does: the number in its other form.
pub fn print_found(session: &mut Session<'_>, name: &str, devno: DevNo) -> Result<(), Fail> {
    let name = session.shown(name);
    writeln!(session.out, "{name}\t({}, {})", devno.major, devno.minor)?;
    Ok(())
}

fn print_one(session: &mut Session<'_>, name: &str, devno: DevNo) -> Result<(), Fail> {
    let name = session.shown(name);
    let what = match Shown::of(session)? {
        Shown::Number => devno.to_string(),
        Shown::DeviceName => name.clone(),
        Shown::BlockName => tree::block_name(devno),
    };
    writeln!(session.out, "{name}\t({what})")?;
    Ok(())
}
