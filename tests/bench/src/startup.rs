//! How long `dmsetup` takes to say its version, against LVM2's.

use crate::Effort;
use crate::instructions;
use crate::report::{Row, Unit};
use crate::sample::{InTurn, Summary};
use crate::server::{self, Server};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const PEER: &str = "LVM2, no driver";

/// Where LVM2's program is installed.
const THEIRS: [&str; 2] = ["/sbin/dmsetup", "/usr/sbin/dmsetup"];

/// Measures whichever programs are there. Without a driver both look for one, print their
/// version and say what is missing.
pub fn run(effort: Effort) -> Vec<Row> {
    let Some(ours) = server::program("dmsetup") else {
        eprintln!("startup: SKIPPED, there is no dmsetup beside us");
        return Vec::new();
    };
    let theirs = THEIRS.iter().map(PathBuf::from).find(|path| path.exists());
    if theirs.is_none() {
        eprintln!("startup: LVM2's dmsetup is not installed (package dmsetup)");
    }
    let server = Server::start();
    let empty = server.as_ref().map(|server| server.dev_dir().join("nothing"));
    let none = empty.as_deref();
    let mut in_turn = InTurn::new();
    in_turn.add("ours, no driver", || version_ms(&ours, none));
    if let Some(theirs) = &theirs {
        in_turn.add(PEER, || version_ms(theirs, None));
    }
    if let Some(server) = &server {
        in_turn.add("ours, with dmhost", || version_ms(&ours, Some(server.dev_dir())));
    }
    in_turn.add("true", || spawned_ms(&mut Command::new("true")));
    let summaries = in_turn.run(effort.rounds(40, 300));
    let peer = summaries.iter().find(|(name, _)| name == PEER).map(|(_, peer)| peer.median);
    let row = |(name, summary): &(String, Summary)| {
        Row::new("startup", name, Unit::Ms, *summary).against(PEER, peer)
    };
    let mut rows: Vec<Row> = summaries.iter().map(row).collect();
    rows.extend(counted(&ours, theirs.as_deref(), none));
    rows
}

/// Instructions in user mode, with those of the dynamic linker.
fn counted(ours: &Path, theirs: Option<&Path>, none: Option<&Path>) -> Vec<Row> {
    let count = |program: &Path| {
        let mut command = instructions::valgrind(program);
        command.arg("version");
        if let Some(dev_dir) = none {
            command.env("DM_DEV_DIR", dev_dir);
        }
        let output = command.output().ok()?;
        instructions::collected(&output).map(|count| count as f64)
    };
    let peer = theirs.and_then(count);
    let row = |name: &str, count: Option<f64>| {
        let count = Summary::exact(count?);
        Some(Row::new("startup-instructions", name, Unit::Instructions, count).against(PEER, peer))
    };
    [row("ours, no driver", count(ours)), row(PEER, peer)].into_iter().flatten().collect()
}

fn version_ms(program: &Path, dev_dir: Option<&Path>) -> f64 {
    let mut command = Command::new(program);
    command.arg("version");
    if let Some(dev_dir) = dev_dir {
        command.env("DM_DEV_DIR", dev_dir);
    }
    spawned_ms(&mut command)
}

/// The milliseconds from starting a program to its end, however it ends.
fn spawned_ms(command: &mut Command) -> f64 {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let ended = command.status();
    assert!(ended.is_ok(), "{:?} cannot be started", command.get_program());
    begin.elapsed().as_secs_f64() * 1000.0
}
