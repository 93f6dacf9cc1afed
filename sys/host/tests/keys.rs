//! No byte of a key that was wiped, replaced or removed is left in the memory of a process that
//! had it, nor does its log tell one.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[allow(dead_code, reason = "not all of it is needed here")]
mod client;
mod nbd_client;

use client::Client;
use dm_protocol::{Action, ReplyBody, Sector, SegmentSpec};
use nbd_client::READ;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Sectors of the devices.
const SIZE: u64 = 512;
/// So many bytes of a key in a row are a find.
const PIECE: usize = 8;
const PAGE: usize = 4096;

/// A key that nothing else looks like, of so many bytes.
fn key(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| draw()).collect()
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key's pieces, as bytes and as digits.
fn pieces(key: &[u8]) -> Vec<Vec<u8>> {
    let digits = hex(key).into_bytes();
    let both = key.chunks(PIECE).chain(digits.chunks(2 * PIECE));
    both.map(<[u8]>::to_vec).collect()
}

fn has(bytes: &[u8], piece: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == piece[0]) {
        if rest[at..].starts_with(piece) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

struct Host {
    process: Child,
    dir: TempDir,
}

impl Host {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_dmhost"))
            .args(["--no-fuse", "-vvv", "--ready-fd", "1", "--dev-dir"])
            .arg(dir.path())
            .env_remove("NOTIFY_SOCKET")
            .stdout(Stdio::piped())
            .stderr(File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        process.stdout.take().unwrap().read_to_string(&mut ready).unwrap();
        assert_eq!(ready, "\n");
        Self { process, dir }
    }

    fn client(&self) -> Client {
        Client::connect(&self.dir.path().join("mapper/control"))
    }

    /// Writes and reads with the key.
    fn work(&self, name: &str) {
        let mut nbd = nbd_client::Client::go(&self.dir.path().join("nbd.sock"), name);
        for (sector, count) in [(0, 1), (1, 8), (9, 300)] {
            let data = vec![7; count as usize * 512];
            nbd.put(sector * 512, &data).unwrap();
            assert!(nbd.ask(READ, sector * 512, count * 512).unwrap() == data);
        }
    }

    /// Which pieces of a key its memory holds.
    fn finds(&self, key: &[u8]) -> Vec<String> {
        let wanted = pieces(key);
        let process = Path::new("/proc").join(self.process.id().to_string());
        let memory = File::open(process.join("mem")).unwrap();
        let mut found = Vec::new();
        for line in fs::read_to_string(process.join("maps")).unwrap().lines() {
            let mut words = line.split(' ');
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let number = |digits| u64::from_str_radix(digits, 16).unwrap();
            let mut bytes = vec![0; (number(end) - number(start)) as usize];
            if memory.read_exact_at(&mut bytes, number(start)).is_err() {
                continue;
            }
            for (nr, page) in bytes.chunks(PAGE).enumerate().filter(|(_, page)| *page != [0; PAGE])
            {
                let behind = bytes.get((nr + 1) * PAGE..).unwrap_or_default();
                let seam = &behind[..behind.len().min(2 * PIECE)];
                let page = [page, seam].concat();
                for piece in wanted.iter().filter(|piece| has(&page, piece)) {
                    found.push(format!("{piece:02x?} in page {nr} of {line}"));
                }
            }
        }
        found
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn table(cipher: &str, key: &[u8], disk: &str) -> Vec<SegmentSpec> {
    vec![SegmentSpec::new(0, SIZE, "crypt", &format!("{cipher} {} 0 {disk} 0", hex(key)))]
}

fn ok(client: &mut Client, action: Action) {
    assert_eq!(client.ask("c", action).failure, None);
}

fn message(client: &mut Client, text: &str) {
    ok(client, Action::Message { sector: Sector(0), text: text.to_owned().into() });
}

/// A key in use, then wiped, another set, replaced with a table, and removed.
fn try_cipher(cipher: &str, length: usize) {
    let disk = format!("mem:keys-{length}-{}:{SIZE}", cipher.replace(':', "-"));
    let keys: Vec<Vec<u8>> = (1..5).map(|number| key(number, length)).collect();
    let host = Host::start();
    let mut client = host.client();
    client.make("c", table(cipher, &keys[0], &disk));
    host.work("c");
    let ReplyBody::Segments(shown) = client.ask("c", Action::Table).body else {
        panic!("{cipher}")
    };
    assert!(shown[0].params.contains(&hex(&keys[0])), "who may see it is told");
    assert!(!host.finds(&keys[0]).is_empty(), "a key in use is in memory, or this test is blind");

    ok(&mut client, Action::Suspend);
    message(&mut client, "key wipe");
    assert_eq!(host.finds(&keys[0]), [""; 0], "{cipher}, wiped");

    message(&mut client, &format!("key set {}", hex(&keys[1])));
    ok(&mut client, Action::Resume);
    host.work("c");
    // A key that is refused, and one that is set over another.
    ok(&mut client, Action::Suspend);
    let text = format!("key set {}ff", hex(&keys[3]));
    let refused = client.ask("c", Action::Message { sector: Sector(0), text: text.into() });
    assert!(refused.failure.is_some());
    message(&mut client, &format!("key set {}", hex(&keys[2])));
    ok(&mut client, Action::Resume);
    assert_eq!(host.finds(&keys[1]), [""; 0], "{cipher}, replaced by a message");
    assert_eq!(host.finds(&keys[3]), [""; 0], "{cipher}, refused");

    ok(&mut client, Action::Reload { table: table(cipher, &keys[3], &disk), dry_run: false });
    ok(&mut client, Action::Resume);
    host.work("c");
    assert_eq!(host.finds(&keys[2]), [""; 0], "{cipher}, replaced by a table");
    ok(&mut client, Action::Remove);
    assert_eq!(host.finds(&keys[3]), [""; 0], "{cipher}, removed");

    let log = fs::read_to_string(host.dir.path().join("log")).unwrap();
    for key in &keys {
        assert!(!log.contains(&hex(key)[..16]), "the log tells a key: {log}");
    }
}

#[test]
fn no_key_of_the_processors_cipher_is_left_in_memory() {
    try_cipher("aes-xts-plain64", 64);
}

#[test]
fn no_key_of_another_cipher_is_left_in_memory() {
    try_cipher("serpent-cbc-essiv:sha256", 32);
    try_cipher("twofish-xts-plain64", 32);
    try_cipher("camellia-cbc-plain", 16);
}
