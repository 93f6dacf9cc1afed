//! A dmhost of our own, and the programs that speak to it.

use crate::Effort;
use crate::report::{Row, Unit};
use crate::sample::InTurn;
use libdm::{Channel, Dm};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running dmhost; ended when dropped.
pub struct Server {
    process: Child,
    dev_dir: PathBuf,
}

/// A program of the same build.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::current_exe().ok()?.with_file_name(name);
    path.exists().then_some(path)
}

impl Server {
    /// Starts one with a folder of its own; `None` when the programs are not built.
    pub fn start() -> Option<Self> {
        program("dmsetup")?;
        let dev_dir = env::temp_dir().join(format!("dm-bench-{}", process::id()));
        fs::create_dir_all(&dev_dir).ok()?;
        let mut command = Command::new(program("dmhost")?);
        command
            .arg("--dev-dir")
            .arg(&dev_dir)
            .args(["--no-fuse", "--no-nbd"])
            .stdout(Stdio::null());
        let server = Self { process: command.spawn().ok()?, dev_dir };
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if Dm::open_in(&server.dev_dir).is_ok() {
                return Some(server);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// A channel to it.
    ///
    /// # Panics
    /// When it is gone.
    pub fn dm(&self) -> Dm<Channel> {
        Dm::open_in(&self.dev_dir).expect("dmhost answers")
    }

    /// Where its control socket is.
    pub fn dev_dir(&self) -> &Path {
        &self.dev_dir
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing can be done about one that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dev_dir);
    }
}

/// Runs `dmsetup` of this build against a server; gives the milliseconds.
///
/// # Panics
/// When it fails.
pub fn dmsetup_ms(server: &Server, arguments: &[&str]) -> f64 {
    let mut command = Command::new(program("dmsetup").expect("dmsetup is built"));
    command.args(arguments).env("DM_DEV_DIR", server.dev_dir());
    command.stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status().expect("dmsetup starts");
    assert!(status.success(), "dmsetup {arguments:?} failed");
    begin.elapsed().as_secs_f64() * 1000.0
}

/// What `dmsetup` takes to list all devices.
pub fn listings(server: &Server, effort: Effort, part: &str) -> Vec<Row> {
    let mut in_turn = InTurn::new();
    in_turn.add("dmsetup ls", || dmsetup_ms(server, &["ls"]));
    in_turn.add("dmsetup info -c", || dmsetup_ms(server, &["info", "-c"]));
    in_turn.add("dmsetup table", || dmsetup_ms(server, &["table"]));
    let summaries = in_turn.run(effort.rounds(3, 15));
    summaries.iter().map(|(name, summary)| Row::new(part, name, Unit::Ms, *summary)).collect()
}
