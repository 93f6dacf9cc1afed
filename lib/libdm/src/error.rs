//! What can go wrong.

use dm_protocol::{Command, Errno, Failure};
use std::path::PathBuf;
use std::{fmt, io};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command has no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No driver was found. Displayed in two lines, the second tells how to get one.
    NoDriver {
        /// Where it was looked for.
        control: PathBuf,
        /// What was there instead.
        source: io::Error,
    },
    /// The way to the driver broke.
    Channel(io::Error),
    /// The driver's answer makes no sense.
    Reply(String),
    /// The driver refused the command and changed nothing.
    Refused {
        /// What it was asked to do.
        command: Command,
        /// Its error number and its sentence. A stock driver gives no sentence.
        failure: Failure,
    },
    /// A name or uuid that no driver would take; nothing was sent.
    Argument(Failure),
}

impl Error {
    /// The error number, when there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { failure, .. } | Self::Argument(failure) => Some(failure.errno),
            Self::NoDriver { .. } | Self::Channel(_) | Self::Reply(_) => None,
        }
    }

    /// True when the device asked about does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { failure, .. }
            if matches!(failure.errno, Errno::ENOENT | Errno::ENXIO))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver { control, source } => {
                writeln!(out, "{}: {source}", control.display())?;
                out.write_str(HOW_TO_GET_A_DRIVER)
            }
            Self::Channel(error) => write!(out, "device mapper: {error}"),
            Self::Reply(what) => write!(out, "device mapper: bad reply: {what}"),
            Self::Refused { command, failure } => write!(out, "{}: {failure}", command.name()),
            Self::Argument(failure) => failure.fmt(out),
        }
    }
}

const HOW_TO_GET_A_DRIVER: &str = if cfg!(target_os = "netbsd") {
    "Load the driver with `modload dm`, or build a kernel with `pseudo-device dm`."
} else {
    "Start a driver with `dmhost --dev-dir DIR`, and set DM_DEV_DIR to that directory."
};

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoDriver { source, .. } | Self::Channel(source) => Some(source),
            Self::Refused { failure, .. } | Self::Argument(failure) => Some(failure),
            Self::Reply(_) => None,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Argument(failure)
    }
}
