//! Running a program instead of serving devices.

use crate::logger;
use crate::options::Verb;
use dm_host::exec::{self, keeper};
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Does what the command line says; the program's exit status is ours.
pub fn run(verb: &Verb) -> ExitCode {
    logger::start(match verb {
        Verb::Exec { verbose, .. } => *verbose,
        Verb::KeepLoops { .. } => 0,
    });
    let done = match verb {
        Verb::Exec { command, .. } => exec::run(command).map(ExitCode::from),
        Verb::KeepLoops { folder, nodes } => {
            let stream = io::stdin().as_fd().try_clone_to_owned();
            let stream = stream.map_err(|error| error.to_string());
            let kept =
                stream.and_then(|stream| keeper::serve(stream.into(), folder, nodes.as_deref()));
            kept.map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|why| {
        log::error!("{why}");
        // As a shell that cannot start a command.
        ExitCode::from(127)
    })
}
