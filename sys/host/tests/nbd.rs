//! The NBD server as its protocol demands it, by a small client that is polite or rude.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod nbd_client;
mod setup;

use dm_host::disk::fault::{Fault, FaultDisk, Rule};
use dm_host::front::Registry;
use dm_host::nbd::{CLIENTS_MAX, Nbd, wire};
use dm_protocol::{Action, Errno, Sectors, SegmentSpec};
use nbd_client::{
    Answer, Client, DISCONNECT, EINVAL, ENOSPC, EPERM, FLUSH, FUA, NO_HOLE, READ, TRIM, WRITE,
    WRITE_ZEROES, wanted,
};
use setup::Setup;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Sectors of the device that most tests use.
const SECTORS: u64 = 4096;
/// The same in bytes.
const BYTES: u64 = SECTORS * 512;

struct World {
    // Clients end before the driver does.
    nbd: Nbd,
    setup: Setup,
    dir: TempDir,
}

fn world() -> World {
    let setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let nbd = Nbd::start(listener, &setup.driver, &Registry::current()).unwrap();
    World { nbd, setup, dir }
}

impl World {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// A device on a disk in memory.
    fn device(&self, name: &str) -> u32 {
        self.setup.device(name, table(&format!("mem:nbd-{name}:{SECTORS}"), SECTORS))
    }

    fn act(&self, name: &str, action: Action) -> Result<(), Errno> {
        self.setup.run(name, action).map(|_| ()).map_err(|failure| failure.errno)
    }

    fn reload(&self, name: &str, table: Vec<SegmentSpec>) {
        self.act(name, Action::Reload { table, dry_run: false }).unwrap();
        self.act(name, Action::Resume).unwrap();
    }

    fn go(&self, name: &str) -> Client {
        Client::go(&self.socket(), name)
    }
}

fn table(disk: &str, sectors: u64) -> Vec<SegmentSpec> {
    vec![SegmentSpec::new(0, sectors, "linear", &format!("{disk} 0"))]
}

#[test]
fn what_is_written_is_read_and_what_is_zeroed_is_zero() {
    let world = world();
    world.device("a");
    let mut client = world.go("a");
    assert_eq!((client.size, client.blocks), (BYTES, [512, 4096, 32 << 20]));
    let data: Vec<u8> = (0..1 << 20).map(|n: u32| (n / 512) as u8 | 1).collect();
    client.put(512, &data).unwrap();
    assert_eq!(client.ask(FLUSH, 0, 0), Ok(vec![]));
    assert_eq!(client.ask(READ, 512, 1 << 20).unwrap(), data);
    assert_eq!(client.ask(READ, 1024, 512).unwrap(), data[512..1024]);
    for (flags, at) in [(0, 4096), (FUA, 8192), (FUA | NO_HOLE, 65536)] {
        client.ask_with((WRITE_ZEROES, flags), (at, 1024), &[]).unwrap();
        assert_eq!(client.ask(READ, at, 1024).unwrap(), vec![0; 1024]);
        assert_eq!(client.ask(READ, at + 1024, 1).err(), Some(EINVAL));
        assert_ne!(client.ask(READ, at + 1024, 512).unwrap(), vec![0; 512]);
    }
    if client.flags & 1 << 5 != 0 {
        client.ask_with((TRIM, FUA), (0, 512), &[]).unwrap();
    }
    client.ask_with((WRITE_ZEROES, 0), (0, BYTES as u32), &[]).unwrap();
    assert_eq!(client.ask(READ, 0, BYTES as u32).unwrap(), vec![0; BYTES as usize]);
    client.send((DISCONNECT, 0), 0, (0, 0), &[]);
    assert!(client.is_closed());
}

#[test]
fn a_refused_request_is_answered_and_the_next_one_understood() {
    let world = world();
    world.device("b");
    let mut client = world.go("b");
    let two = vec![7; 1024];
    assert_eq!(client.put(BYTES - 512, &two), Err(ENOSPC));
    assert_eq!(client.ask(READ, BYTES - 512, 1024), Err(EINVAL));
    assert_eq!(client.ask(READ, u64::MAX - 511, 1024), Err(EINVAL));
    assert_eq!(client.put(1, &two), Err(EINVAL));
    assert_eq!(client.put(0, &two[..1000]), Err(EINVAL));
    assert_eq!(client.ask(77, 0, 512), Err(EINVAL));
    assert_eq!(client.ask_with((READ, 0x80), (0, 512), &[]), Err(EINVAL));
    assert_eq!(client.ask_with((WRITE, NO_HOLE), (0, 1024), &two), Err(EINVAL));
    assert_eq!(client.ask(FLUSH, 512, 0), Err(EINVAL));
    assert_eq!(client.ask(WRITE_ZEROES, 0, u32::MAX - 511), Err(ENOSPC));
    let overflow = wire::error(Errno::EOVERFLOW);
    assert_eq!(client.ask(READ, 0, 64 << 20), Err(overflow));
    let long = vec![1; (32 << 20) + 512];
    assert_eq!(client.put(0, &long), Err(overflow));
    assert_eq!(client.ask(READ, 0, 0), Ok(vec![]));
    assert_eq!(client.ask(READ, 0, 1024).unwrap(), vec![0; 1024]);
    client.put(0, &two).unwrap();
    assert_eq!(client.ask(READ, 0, 1024).unwrap(), two);
}

#[test]
fn a_readonly_device_says_so_and_refuses_writes() {
    let world = world();
    let ro = "0 8 zero";
    let lines = dm_host::concise::parse(&format!("ro,,,ro,{ro}")).unwrap();
    dm_host::concise::create(&world.setup.driver, &lines).unwrap();
    let mut client = world.go("ro");
    assert_eq!(client.flags & 2, 2);
    assert_eq!(client.put(0, &[1; 512]), Err(EPERM));
    assert_eq!(client.ask(WRITE_ZEROES, 0, 512), Err(EPERM));
    assert_eq!(client.ask(READ, 0, 512).unwrap(), vec![0; 512]);
}

#[test]
fn options_are_answered_in_order_until_one_chooses() {
    let world = world();
    world.device("c");
    world.device("d");
    let mut client = Client::hello(&world.socket(), 1);
    client.option(3, &[]);
    let named = |name: &[u8]| {
        let data = [&(name.len() as u32).to_be_bytes(), name].concat();
        Answer { kind: wire::SERVER, data }
    };
    assert_eq!(client.answer(3), named(b"c"));
    assert_eq!(client.answer(3), named(b"d"));
    assert_eq!(client.answer(3), Answer { kind: wire::ACK, data: vec![] });
    for (number, data, kind) in [
        (8, vec![], wire::ERR_UNSUP),
        (3, vec![1], wire::ERR_INVALID),
        (6, b"\0\0\0\x09c\0\0".to_vec(), wire::ERR_INVALID),
        (7, wanted("nosuch"), wire::ERR_UNKNOWN),
        (7, wanted(""), wire::ERR_UNKNOWN),
    ] {
        client.option(number, &data);
        assert_eq!(client.answer(number).kind, kind, "{number} {data:?}");
    }
    client.option(6, &wanted("c"));
    let kinds: Vec<u32> = (0..3).map(|_| client.answer(6).kind).collect();
    assert_eq!(kinds, [wire::INFO, wire::INFO, wire::ACK]);
    // The old way, for a client that wants the zeroes.
    client.option(1, b"d");
    let told = client.read(8 + 2 + 124);
    assert_eq!(told[..8], BYTES.to_be_bytes());
    assert_eq!(client.ask(READ, 0, 512).unwrap(), vec![0; 512]);

    let mut client = Client::hello(&world.socket(), 3);
    client.option(2, &[]);
    assert_eq!(client.answer(2).kind, wire::ACK);
    assert!(client.is_closed());
}

#[test]
fn a_client_that_breaks_the_rules_is_closed_and_the_server_goes_on() {
    let world = world();
    world.device("e");
    let mut client = Client::hello(&world.socket(), 4);
    assert!(client.is_closed());
    let mut client = Client::hello(&world.socket(), 3);
    client.write(&[0x55; 16]);
    assert!(client.is_closed());
    let mut client = Client::hello(&world.socket(), 3);
    client.write(&[wire::OPTION.to_be_bytes(), 0x0000_0007_ffff_ffff_u64.to_be_bytes()].concat());
    assert_eq!(client.answer(7).kind, wire::ERR_TOO_BIG);
    assert!(client.is_closed());
    let mut client = Client::hello(&world.socket(), 3);
    client.option(1, b"nosuch");
    assert!(client.is_closed());
    let mut client = Client::hello(&world.socket(), 3);
    for _ in 0..256 {
        client.option(99, &[]);
    }
    assert!(client.is_closed());
    let mut client = world.go("e");
    client.write(&[0xaa; 28]);
    assert!(client.is_closed());
    // Half a request, and a write without all its data.
    let mut client = world.go("e");
    client.write(&wire::REQUEST.to_be_bytes());
    drop(client);
    let mut client = world.go("e");
    client.send((WRITE, 0), 1, (0, 4096), &[1; 100]);
    drop(client);
    assert_eq!(world.go("e").ask(READ, 0, 512).unwrap(), vec![0; 512]);
}

#[test]
fn noise_never_stops_the_server() {
    let world = world();
    world.device("f");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..200 {
        let mut client =
            if round % 2 == 0 { Client::hello(&world.socket(), 3) } else { world.go("f") };
        let noise: Vec<u8> = (0..next() % 400).map(|_| next() as u8).collect();
        if round % 4 == 3 {
            // A request whose fields make no sense.
            let range = (next(), next() as u32 % 100_000);
            client.send((next() as u16 % 8, next() as u16 % 4), next(), range, &[]);
        }
        // It may be closed before all is written.
        let _ = std::io::Write::write_all(&mut client.socket, &noise);
    }
    assert_eq!(world.go("f").ask(READ, 0, 512).unwrap().len(), 512);
}

#[test]
fn a_client_that_does_not_read_harms_nobody_and_gets_all_replies() {
    const REQUESTS: u64 = 1000;
    let world = world();
    world.device("g");
    let mut lazy = world.go("g");
    lazy.put(0, &[3; 65536]).unwrap();
    let mut sender = Client { socket: lazy.socket.try_clone().unwrap(), ..lazy };
    let sent = thread::spawn(move || {
        for cookie in 0..REQUESTS {
            sender.send((READ, 0), cookie, (0, 65536), &[]);
        }
    });
    let mut other = world.go("g");
    for _ in 0..100 {
        other.put(1 << 20, &[9; 4096]).unwrap();
        assert_eq!(other.ask(READ, 1 << 20, 4096).unwrap(), vec![9; 4096]);
    }
    let mut cookies: Vec<u64> = (0..REQUESTS)
        .map(|_| {
            let (cookie, error, data) = lazy.reply(65536);
            assert_eq!((error, data), (0, vec![3; 65536]));
            cookie
        })
        .collect();
    sent.join().unwrap();
    cookies.sort_unstable();
    assert_eq!(cookies, (0..REQUESTS).collect::<Vec<_>>());
}

#[test]
fn requests_that_end_elsewhere_are_answered_there() {
    let world = world();
    let disk = FaultDisk::register("nbd-slow", Sectors(SECTORS));
    disk.fail(Rule::always(None, Fault::Delay(Duration::from_millis(2))));
    world.setup.device("h", table("nbd-slow", SECTORS));
    let mut client = world.go("h");
    // More than there are slots, of mixed sizes.
    let sizes = [512_u32, 4096, 100_352, 1 << 20];
    let mut writer = Client { socket: client.socket.try_clone().unwrap(), ..client };
    let sent = thread::spawn(move || {
        for cookie in 0..400 {
            let size = sizes[cookie as usize % 4];
            let command = if cookie % 3 == 0 { WRITE } else { READ };
            let data = if command == WRITE { vec![1; size as usize] } else { vec![] };
            writer.send((command, 0), cookie, (0, size), &data);
        }
    });
    let mut seen = vec![false; 400];
    for _ in 0..400 {
        let head = client.read(16);
        let cookie = u64::from_be_bytes(head[8..].try_into().unwrap());
        assert_eq!(head[4..8], [0; 4]);
        if cookie % 3 != 0 {
            client.read(sizes[cookie as usize % 4] as usize);
        }
        assert!(!std::mem::replace(&mut seen[cookie as usize], true), "{cookie} twice");
    }
    sent.join().unwrap();
    // Gone while requests are under way.
    for cookie in 0..50 {
        client.send((READ, 0), cookie, (0, 1 << 20), &[]);
    }
    drop(client);
    assert_eq!(world.go("h").ask(READ, 0, 512).unwrap(), vec![1; 512]);
}

#[test]
fn long_and_short_writes_that_come_without_pause_all_arrive() {
    let world = world();
    world.device("p");
    let mut client = world.go("p");
    let lengths = [256 << 10, 512, 100 << 10, 4096, 512 << 10, 64 << 10, 65 << 10];
    for round in 0..20_u8 {
        let (mut offset, mut expected) = (0, Vec::new());
        for (number, length) in lengths.into_iter().enumerate() {
            let data = vec![round * 7 + number as u8; length];
            client.send((WRITE, 0), number as u64, (offset, length as u32), &data);
            offset += length as u64;
            expected.extend(data);
        }
        let mut cookies: Vec<u64> = lengths.iter().map(|_| client.reply(0).0).collect();
        cookies.sort_unstable();
        assert_eq!(cookies, (0..lengths.len() as u64).collect::<Vec<_>>());
        let back = client.ask(READ, 0, expected.len() as u32).unwrap();
        assert!(back == expected, "round {round}");
    }
    // The next one's first bytes are there when it leaves.
    let long = vec![1; 256 << 10];
    client.send((WRITE, 0), 1, (0, 256 << 10), &long);
    client.send((WRITE, 0), 2, (0, 256 << 10), &long[..1000]);
    client.socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.reply(0), (1, 0, Vec::new()));
    assert!(client.is_closed());
    let until = Instant::now() + Duration::from_secs(20);
    while world.act("p", Action::Remove) == Err(Errno::EBUSY) {
        assert!(Instant::now() < until, "the device stays open");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_suspended_device_keeps_its_clients_waiting_and_no_others() {
    let mut world = world();
    world.device("i");
    world.device("j");
    let mut waits = world.go("i");
    world.act("i", Action::Suspend).unwrap();
    waits.send((READ, 0), 5, (0, 4096), &[]);
    let mut other = world.go("j");
    other.put(0, &[1; 512]).unwrap();
    world.act("i", Action::Resume).unwrap();
    assert_eq!(waits.reply(4096), (5, 0, vec![0; 4096]));
    // The end does not wait for a device that stays suspended.
    world.act("i", Action::Suspend).unwrap();
    waits.send((READ, 0), 6, (0, 4096), &[]);
    thread::sleep(Duration::from_millis(20));
    world.setup.driver.shutdown();
    world.nbd.stop();
    assert!(waits.is_closed());
}

#[test]
fn a_connection_holds_the_device_and_is_held_against_its_size_of_the_moment() {
    let world = world();
    world.device("k");
    let mut client = world.go("k");
    assert_eq!(world.act("k", Action::Remove), Err(Errno::EBUSY));
    world.reload("k", table(&format!("mem:nbd-k:{SECTORS}"), SECTORS / 2));
    assert_eq!(client.put(BYTES / 2, &[1; 512]), Err(ENOSPC));
    client.put(BYTES / 2 - 512, &[1; 512]).unwrap();
    assert_eq!(client.ask(READ, BYTES / 2, 512), Err(EINVAL));
    assert_eq!(world.go("k").size, BYTES / 2);
    world.reload("k", table(&format!("mem:nbd-k2:{}", SECTORS * 2), SECTORS * 2));
    client.put(BYTES, &[2; 512]).unwrap();
    assert_eq!(client.ask(READ, BYTES, 512).unwrap(), [2; 512]);
    client.send((DISCONNECT, 0), 0, (0, 0), &[]);
    assert!(client.is_closed());
    let until = Instant::now() + Duration::from_secs(20);
    while world.act("k", Action::Remove) == Err(Errno::EBUSY) {
        assert!(Instant::now() < until, "the device stays open");
        thread::sleep(Duration::from_millis(5));
    }
    let mut client = Client::hello(&world.socket(), 3);
    client.option(7, &wanted("k"));
    assert_eq!(client.answer(7).kind, wire::ERR_UNKNOWN);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_data_lets_go_of_the_device() {
    let world = world();
    world.device("w");
    for length in [512, 1 << 20] {
        let mut client = world.go("w");
        client.send((WRITE, 0), 1, (0, length), &[7; 100]);
        client.socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.is_closed());
    }
    let until = Instant::now() + Duration::from_secs(20);
    while world.act("w", Action::Remove) == Err(Errno::EBUSY) {
        assert!(Instant::now() < until, "the device stays open");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn there_are_only_so_many_clients() {
    let world = world();
    world.device("l");
    let clients: Vec<Client> = (0..CLIENTS_MAX).map(|_| world.go("l")).collect();
    let mut turned_away = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
    assert_eq!(std::io::Read::read(&mut turned_away, &mut [0; 1]).unwrap_or(0), 0);
    drop(clients);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut socket = std::os::unix::net::UnixStream::connect(world.socket()).unwrap();
        if std::io::Read::read(&mut socket, &mut [0; 1]).unwrap_or(0) == 1 {
            return;
        }
        assert!(Instant::now() < until, "no room again");
        thread::sleep(Duration::from_millis(20));
    }
}
