//! Counting instructions with valgrind: exact where the time is not.

use crate::driver::Case;
use crate::request::Order;
use std::env;
use std::path::Path;
use std::process::{Command, Output};

/// The first argument of the program when it shall only read.
pub const ARGUMENT: &str = "--read";

/// Instructions of one request; `None` where there is no valgrind.
pub fn per_request(case: Option<Case>) -> Option<f64> {
    let (few, many) = (2_000, 10_000);
    let count = |requests: u64| {
        let mut command = valgrind(&env::current_exe().ok()?);
        command.args([ARGUMENT.to_owned(), requests.to_string()]);
        if let Some(case) = case {
            let order = if case.order == Order::Random { "random" } else { "sequential" };
            command.args([case.segments.to_string(), case.levels.to_string(), order.into()]);
        }
        // Valgrind counts up to the end, however that comes.
        command.output().ok().filter(|output| output.status.success()).and_then(|o| collected(&o))
    };
    let difference = count(many)?.checked_sub(count(few)?)?;
    Some(difference as f64 / (many - few) as f64)
}

/// A program to be run with its instructions counted.
pub fn valgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command
}

/// The instructions of what [`valgrind`] prepared and somebody ran.
pub fn collected(output: &Output) -> Option<u64> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Does what [`per_request`] asked of another process: `requests [segments levels order]`.
pub fn read(words: &[String]) -> Option<()> {
    let requests = words.first()?.parse().ok()?;
    match words {
        [_, segments, levels, order] => {
            let order = if order == "random" { Order::Random } else { Order::Sequential };
            let (segments, levels) = (segments.parse().ok()?, levels.parse().ok()?);
            Case { segments, levels, order }.read(requests);
        }
        _ => crate::driver::read_disk(requests),
    }
    Some(())
}
