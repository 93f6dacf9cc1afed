//! The process around [`dmsetup::run`].
#![forbid(unsafe_code)]

use dmsetup::{Environment, run};
use libdm::{Channel, Control, dev_dir};
use std::env;
use std::io::{self, BufWriter, stderr, stdin};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> =
        env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let dev_dir = dev_dir();
    let open = || {
        let channel = Channel::open(&dev_dir)?;
        Ok(Box::new(channel) as Box<dyn Control>)
    };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| env::var(name).ok());
    let locale = locale.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
    let environment = Environment {
        open: &open,
        dev_dir: dev_dir.clone(),
        mangling: env::var("DM_DEFAULT_NAME_MANGLING_MODE").ok(),
        utf8: locale.to_ascii_uppercase().replace('-', "").ends_with("UTF8"),
        width: width(),
        stdin: &mut stdin().lock(),
        out: &mut BufWriter::new(io::stdout().lock()),
        err: &mut stderr().lock(),
    };
    ExitCode::from(run(&arguments, environment))
}

/// Columns of the terminal: what COLUMNS says, what the terminal says, or 80.
fn width() -> usize {
    let said = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
    };
    said.or_else(terminal).unwrap_or(80)
}
