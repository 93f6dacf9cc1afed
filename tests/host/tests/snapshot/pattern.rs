//! Devices with a pattern: sector n of stream s is 32 copies of the line `ss:nnnnnnnnnnnn`.

use dm_tests::snapshot::lines;
use dm_tests::{Device, World};

/// A stream of sectors.
pub fn stream(stream: u8, first: u64, count: u64) -> Vec<u8> {
    (first..first + count)
        .flat_map(|sector| format!("{stream:02x}:{sector:012x}\n").into_bytes().repeat(32))
        .collect()
}

/// Writes a stream where it belongs, and flushes.
pub fn put(device: &Device, nr: u8, first: u64, count: u64) {
    device.write(first, &stream(nr, first, count)).expect("a write");
    device.flush().expect("a flush");
}

/// Reads a stream from where it belongs.
pub fn check(device: &Device, nr: u8, first: u64, count: u64) {
    let found = device.read(first, count).expect("a read");
    for (at, sector) in (first..).zip(found.chunks(512)) {
        let line = String::from_utf8_lossy(&sector[..16]).into_owned();
        assert!(sector == stream(nr, at, 1), "sector {at} of stream {nr} is {line:?}");
    }
}

/// The one line of a device's state.
pub fn status(world: &World, name: &str) -> String {
    lines(world, name, true).remove(0)
}

/// The one line of a device's table.
pub fn table(world: &World, name: &str) -> String {
    lines(world, name, false).remove(0)
}

/// Waits until something is so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..5000 {
        if done() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("never: {what}");
}
