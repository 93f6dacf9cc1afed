//! Whatever an NBD client sends is answered or ends its connection, and nobody else's.
//!
//! The first byte chooses: raw bytes from the greeting on, or a proper handshake and then the
//! rest as requests to a writable device. Every run is a connection of its own; from time to
//! time a well-behaved client checks that it is still served.
#![no_main]

use dm::driver::Driver;
use dm::targets::TARGETS;
use dm_host::concise;
use dm_host::front::Registry;
use dm_host::nbd::Nbd;
use dm_host::nbd::wire;
use libfuzzer_sys::fuzz_target;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

struct Server {
    path: PathBuf,
    _nbd: Nbd,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("dm-fuzz-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (driver, registry) = (Driver::attach(TARGETS), Registry::current());
        // Zeroes take every write, errors refuse it: both kinds of answer are seen.
        let devices = concise::parse("z,,,rw,0 8192 zero,8192 8 error;r,,,ro,0 64 zero");
        concise::create(&driver, &devices.expect("devices")).expect("devices are made");
        let listener = UnixListener::bind(&path).expect("a socket");
        let nbd = Nbd::start(listener, &driver, &registry).expect("a server");
        // It serves until the process ends.
        std::mem::forget(driver);
        Server { path, _nbd: nbd }
    })
}

fn connect() -> UnixStream {
    let socket = UnixStream::connect(&server().path).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    socket
}

/// Chooses the export `z` in the oldest way, without padding.
fn handshake(socket: &mut UnixStream) -> Option<()> {
    socket.read_exact(&mut [0; 18]).ok()?;
    let mut hello = 3_u32.to_be_bytes().to_vec();
    hello.extend(wire::OPTION.to_be_bytes());
    hello.extend(1_u32.to_be_bytes());
    hello.extend(1_u32.to_be_bytes());
    hello.extend(b"z");
    socket.write_all(&hello).ok()?;
    socket.read_exact(&mut [0; 10]).ok()
}

fn still_served() {
    let mut socket = connect();
    handshake(&mut socket).expect("a handshake");
    let mut request = wire::REQUEST.to_be_bytes().to_vec();
    request.extend([0; 4]);
    request.extend(7_u64.to_be_bytes());
    request.extend(4096_u64.to_be_bytes());
    request.extend(512_u32.to_be_bytes());
    socket.write_all(&request).expect("a request");
    let mut reply = [1; 16 + 512];
    socket.read_exact(&mut reply).expect("a reply");
    assert_eq!(reply[..4], wire::REPLY.to_be_bytes());
    assert_eq!(reply[4..8], [0; 4]);
    assert_eq!(reply[8..16], 7_u64.to_be_bytes());
    assert!(reply[16..].iter().all(|byte| *byte == 0));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let mut socket = connect();
    if choice % 4 != 0 {
        handshake(&mut socket).expect("a handshake");
    }
    // The server may end the connection while we still write.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(Shutdown::Write);
    // Until it has answered everything and closes: a hang is a time-out here.
    let mut sink = [0; 1 << 16];
    loop {
        match socket.read(&mut sink) {
            Ok(0) => break,
            Ok(_) => {}
            // The fuzzer's own clock.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }
    if *choice == 255 {
        still_served();
    }
});
