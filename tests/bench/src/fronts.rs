//! NBD and FUSE: measured by `tests/bench/fronts`, folded in here.

use crate::Effort;
use crate::report::{self, Row};
use std::path::Path;
use std::process::Command;

/// Measures the fronts: prints rows as `report` reads them.
const SCRIPT: &str = "tests/bench/fronts/run.sh";

/// Runs the measurements if they are there, and reads what they leave in `folder`.
pub fn run(effort: Effort, folder: &Path) -> Vec<Row> {
    let result = folder.join("fronts.tsv");
    if !Path::new(SCRIPT).exists() {
        eprintln!("fronts: SKIPPED, there is no {SCRIPT}");
        return report::load(&result);
    }
    let mut command = Command::new(SCRIPT);
    if effort.is_quick() {
        command.arg("--quick");
    }
    match command.arg(&result).status() {
        Ok(status) if status.success() => report::load(&result),
        Ok(status) => {
            eprintln!("fronts: SKIPPED, {SCRIPT}: {status}");
            Vec::new()
        }
        Err(why) => {
            eprintln!("fronts: SKIPPED, {SCRIPT}: {why}");
            Vec::new()
        }
    }
}
