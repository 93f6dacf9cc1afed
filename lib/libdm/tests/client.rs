//! The library against a driver in memory, and its socket against a server of ours.

use dm_protocol::{Action, Request, VERSION};
use libdm::{
    Channel, Control, Device, DeviceName, Dict, Dm, Errno, Error, Load, NewDevice, Query, Removal,
    Sector, SegmentSpec, Transition, Uuid,
};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

mod model;
use model::Model;

fn driver_with(name: &str) -> (Dm<Model>, Device) {
    let dm = Dm::new(Model::default());
    dm.create(&NewDevice::named(name).expect("a name")).expect("created");
    (dm, name.into())
}

fn zero() -> [SegmentSpec; 1] {
    [SegmentSpec::new(0, 8, "zero", "")]
}

#[test]
fn a_device_goes_through_its_life() {
    let (dm, device) = driver_with("vol0");
    dm.reload(&device, &zero(), Load::default()).expect("loaded");
    let info = dm.info(&device, Query::default()).expect("there");
    assert!(info.inactive_table && !info.live_table);
    assert!(dm.resume(&device, Transition::default()).expect("resumed").live_table);
    assert!(dm.suspend(&device, Transition::default()).expect("suspended").suspended);
    dm.reload(&device, &zero(), Load { dry_run: true, ..Load::default() }).expect("checked");
    assert!(!dm.info(&device, Query::default()).expect("there").inactive_table);
    dm.clear(&device).expect("cleared");
    dm.rename(&device, &DeviceName::new("vol1").expect("a name")).expect("renamed");
    let renamed = Device::from("vol1");
    dm.set_uuid(&renamed, &Uuid::new("U").expect("a uuid")).expect("set");
    assert_eq!(dm.mknodes(&Device::Uuid("U".into())).expect("there").name, "vol1");
    assert_eq!(dm.info(&Device::Minor(0), Query::default()).expect("there").event_nr, 2);
    dm.remove(&renamed, Removal::default()).expect("removed");
    assert!(dm.info(&renamed, Query::default()).expect_err("gone").is_missing());
    assert_eq!(dm.names().expect("a list"), []);
}

#[test]
fn lists_come_back_typed() {
    let (dm, device) = driver_with("vol0");
    let table =
        [SegmentSpec::new(0, 8, "linear", "/dev/vdb 3"), SegmentSpec::new(8, 8, "zero", "")];
    dm.reload(&device, &table, Load::default()).expect("loaded");
    let inactive = Query { inactive: true, ..Query::default() };
    let segments = dm.table(&device, inactive).expect("a table").segments;
    assert_eq!(segments[0].params.as_str(), "254:16 3");
    assert_eq!(segments[1].start, Sector(8));
    assert_eq!(dm.table(&device, Query::default()).expect("a table").segments, []);
    assert_eq!(dm.deps(&device, inactive).expect("deps").devices[0].name, "/dev/vdb");
    assert_eq!(dm.targets().expect("targets").len(), 23);
    assert_eq!(dm.target_version("linear").expect("known"), [1, 4, 0]);
    assert_eq!(dm.target_version("nosuch").expect_err("unknown").errno(), Some(Errno::ENOENT));
    let names = dm.names().expect("a list");
    assert_eq!((names[0].name.as_str(), names[0].devno.to_string().as_str()), ("vol0", "253:0"));
}

#[test]
fn a_refusal_carries_number_and_sentence() {
    let (dm, device) = driver_with("vol0");
    let bad = [SegmentSpec::new(0, 8, "linear", "/dev/vdb")];
    let error = dm.reload(&device, &bad, Load::default()).expect_err("no offset");
    assert_eq!(error.errno(), Some(Errno::EINVAL));
    assert_eq!(
        error.to_string(),
        "reload: segment 0 (sector 0): linear: expected: device offset (Invalid argument)"
    );
    let again = dm.create(&NewDevice::named("vol0").expect("a name")).expect_err("taken");
    assert!(matches!(again, Error::Refused { .. }) && again.errno() == Some(Errno::EEXIST));
    assert!(matches!(NewDevice::named("a/b"), Err(Error::Argument(_))));
}

#[test]
fn an_open_device_goes_later() {
    let (dm, device) = driver_with("vol0");
    dm.control().open("vol0", 1);
    let busy = dm.remove(&device, Removal::default()).expect_err("open");
    assert_eq!(busy.errno(), Some(Errno::EBUSY));
    assert!(dm.remove(&device, Removal { deferred: true }).expect("due").deferred_remove);
    dm.control().open("vol0", -1);
    dm.remove_all(Removal::default()).expect("removed");
}

#[test]
fn messages_and_events_are_answered() {
    let (dm, device) = driver_with("vol0");
    let answer = dm.message(&device, Sector(0), "@echo").expect("answered");
    assert_eq!(answer.as_deref(), Some("one\ntwo"));
    assert_eq!(dm.message(&device, Sector(0), "x").expect_err("no").errno(), Some(Errno::EINVAL));
    let late = dm.wait_event(&device, 0, Some(Duration::from_millis(1))).expect_err("nothing");
    assert_eq!(late.errno(), Some(Errno::ETIMEDOUT));
    assert_eq!(dm.wait_event(&device, 7, None).expect("at once").event_nr, 0);
}

/// A driver that speaks 4.16 and never says why.
struct Stock;

impl Control for Stock {
    fn command(&self, request: &Dict) -> libdm::Result<Dict> {
        let mut reply = request.clone();
        let version = request.version("version").expect("three numbers").expect("a version");
        if version > [4, 16, 0] {
            assert_eq!(request.text("command"), Ok(Some("version")), "it does nothing");
            return Ok(reply);
        }
        reply.set("version", [4, 16, 0]);
        reply.set("flags", 0_u32);
        Ok(reply)
    }

    fn block_major(&self) -> libdm::Result<u32> {
        Ok(169)
    }
}

#[test]
fn a_stock_driver_is_spoken_to_in_its_own_version() {
    let mut dm = Dm::new(Stock);
    dm.negotiate().expect("a version");
    assert_eq!(dm.version().expect("a version"), [4, 16, 0]);
    assert!(dm.info(&"nosuch".into(), Query::default()).expect_err("gone").is_missing());
    let created = dm.create(&NewDevice::named("x").expect("a name")).expect("it says so");
    assert_eq!(created.devno.major, 169);
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("libdm-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("mapper")).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Serves one connection with `model`, until the client hangs up.
fn serve(stream: &mut UnixStream, model: &Model) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut text = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut text).expect("a whole frame");
        let (request, format) = dm_plist::from_any(&text).expect("a list");
        let reply = model.command(&request).expect("a reply");
        let text = dm_plist::to_format(&reply, format);
        let length = u32::try_from(text.len()).expect("short");
        stream.write_all(&length.to_le_bytes()).expect("written");
        stream.write_all(&text).expect("written");
    }
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter has no sockets of this kind")]
fn many_commands_travel_over_one_connection() {
    let directory = Directory::new("socket");
    let listener = UnixListener::bind(directory.0.join("mapper/control")).expect("a socket");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        serve(&mut stream, &Model::default());
    });
    let dm = Dm::open_in(&directory.0).expect("a driver");
    assert_eq!(dm.version().expect("a version"), VERSION);
    dm.create(&NewDevice::named("vol0").expect("a name")).expect("created");
    assert_eq!(dm.names().expect("a list").len(), 1);
    drop(dm);
    server.join().expect("served");
}

#[test]
#[cfg_attr(miri, ignore = "an interpreter has no sockets of this kind")]
fn a_server_that_hangs_up_is_an_error_of_the_channel() {
    let directory = Directory::new("hangup");
    let listener = UnixListener::bind(directory.0.join("mapper/control")).expect("a socket");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut some = [0; 10];
        stream.read_exact(&mut some).expect("a request");
    });
    let channel = Channel::open(&directory.0).expect("a socket");
    let request = Request::new(Action::Version).encode();
    assert!(matches!(channel.command(&request), Err(Error::Channel(_))));
    server.join().expect("served");
}

#[test]
fn without_driver_the_error_says_how_to_get_one() {
    let directory = Directory::new("none");
    let error = Dm::open_in(&directory.0).expect_err("nothing there").to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].contains("mapper/control") && lines[1].contains("driver"), "{error}");
    std::fs::write(directory.0.join("mapper/control"), "").expect("a file");
    let error = Dm::open_in(&directory.0).expect_err("a file").to_string();
    assert!(error.contains("neither a character device nor a socket"), "{error}");
}
