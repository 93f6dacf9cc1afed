//! Going to the background: the program starts itself again and waits until that is ready.

use crate::options::Options;
use std::env;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

/// Set for the one in the background.
pub const MARK: &str = "DMHOST_DAEMON";

/// Starts the one in the background; returns when it is ready.
pub fn start(_: &Options) -> Result<(), String> {
    let mut arguments = env::args_os().filter(|argument| argument != "--daemon");
    // Where the system does not tell, under the name that found it.
    let called = arguments.next().unwrap_or_default();
    let program = env::current_exe().unwrap_or_else(|_| called.into());
    let mut child = Command::new(program)
        .args(arguments)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start: {error}"))?;
    let mut ready = [0; 1];
    let told = child.stdout.take().is_some_and(|mut out| out.read_exact(&mut ready).is_ok());
    if told {
        return Ok(());
    }
    // It said why on standard error.
    let status = child.wait().map_err(|error| error.to_string())?;
    Err(format!("it did not get ready: {status}"))
}

/// Are we the one in the background?
pub fn is_background() -> bool {
    env::var_os(MARK).is_some()
}

/// In the background: tells the one that waits, and leaves its terminal.
pub fn detach() -> Result<(), String> {
    let wrong = |error: rustix::io::Errno| format!("cannot go to the background: {error}");
    // It is the leader of a group only if something else made it one.
    let _ = rustix::process::setsid();
    rustix::io::write(rustix::stdio::stdout(), b"\n").map_err(wrong)?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| format!("/dev/null: {error}"))?;
    rustix::stdio::dup2_stdout(&null).map_err(wrong)?;
    rustix::stdio::dup2_stderr(&null).map_err(wrong)
}
