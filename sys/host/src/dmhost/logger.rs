//! The log: lines on standard error, as journald and a terminal take them.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::{Write, stderr};

struct Lines;

impl Log for Lines {
    /// Other crates tell of their doings, which matter to us only when we are asked for
    /// everything.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let foreign = metadata.target().starts_with("fuser");
        !foreign || metadata.level() == Level::Error || log::max_level() > LevelFilter::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let kind = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        // One write, so that lines of several threads do not mix. Nobody can be told of a failure.
        let line = format!("dmhost: {kind}{}\n", record.args());
        let _ = stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// Starts logging: what matters, and more with each `-v`.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if log::set_logger(&Lines).is_ok() {
        log::set_max_level(level);
    }
}
