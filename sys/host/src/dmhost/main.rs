//! dmhost: the device mapper in a process. See dmhost(8).
#![deny(unsafe_code)]

mod daemon;
#[cfg(target_os = "linux")]
mod exec;
mod logger;
mod options;
mod place;
mod ready;
mod service;

use clap::Parser;
use options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    #[cfg(target_os = "linux")]
    if let Some(verb) = &options.verb {
        return exec::run(verb);
    }
    logger::start(options.verbose);
    let run = if options.daemon { daemon::start } else { service::run };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
