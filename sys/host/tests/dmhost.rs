//! The program: started, asked, killed, started again.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod client;

use client::Client;
use dm_protocol::{Action, Errno, ReplyBody, SegmentSpec};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Host {
    process: Child,
    dir: PathBuf,
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmhost"));
    command.args(["--no-fuse", "--dev-dir"]).arg(dir).env_remove("NOTIFY_SOCKET");
    command
}

impl Host {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = command(dir);
        command.args(arguments).args(["--ready-fd", "1"]).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // To the end: nothing else is said there, and it is closed.
        let mut ready = String::new();
        process.stdout.take().unwrap().read_to_string(&mut ready).unwrap();
        assert_eq!(ready, "\n");
        Self { process, dir: dir.to_owned() }
    }

    fn client(&self) -> Client {
        Client::connect(&self.dir.join("mapper/control"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.wait().success());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs one that does not get ready; what it says.
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = command(dir).args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn it_is_ready_when_told_and_leaves_nothing_behind() {
    let dir = temporary();
    let pid_file = dir.path().join("pid");
    let arguments = ["--pid-file", pid_file.to_str().unwrap(), "--mode", "640"];
    let host = Host::start(dir.path(), &arguments);
    let control = dir.path().join("mapper/control");
    assert_eq!(fs::metadata(&control).unwrap().permissions().mode() & 0o777, 0o640);
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert_eq!(pid, host.process.id());
    assert_eq!(host.client().ask("", Action::Version).failure, None);
    host.stop();
    assert!(!control.exists() && !pid_file.exists());
}

#[test]
fn a_second_one_in_the_same_directory_is_refused_and_harms_nothing() {
    let dir = temporary();
    let host = Host::start(dir.path(), &[]);
    let why = refused(dir.path(), &[]);
    assert!(why.contains("another dmhost"), "{why}");
    assert!(why.contains(&host.process.id().to_string()), "{why}");
    assert_eq!(host.client().ask("", Action::Version).failure, None);
    host.stop();
}

#[test]
fn devices_of_the_table_file_are_there_when_it_is_ready() {
    let dir = temporary();
    let image = dir.path().join("image");
    fs::write(&image, vec![1; 8192]).unwrap();
    let table = dir.path().join("table");
    let text = format!("# a comment\na,,,,0 8 linear {0} 8\nb,,5,ro,0 8 zero\n", image.display());
    fs::write(&table, text).unwrap();
    let arguments = ["--table-file", table.to_str().unwrap()];
    let host = Host::start(dir.path(), &arguments);
    let names = host.client().ask("", Action::Names).body;
    assert!(matches!(names, ReplyBody::Names(names) if names.len() == 2));
    assert_eq!(host.client().ask("b", Action::Info).minor, 5);
    host.stop();

    fs::write(&table, "a,,,,0 8 zero\nb,,,,0 8 linear /no/such/image 0\n").unwrap();
    let why = refused(dir.path(), &arguments);
    assert!(why.contains("line 2: b: ") && why.contains("/no/such/image"), "{why}");
    fs::write(&table, "a,,,,0 8 zero\n\nb\n").unwrap();
    let why = refused(dir.path(), &arguments);
    assert!(why.contains("line 3: expected"), "{why}");
    // Refused ones give the place up.
    Host::start(dir.path(), &["--concise", "a,,,,0 8 zero;b,,,,0 8 error"]).stop();
}

#[test]
fn a_killed_one_is_followed_by_another() {
    let dir = temporary();
    let mut host = Host::start(dir.path(), &[]);
    host.client().make("a", vec![SegmentSpec::new(0, 8, "zero", "")]);
    host.signal(Signal::KILL);
    assert!(!host.wait().success());
    assert!(dir.path().join("mapper/control").exists());
    let host = Host::start(dir.path(), &[]);
    let names = host.client().ask("", Action::Names).body;
    assert!(matches!(names, ReplyBody::Names(names) if names.is_empty()));
    host.stop();
}

#[test]
fn something_else_in_the_sockets_place_is_left_alone() {
    let dir = temporary();
    let control = dir.path().join("mapper/control");
    fs::create_dir(dir.path().join("mapper")).unwrap();
    fs::write(&control, "mine").unwrap();
    let why = refused(dir.path(), &[]);
    assert!(why.contains("no socket"), "{why}");
    assert_eq!(fs::read(&control).unwrap(), b"mine");
}

#[test]
fn in_the_background_it_returns_when_it_is_ready() {
    let dir = temporary();
    let pid_file = dir.path().join("pid");
    let mut starter = command(dir.path());
    starter.arg("--daemon").arg("--pid-file").arg(&pid_file);
    assert!(starter.status().unwrap().success());
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let mut client = Client::connect(&dir.path().join("mapper/control"));
    assert_eq!(client.ask("", Action::Version).failure, None);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    assert!(client.closed());
    // It is nobody's child here, so that its end shows by its lock alone.
    let lock = fs::File::open(dir.path().join("dmhost.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    drop(lock);
    assert!(!pid_file.exists());
    let output = command(dir.path()).args(["--daemon", "--concise", "nonsense"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("line 1: expected name,uuid"));
}

#[test]
fn it_says_that_it_is_ready_as_systemd_wants_it() {
    let dir = temporary();
    let path = dir.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let process = command(dir.path()).env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let host = Host { process, dir: dir.path().to_owned() };
    let mut text = [0; 64];
    let length = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"READY=1\n");
    host.stop();
    let length = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"STOPPING=1\n");
}

#[test]
fn a_stop_waits_for_no_idle_client() {
    let dir = temporary();
    let host = Host::start(dir.path(), &[]);
    let mut clients: Vec<_> = (0..20).map(|_| host.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("", Action::Version).failure, None);
    }
    host.stop();
    assert!(clients.iter_mut().all(|client| client.0.read(&mut [0]).is_ok_and(|n| n == 0)));
}

/// One that shows files, if that can be done here.
fn with_files(dir: &Path) -> Option<Host> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmhost"));
    command.args(["--no-nbd", "--ready-fd", "1", "--dev-dir"]).arg(dir).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let host = Host { process, dir: dir.to_owned() };
    host.client().make("probe", vec![SegmentSpec::new(0, 8, "zero", "")]);
    if fs::metadata(dir.join("mapper/probe")).is_err() {
        dm_skip::skip("FUSE cannot be used");
        return None;
    }
    Some(host)
}

#[test]
fn what_was_flushed_is_there_after_a_kill_and_the_next_one_shows_it() {
    let dir = temporary();
    let image = dir.path().join("image");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let table = vec![SegmentSpec::new(0, 1024, "linear", &format!("{} 1024", image.display()))];
    let Some(mut host) = with_files(dir.path()) else { return };
    host.client().make("a", table.clone());
    let node = dir.path().join("mapper/a");
    let file = fs::File::options().read(true).write(true).open(&node).unwrap();
    file.write_all_at(&[0xaa; 8192], 4096).unwrap();
    file.sync_all().unwrap();
    host.signal(Signal::KILL);
    host.wait();
    assert!(file.write_all_at(&[1; 512], 0).is_err());
    drop(file);
    let bytes = fs::read(&image).unwrap();
    assert_eq!(bytes[(1 << 19) + 4096..][..8192], [0xaa; 8192]);

    let host = with_files(dir.path()).unwrap();
    host.client().make("a", table);
    assert_eq!(fs::read(&node).unwrap()[4096..][..8192], [0xaa; 8192]);
    host.stop();
    assert!(!node.exists());
}

#[test]
fn a_mapped_device_is_named_by_its_file_and_by_nothing_else_of_ours() {
    let dir = temporary();
    let Some(host) = with_files(dir.path()) else { return };
    let mut client = host.client();
    let node = dir.path().join("mapper/probe");
    let table =
        |path: &Path| vec![SegmentSpec::new(0, 8, "linear", &format!("{} 0", path.display()))];
    client.make("above", table(&node));
    assert_eq!(client.ask("probe", Action::Info).open_count, 1);
    let behind = fs::canonicalize(&node).unwrap();
    let action = Action::Reload { table: table(&behind), dry_run: true };
    let reply = client.ask("above", action);
    // Either the device it belongs to, or a refusal: never a file read through ourselves.
    assert!(reply.failure.is_none_or(|why| why.errno == Errno::ELOOP));
    assert_eq!(client.ask("above", Action::Remove).failure, None);
    host.stop();
}

#[test]
fn a_suspended_device_with_io_waiting_does_not_hold_up_a_stop() {
    let dir = temporary();
    let Some(host) = with_files(dir.path()) else { return };
    let node = dir.path().join("mapper/probe");
    assert_eq!(host.client().ask("probe", Action::Suspend).failure, None);
    let reader = thread::spawn(move || fs::read(node));
    thread::sleep(Duration::from_millis(300));
    assert!(!reader.is_finished());
    let begin = Instant::now();
    host.stop();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(reader.join().unwrap().is_err());
    // In use or not, it is unmounted.
    assert!(fs::read_dir(dir.path().join("dm")).unwrap().next().is_none());
}

#[test]
fn a_process_that_holds_keys_leaves_no_core_file() {
    let dir = TempDir::new().unwrap();
    let host = Host::start(dir.path(), &[]);
    let limits = format!("/proc/{}/limits", host.process.id());
    let Ok(limits) = fs::read_to_string(limits) else {
        dm_skip::skip("this system does not show the limits of a process");
        return host.stop();
    };
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["1", "1"]);
    host.stop();
}
