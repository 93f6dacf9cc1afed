//! What ends a command, and the one place where it is printed.

use dm_protocol::{Errno, Failure};
use std::fmt;
use std::io::{self, Write};

/// Why a command failed.
#[derive(Debug)]
pub enum Fail {
    /// All was said already.
    Said,
    /// The reason, before `Command failed.`
    Because(String),
    /// The driver refused.
    Refused {
        /// The name of the driver's command.
        command: &'static str,
        /// Which device: its name, its uuid, its number if that is known.
        subject: String,
        /// The name alone.
        name: String,
        /// Number and sentence.
        failure: Failure,
    },
    /// Standard output is gone.
    Output(io::Error),
}

impl Fail {
    /// Prints the reason, and that the command failed.
    pub fn print(&self, err: &mut dyn Write) -> io::Result<()> {
        self.print_reason(err)?;
        match self {
            Self::Said => Ok(()),
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            _ => writeln!(err, "Command failed."),
        }
    }

    /// Prints the reason alone.
    pub fn print_reason(&self, err: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Said => {}
            Self::Because(reason) if reason.is_empty() => {}
            Self::Because(reason) => writeln!(err, "{reason}")?,
            Self::Refused { command, subject, name, failure } => {
                let Failure { errno, message } = failure;
                // The one name that LVM2 writes in another way than the driver.
                let command = if *command == "target_version" { "target-version" } else { command };
                writeln!(err, "device-mapper: {command} ioctl on {subject} failed: {errno}")?;
                if command == "reload" && !message.is_empty() {
                    writeln!(err, "device-mapper: table: {name}: {message}")?;
                } else if !message.is_empty() {
                    writeln!(err, "device-mapper: {command}: {message}")?;
                }
            }
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Output(error) => writeln!(err, "Output failed: {error}")?,
        }
        Ok(())
    }

    /// True when the driver does not know the device.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { failure, .. } if failure.errno == Errno::ENOENT)
    }
}

/// What the system says, without the number that Rust adds.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(reason, _)| reason).into()
}

impl From<io::Error> for Fail {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<fmt::Error> for Fail {
    fn from(_: fmt::Error) -> Self {
        Self::Because("formatting failed".into())
    }
}

impl From<libdm::Error> for Fail {
    /// For commands without a device.
    fn from(error: libdm::Error) -> Self {
        match error {
            libdm::Error::Refused { command, failure } => Self::Refused {
                command: command.name(),
                subject: "  ".into(),
                name: String::new(),
                failure,
            },
            error => Self::Because(error.to_string()),
        }
    }
}
