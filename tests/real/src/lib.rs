//! A running `dmhost` and the programs that use it.
#![forbid(unsafe_code)]

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the process may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `dmhost` with a folder of its own. It is stopped when this is dropped.
pub struct Host {
    folder: TempDir,
    process: Child,
}

impl Host {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("dmhost.log")).expect("a log");
        let process = Command::new(program("dmhost"))
            .args(["--foreground", "--dev-dir"])
            .arg(folder.path().join("dev"))
            .stderr(log)
            .spawn()
            .expect("dmhost starts");
        let host = Self { folder, process };
        let start = Instant::now();
        while !host.command("version").output().expect("dmsetup runs").status.success() {
            assert!(start.elapsed() < PATIENCE, "dmhost does not answer");
            thread::sleep(Duration::from_millis(20));
        }
        host
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file of a mapped device.
    #[must_use]
    pub fn device(&self, name: &str) -> PathBuf {
        self.path("dev/mapper").join(name)
    }

    /// True if mapped devices are shown as files here.
    #[must_use]
    pub fn shows_files(&self, name: &str) -> bool {
        self.device(name).exists()
    }

    /// The address of a mapped device for NBD clients.
    #[must_use]
    pub fn nbd(&self, name: &str) -> String {
        format!("nbd+unix:///{name}?socket={}", self.path("dev/nbd.sock").display())
    }

    /// `dmsetup VERB`, for more arguments.
    #[must_use]
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(program("dmsetup"));
        command.env("DM_DEV_DIR", self.path("dev")).arg(verb);
        command
    }

    /// Runs dmsetup, and gives what it printed.
    pub fn dmsetup(&self, verb: &str, arguments: &[&str]) -> String {
        run(self.command(verb).args(arguments))
    }

    /// An image file of so many MiB; gives its path.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn image(&self, name: &str, mib: u64) -> String {
        let path = self.path(name);
        File::create(&path).and_then(|file| file.set_len(mib << 20)).expect("an image");
        path.display().to_string()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if start.elapsed() > PATIENCE {
                let _ = self.process.kill();
                let _ = self.process.wait();
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a command that must succeed, and gives what it printed.
///
/// # Panics
/// When it fails, with all that it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}{errors}", output.status);
    printed
}

/// Runs a program with arguments, as [`run`] does.
pub fn tool(name: &str, arguments: &[&str]) -> String {
    run(Command::new(name).args(arguments))
}

/// The top of the source tree.
#[must_use]
pub fn source_tree() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// A program of the workspace, built beside the test that asks.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a path of this test");
    let folder = test.ancestors().nth(2).expect("the folder of the build");
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: build the workspace first", path.display());
    path
}
