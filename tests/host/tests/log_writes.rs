//! log-writes: what the log says and in which order, marks, ends, a log that fails or is full.

use dm::kern::disk::Op;
use dm_protocol::write_log::{END_MARK, ENTRY_SIZE, Entry, EntryFlags, Header};
use dm_protocol::{Action, Errno, Flags};
use dm_tests::random::seeds;
use dm_tests::snapshot::{lines, refuses};
use dm_tests::{Device, Disk, DiskSpec, Mode, Random, World};
use std::sync::Arc;

const SIZE: u64 = 64;

/// A device, its disk and its log.
fn logged(world: &World, spec: DiskSpec, log: u64) -> (Arc<Disk>, Arc<Disk>, Device) {
    let (disk, log) = (world.disk_of(spec), world.disk(log));
    let table = format!("0 {SIZE} log-writes {} {}", disk.name(), log.name());
    let device = world.create("w", &table);
    (disk, log, device)
}

fn simple(world: &World) -> (Arc<Disk>, Arc<Disk>, Device) {
    logged(world, DiskSpec::new(SIZE), 1024)
}

/// An entry of a log: what it is about, a mark's text, and the data.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    entry: Entry,
    text: String,
    data: Vec<u8>,
}

/// All that is in a log, without asking how many entries there are.
fn read(log: &Disk, unit: usize) -> Vec<Read> {
    let bytes = log.bytes();
    let (mut at, mut found) = (unit, Vec::new());
    while let Some(sector) = bytes.get(at..at + unit) {
        let entry = Entry::decode(sector);
        if entry.flags.is_empty() && entry.sectors == 0 {
            return found;
        }
        let text = &sector[ENTRY_SIZE..][..entry.text_length as usize];
        at += unit;
        let data = bytes[at..][..entry.data_sectors() as usize * unit].to_vec();
        at += data.len();
        found.push(Read { entry, text: String::from_utf8_lossy(text).into(), data });
    }
    found
}

/// The same in short: `w4+2` for a write of two sectors at 4, `u` if it is durable, `d` for a
/// discard, `f` for a flush, `m:text` for a mark.
fn short(log: &Disk) -> String {
    let one = |Read { entry, text, .. }: &Read| {
        let range = format!("{}+{}", entry.sector, entry.sectors);
        match entry.flags {
            flags if flags == EntryFlags::FLUSH => "f".into(),
            flags if flags == EntryFlags::MARK => format!("m:{text}"),
            flags if flags == EntryFlags::DISCARD => format!("d{range}"),
            flags if flags == EntryFlags::FUA => format!("u{range}"),
            flags if flags.is_empty() => format!("w{range}"),
            flags => format!("{flags:?}"),
        }
    };
    read(log, 512).iter().map(one).collect::<Vec<_>>().join(" ")
}

fn header(log: &Disk) -> Option<u64> {
    Header::decode(&log.bytes()).ok().map(|header| header.entries)
}

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    let (disk, log, device) = simple(&world);
    let (a, b) = (disk.devno(), log.devno());
    assert_eq!(lines(&world, "w", false), [format!("0 {SIZE} log-writes {a} {b}")]);
    let status = || lines(&world, "w", true)[0].replace(&format!("0 {SIZE} log-writes "), "");
    assert_eq!(status(), "0 0");
    device.write(0, &[1; 8 * 512]).expect("a write");
    assert_eq!(status(), "0 0", "it waits for a flush");
    device.flush().expect("a flush");
    assert_eq!(status(), "2 10");
}

#[test]
fn wrong_arguments_are_refused_with_a_reason_and_change_nothing() {
    let world = World::new();
    let (disk, big) = (world.disk(64), world.disk_of(DiskSpec::new(64).big_sectors()));
    for (words, why) in [
        ("@", "argument 2 (device) is missing"),
        ("@ @ 1", "is one too many"),
        ("@ &", "its sectors of 4096 bytes are larger than the device's, 512"),
        ("@ mem:0", "there is no disk"),
    ] {
        let words = words.replace('@', &disk.name()).replace('&', &big.name());
        refuses(&world, &format!("0 64 log-writes {words}"), why);
    }
    refuses(&world, &format!("0 65 log-writes {0} {0}", disk.name()), "are beyond");
}

#[test]
fn durable_writes_and_marks_come_before_what_is_not_flushed() {
    let world = World::new();
    let (disk, log, device) = simple(&world);
    device.write(4, &[1; 1024]).expect("a write");
    device.write_fua(9, &[2; 512]).expect("a durable write");
    assert_eq!((short(&log), header(&log)), ("u9+1".into(), Some(1)));
    device.command(Op::Discard, 20, 8).expect("a discard");
    device.command(Op::WriteZeroes, 30, 2).expect("zeroes");
    assert_eq!(world.say("w", "Mark here").expect("a mark"), None);
    assert_eq!((short(&log), header(&log)), ("u9+1 m:here".into(), Some(2)));
    device.flush().expect("a flush");
    assert_eq!(short(&log), "u9+1 m:here w4+2 d20+8 w30+2 f");
    assert_eq!(header(&log), Some(2), "as of the last mark");
    let data: Vec<_> = read(&log, 512).into_iter().map(|entry| entry.data).collect();
    assert_eq!(data[0], [2; 512]);
    assert_eq!(data[2], [1; 1024]);
    assert_eq!(data[3], [], "a discard has none");
    assert_eq!(data[4], [0; 1024]);
    assert_eq!(disk.bytes()[4 * 512..6 * 512], [1; 1024]);
    assert_eq!(device.read(9, 1).expect("a read"), [2; 512]);
}

#[test]
fn a_durable_write_comes_behind_what_it_overwrites() {
    let world = World::new();
    let (_disk, log, device) = simple(&world);
    for at in [0, 4, 8, 12] {
        device.write(at, &[1; 6 * 512]).expect("a write");
    }
    device.write_fua(9, &[2; 512]).expect("a durable write");
    assert_eq!(short(&log), "w0+6 w4+6 w8+6 u9+1", "in their order, and not the last");
    device.flush().expect("a flush");
    assert_eq!(short(&log), "w0+6 w4+6 w8+6 u9+1 w12+6 f");
}

#[test]
fn the_end_of_a_table_is_noted_with_what_was_not_flushed() {
    let world = World::new();
    let (_disk, log, device) = simple(&world);
    device.write(4, &[1; 512]).expect("a write");
    drop(device);
    world.on("w", Action::Remove).expect("removed");
    assert_eq!(short(&log), format!("w4+1 m:{END_MARK}"));
    assert_eq!(header(&log), Some(2));
    assert_eq!(log.count(Op::Flush), 1);
}

#[test]
fn a_table_that_was_never_live_leaves_the_log_alone() {
    let world = World::new();
    let (disk, log, device) = simple(&world);
    device.write_fua(4, &[1; 512]).expect("a write");
    let before = log.bytes();
    let again = format!("0 {SIZE} log-writes {} {}", disk.name(), log.name());
    world.load("w", &again).expect("a table");
    world.on("w", Action::Clear).expect("cleared");
    assert!(log.bytes() == before);
    // The old table ends behind the beginning of the new one, whose log it is then.
    world.load("w", &again).expect("a table");
    world.on("w", Action::Resume).expect("a resume");
    assert_eq!(short(&log), "u4+1 f", "the old one was flushed, the new has written nothing yet");
    device.write_fua(5, &[3; 512]).expect("a write");
    assert_eq!((short(&log), header(&log)), ("u5+1 f".into(), Some(1)));
}

#[test]
fn marks_are_one_word_and_cut_to_their_sector() {
    let world = World::new();
    let (_disk, log, _device) = simple(&world);
    for (text, why) in [
        ("sing", "is no message"),
        ("mark", "argument 2 (mark) is missing"),
        ("mark a b", "is one too many"),
    ] {
        let failure = world.say("w", text).expect_err(text);
        assert_eq!(failure.errno, Errno::EINVAL);
        assert!(failure.message.contains(why), "{text}: {}", failure.message);
    }
    assert_eq!(header(&log), None, "nothing was written");
    world.say("w", &format!("mark {}", "x".repeat(600))).expect("a mark");
    assert_eq!(read(&log, 512)[0].text, "x".repeat(512 - ENTRY_SIZE - 1));
}

#[test]
fn a_log_of_large_sectors_counts_in_them() {
    let world = World::new();
    let (_disk, log, device) = logged(&world, DiskSpec::new(SIZE).big_sectors(), 1024);
    device.write(8, &[1; 16 * 512]).expect("a write");
    device.flush().expect("a flush");
    assert_eq!(lines(&world, "w", true), [format!("0 {SIZE} log-writes 2 39")]);
    world.say("w", "mark it").expect("a mark");
    let found = read(&log, 4096);
    let Entry { sector, sectors, .. } = found[0].entry;
    assert_eq!((sector, sectors), (1, 2));
    assert_eq!((found[0].data.len(), found.len()), (8192, 3));
    let header = Header::decode(&log.bytes()).expect("a header");
    assert_eq!(header, Header { entries: 3, sector_size: 4096 });
}

#[test]
fn a_discard_that_the_disk_cannot_do_is_noted_nevertheless() {
    let world = World::new();
    let spec = DiskSpec { discard: false, ..DiskSpec::new(SIZE) };
    let (disk, log, device) = logged(&world, spec, 1024);
    device.command(Op::Discard, 8, 8).expect("a discard");
    device.flush().expect("a flush");
    assert_eq!((short(&log), disk.count(Op::Discard)), ("d8+8 f".into(), 0));
}

#[test]
fn a_full_log_keeps_what_it_has_and_the_device_goes_on() {
    let world = World::new();
    let (disk, log, device) = logged(&world, DiskSpec::new(SIZE), 16);
    device.write(0, &[1; 8 * 512]).expect("a write");
    device.write(8, &[2; 2 * 512]).expect("a write");
    device.write(16, &[3; 8 * 512]).expect("a write");
    device.flush().expect("a flush");
    assert_eq!(lines(&world, "w", true), [format!("0 {SIZE} log-writes 2 21 logging_disabled")]);
    assert_eq!(short(&log), "w0+8 w8+2");
    assert!(world.context.log().iter().any(|line| line.contains("the log is full")));
    device.write(0, &[4; 512]).expect("a write");
    device.flush().expect("a flush");
    world.say("w", "mark it").expect("nothing happens");
    assert_eq!(short(&log), "w0+8 w8+2");
    assert_eq!(disk.bytes()[0], 4);
}

#[test]
fn a_log_that_fails_does_not_fail_the_device() {
    let world = World::new();
    let (disk, log, device) = simple(&world);
    log.break_sectors(0..1024, Errno::EIO);
    device.write(0, &[1; 512]).expect("a write");
    device.flush().expect("a flush");
    let status = lines(&world, "w", true).remove(0);
    assert!(status.ends_with(" logging_disabled"), "{status}");
    device.write_fua(1, &[1; 512]).expect("a write");
    assert_eq!(disk.bytes()[..1024], [1; 1024]);
}

#[test]
fn what_fails_is_not_noted_and_a_failed_flush_flushes_nothing() {
    let world = World::new();
    let (disk, log, device) = simple(&world);
    device.write(0, &[1; 512]).expect("a write");
    disk.break_sectors(8..9, Errno::ENOSPC);
    assert_eq!(device.write(8, &[1; 512]), Err(Errno::ENOSPC));
    assert_eq!(device.flush(), Err(Errno::ENOSPC));
    assert_eq!(short(&log), "");
    disk.mend();
    device.write(1, &[1; 512]).expect("a write");
    device.flush().expect("a flush");
    assert_eq!(short(&log), "w0+1 w1+1 f");
}

#[test]
fn every_failure_below_is_the_requests_and_a_retry_works() {
    let world = World::new();
    let (_disk, _log, device) = logged(&world, DiskSpec::new(SIZE).mode(Mode::Thread(3)), 4096);
    for n in 1.. {
        world.context.faults.fail_nth(n);
        let results = [
            device.write(0, &[6; 1024]),
            device.read(0, 2).map(drop),
            device.command(Op::Discard, 4, 2),
            device.flush(),
        ];
        let hit = world.context.faults.hit();
        world.context.faults.fail_nth(0);
        // The transfer to the log may be the one that fails.
        let failed = results.iter().filter(|result| **result == Err(Errno::EIO)).count();
        assert!(failed <= usize::from(hit), "call {n}: {results:?}");
        world.assert_idle();
        if !hit {
            assert!(n > 4, "only {n} calls");
            break;
        }
    }
    device.write(0, &[6; 512]).expect("a retry");
}

#[test]
fn suspension_waits_or_not_and_another_table_serves() {
    let world = Arc::new(World::new());
    let (disk, log, device) = logged(&world, DiskSpec::new(SIZE).mode(Mode::Held), 1024);
    let pending = device.begin(Op::Write, false, 0, 1, vec![1; 512]);
    let suspend = world.spawn(|world| world.on("w", Action::Suspend).map(drop));
    while !suspend.is_finished() {
        disk.complete_all();
        std::thread::yield_now();
    }
    suspend.join().expect("no surprise").expect("suspended");
    pending.wait().expect("a write");
    assert_eq!(short(&log), "w0+1 f", "suspension flushes");
    let late = device.begin(Op::Write, false, 1, 1, vec![2; 512]);
    world.load("w", &format!("0 {SIZE} linear {} 0", log.name())).expect("another table");
    world.on_with("w", Action::Resume, Flags::NOFLUSH).expect("a resume");
    late.wait().expect("a write");
}

/// A disk that is rebuilt from a log.
fn replayed(log: &Disk, entries: usize) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize * 512];
    for Read { entry, data, .. } in read(log, 512).iter().take(entries) {
        let at = entry.sector as usize * 512;
        if entry.flags.contains(EntryFlags::DISCARD) {
            bytes[at..][..entry.sectors as usize * 512].fill(0xdd);
        }
        bytes[at..][..data.len()].copy_from_slice(data);
    }
    bytes
}

#[test]
fn a_disk_is_rebuilt_from_its_log_up_to_every_mark() {
    seeds(6, |seed| {
        let world = World::new();
        let spec = DiskSpec::new(SIZE).mode(Mode::Thread(seed));
        let (disk, log, device) = logged(&world, spec, 40_000);
        let mut random = Random::new(seed);
        let mut states = Vec::new();
        for step in 0..60 {
            let (at, count) = (random.below(SIZE), random.below(8) + 1);
            let count = count.min(SIZE - at);
            let mut data = vec![0; count as usize * 512];
            random.fill(&mut data);
            match random.below(6) {
                0 => device.write_fua(at, &data).expect("a durable write"),
                1 => device.command(Op::Discard, at, count).expect("a discard"),
                2 => device.command(Op::WriteZeroes, at, count).expect("zeroes"),
                _ => device.write(at, &data).expect("a write"),
            }
            if step % 10 == 9 {
                device.flush().expect("a flush");
                world.say("w", &format!("mark {step}")).expect("a mark");
                states.push(disk.bytes());
            }
        }
        let marks = read(&log, 512);
        let marks = marks.iter().enumerate().filter(|(_, found)| !found.text.is_empty());
        let places: Vec<usize> = marks.map(|(place, _)| place).collect();
        assert_eq!(places.len(), states.len());
        for (place, state) in places.into_iter().zip(states) {
            assert!(replayed(&log, place) == state, "seed {seed}, entry {place}");
        }
    });
}
