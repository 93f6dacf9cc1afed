//! Clients of the control socket: good ones, and those that stall, flood and lie.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod client;

use client::Client;
use dm::driver::Driver;
use dm::targets::TARGETS;
use dm_host::control::{Control, Limits};
use dm_host::front::Registry;
use dm_protocol::{Action, Errno, ReplyBody, Request, SegmentSpec, Selector};
use rustix::process::Uid;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

struct Server {
    dir: TempDir,
    control: Control,
}

impl Server {
    fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("control")).unwrap();
        // Plain users reach it, too.
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path(), Clone::clone(&everyone)).unwrap();
        std::fs::set_permissions(dir.path().join("control"), everyone).unwrap();
        let driver = Driver::attach(TARGETS);
        let control = Control::start(listener, &driver, &Registry::new(), limits).unwrap();
        Self { dir, control }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    fn client(&self) -> Client {
        Client::connect(&self.path())
    }
}

const QUICK: Duration = Duration::from_millis(200);

fn impatient() -> Limits {
    Limits { idle: QUICK, stall: QUICK, ..Limits::default() }
}

/// Runs something as a plain user; false when we may not become one.
fn as_user(uid: u32, body: impl FnOnce() + Send) -> bool {
    if !rustix::process::geteuid().is_root() {
        dm_skip::skip("only the superuser can become another user");
        return false;
    }
    thread::scope(|scope| {
        let become_user = move || {
            let uid = Uid::from_raw(uid);
            // The thread alone changes, and ends with it.
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            body();
        };
        scope.spawn(become_user).join().unwrap();
    });
    true
}

#[test]
fn xml_and_json_are_answered_in_kind() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    client.make("a", vec![SegmentSpec::new(0, 8, "zero", "")]);
    let reply = client.ask("", Action::Names);
    assert!(matches!(reply.body, ReplyBody::Names(names) if names[0].name == "a"));
    let request = Request::new(Action::Names).encode();
    client.send(&dm_plist::to_json(&request)).unwrap();
    assert!(client.receive().unwrap().starts_with(b"{"));
    client.send(&dm_plist::to_xml(&request)).unwrap();
    assert!(client.receive().unwrap().starts_with(b"<?xml"));
}

#[test]
fn nonsense_is_refused_with_a_reason_and_the_next_request_answered() {
    let server = Server::start(Limits::default());
    let mut client = server.client();
    for nonsense in [&b""[..], b"<plist>", b"{", b"\0\0\0", &[0xff; 1000]] {
        client.send(nonsense).unwrap();
        let text = client.receive().unwrap();
        let (dict, _) = dm_plist::from_any(&text).unwrap();
        let failure = dm_protocol::Reply::decode(&dict).unwrap().failure.unwrap();
        assert_eq!(failure.errno, Errno::EINVAL);
        assert!(failure.message.starts_with("property list, byte"), "{failure}");
    }
    assert_eq!(client.ask("", Action::Version).failure, None);
}

#[test]
fn a_client_that_stops_in_a_message_is_dropped_and_others_are_served() {
    let server = Server::start(impatient());
    let mut stalled: Vec<_> = [&[][..], &[9], &[9, 0, 0], &[9, 0, 0, 0, b'{']]
        .iter()
        .map(|half| {
            let mut client = server.client();
            client.0.write_all(half).unwrap();
            client
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(server.client().ask("", Action::Version).failure, None);
    assert!(begin.elapsed() < Duration::from_secs(5));
    // The superuser may be idle between messages, but not within one.
    let mut idle = stalled.remove(0);
    assert!(stalled.iter_mut().all(Client::closed));
    thread::sleep(QUICK * 2);
    assert_eq!(idle.ask("", Action::Version).failure, None);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_dropped() {
    let server = Server::start(impatient());
    let mut deaf = server.client();
    let request = dm_plist::to_xml(&Request::new(Action::Targets).encode());
    let sent = (0..100_000).take_while(|_| deaf.send(&request).is_ok()).count();
    assert!(sent < 100_000);
    assert_eq!(server.client().ask("", Action::Version).failure, None);
}

#[test]
fn a_length_beyond_the_limit_closes_the_connection() {
    let limits = Limits { request_bytes_privileged: 1000, ..Limits::default() };
    let server = Server::start(limits);
    let mut client = server.client();
    client.0.write_all(&1001_u32.to_le_bytes()).unwrap();
    assert!(client.closed());
    let mut client = server.client();
    client.0.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(client.closed());
    assert_eq!(server.client().ask("", Action::Version).failure, None);
}

#[test]
fn a_plain_user_may_look_and_not_touch() {
    let server = Server::start(Limits::default());
    server.client().make("a", vec![SegmentSpec::new(0, 8, "zero", "")]);
    let path = server.path();
    as_user(4_000_001, || {
        let mut client = Client::connect(&path);
        assert_eq!(client.ask("a", Action::Info).failure, None);
        let refused = |reply: dm_protocol::Reply| reply.failure.unwrap().errno;
        assert_eq!(refused(client.ask("a", Action::Remove)), Errno::EPERM);
        assert_eq!(refused(client.ask("a", Action::Suspend)), Errno::EPERM);
        client.0.write_all(&(128_u32 * 1024 + 1).to_le_bytes()).unwrap();
        assert!(client.closed());
    });
    assert_eq!(server.client().ask("a", Action::Remove).failure, None);
}

#[test]
fn a_plain_user_who_floods_shuts_nobody_else_out() {
    let server = Server::start(impatient());
    let path = server.path();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let flooded = as_user(4_000_001, || {
        one = (0..40).map(|_| Client::connect(&path)).collect();
        assert!(one.last_mut().unwrap().closed());
    });
    if !flooded {
        return;
    }
    as_user(4_000_002, || {
        let mut client = Client::connect(&path);
        assert_eq!(client.ask("", Action::Version).failure, None);
        other.push(client);
    });
    let mut client = server.client();
    assert_eq!(client.ask("", Action::Version).failure, None);
    // An idle plain user is dropped, and then may come again.
    assert!(one.first_mut().unwrap().closed());
    drop(one);
    thread::sleep(QUICK * 2);
    as_user(4_000_001, || {
        assert_eq!(Client::connect(&path).ask("", Action::Version).failure, None);
    });
}

fn wait_event(client: &mut Client, name: &str) {
    let event_nr = client.ask(name, Action::Info).event_nr;
    let mut request = Request::new(Action::WaitEvent { event_nr, timeout_ms: None });
    request.device = Selector { name: Some(name.into()), ..Selector::default() };
    client.send(&dm_plist::to_xml(&request.encode())).unwrap();
    thread::sleep(QUICK);
}

#[test]
fn a_wait_ends_when_its_client_hangs_up() {
    let limits = Limits { connections_privileged: 2, ..Limits::default() };
    let server = Server::start(limits);
    let mut keeper = server.client();
    keeper.make("a", vec![SegmentSpec::new(0, 8, "zero", "")]);
    for _ in 0..3 {
        let mut waiter = server.client();
        wait_event(&mut waiter, "a");
        assert!(server.client().closed(), "there is room for two");
        drop(waiter);
        thread::sleep(QUICK * 2);
    }
    // Saying that nothing more is sent is not hanging up.
    let mut waiter = server.client();
    wait_event(&mut waiter, "a");
    waiter.0.shutdown(std::net::Shutdown::Write).unwrap();
    thread::sleep(QUICK * 2);
    waiter.0.set_nonblocking(true).unwrap();
    assert_eq!(waiter.receive().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    waiter.0.set_nonblocking(false).unwrap();
    assert_eq!(keeper.ask("a", Action::Remove).failure, None);
    waiter.receive().unwrap();
}

#[test]
fn stopping_ends_waits_and_idle_connections() {
    let mut server = Server::start(Limits::default());
    let mut idle = server.client();
    idle.make("a", vec![SegmentSpec::new(0, 8, "zero", "")]);
    let mut waiter = server.client();
    wait_event(&mut waiter, "a");
    let (sender, receiver) = channel();
    let stopper = thread::spawn(move || {
        server.control.stop();
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    stopper.join().unwrap();
    assert!(idle.closed());
    waiter.receive().unwrap();
    assert!(waiter.closed());
}
