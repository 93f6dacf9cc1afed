//! crypt: what Linux wrote, and requests under faults, suspension and short memory.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags, Sector};
use dm_tests::context::Thing;
use dm_tests::model::Model;
use dm_tests::random::seeds;
use dm_tests::{Device, Disk, DiskSpec, Mode, Random, World};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Digests of what Linux made of a pattern, and what it refused.
const LINUX: &str = include_str!("../../../sys/dev/dm/cipher/tests/linux.txt");
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn pattern(stream: u8) -> Vec<u8> {
    let sector = |nr: usize| format!("{stream:02x}:{nr:012x}\n").repeat(32).into_bytes();
    (0..512).flat_map(sector).collect()
}

fn key(length: usize) -> String {
    match length {
        0 => "-".into(),
        _ => (0..length).map(|byte| format!("{:02x}", byte % 256)).collect(),
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs that cover 512 sectors, and are multiples of eight.
fn runs(random: &mut Random) -> Vec<(u64, u64)> {
    let mut at = 0;
    let mut runs = Vec::new();
    while at < 512 {
        let longest = *random.pick(&[1, 2, 8, 30]);
        let count = (8 * random.within(1, longest)).min(512 - at);
        runs.push((at, count));
        at += count;
    }
    runs
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn what_linux_wrote_is_what_comes_out_below_and_is_read_back() {
    let (mut random, plain) = (Random::new(3), pattern(3));
    let mut taken = 0;
    for line in LINUX.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('|').collect();
        let [cipher, length, iv_offset, options, made] = fields[..] else { panic!("{line}") };
        let key = key(length.parse().expect("a number"));
        let world = World::new();
        let disk = world.disk_of(DiskSpec::new(600).mode(Mode::Thread(4)));
        let table = format!("0 512 crypt {cipher} {key} {iv_offset} {} 40 {options}", disk.name());
        if let Err(failure) = world.try_create("c", &table) {
            assert_eq!(failure.errno, Errno::EINVAL, "{line}");
            continue;
        }
        let device = world.open("c");
        for (at, count) in runs(&mut random) {
            let bytes = at as usize * 512..(at + count) as usize * 512;
            device.write(at, &plain[bytes]).expect("a write");
        }
        assert_eq!(digest(&disk.bytes()[40 * 512..][..512 * 512]), made, "{line}");
        for (at, count) in runs(&mut random) {
            let bytes = at as usize * 512..(at + count) as usize * 512;
            assert!(device.read(at, count).expect("a read") == plain[bytes], "{line}");
        }
        taken += 1;
    }
    assert!(taken > 180, "{taken} tables");
}

/// The tables that cryptsetup made of a LUKS header, and what then lay on the disk.
#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn volumes_that_cryptsetup_opened_are_read() {
    let volume_key = "41".repeat(64);
    let small = "f240d94243fc618dc50b717ce34c7041510caf59ac5f1777c4db2eb8e8212bfe";
    let large = "127f4fe8997558a14a8f643bc775b25562c1ad37e85570b6de91b170f4b3abb1";
    let plain = pattern(4);
    for (length, offset, options, made) in [
        (2104, 4040, "", small),
        (1024, 1024, "", small),
        (1024, 1024, " 1 sector_size:4096", large),
    ] {
        let world = World::new();
        let disk = world.disk(offset + length);
        let name = disk.name();
        let table =
            format!("0 {length} crypt aes-xts-plain64 {volume_key} 0 {name} {offset}{options}");
        let device = world.create("luks", &table);
        device.write(0, &plain).expect("a write");
        assert_eq!(digest(&disk.bytes()[offset as usize * 512..][..512 * 512]), made);
        assert!(disk.bytes()[..offset as usize * 512].iter().all(|byte| *byte == 0), "the header");
        assert!(device.read(0, 512).expect("a read") == plain);
    }
}

/// A cipher of the processor, one of threads, and one whose requests do their own work.
const KINDS: [&str; 3] = ["aes-xts-plain64", "serpent-cbc-essiv:sha256", "twofish-cbc-plain"];

fn table(kind: &str, name: &str) -> String {
    let options = match kind.starts_with("twofish") {
        true => " 3 allow_discards no_read_workqueue no_write_workqueue",
        false => " 1 allow_discards",
    };
    format!("0 400 crypt {kind} {KEY} 0 {name} 5{options}")
}

fn act(device: &Device, nr: u8) -> Result<(), Errno> {
    let data: Vec<u8> = (0..400 * 512).map(|at| (at / 512) as u8 ^ nr).collect();
    device.write(0, &data)?;
    device.write_fua(7, &data[7 * 512..9 * 512])?;
    let read = device.read(0, 400)?;
    assert!(read == data, "a read that succeeds is right");
    device.command(Op::WriteZeroes, 30, 200)?;
    assert_eq!(device.read(30, 200)?, [0; 200 * 512]);
    device.flush()?;
    device.command(Op::Discard, 0, 400)
}

/// Lets one call after the other fail. Gives how often that was reported, and how often not.
fn fail_each(world: &World, device: &Device) -> (u64, u64) {
    let (mut reported, mut mended) = (0, 0);
    for n in 1.. {
        world.context.faults.fail_nth(n);
        let result = act(device, n as u8);
        let hit = world.context.faults.hit();
        world.context.faults.fail_nth(0);
        world.assert_idle();
        match result {
            Ok(()) if !hit => break,
            Ok(()) => mended += 1,
            Err(errno) => {
                assert!(hit, "nothing failed, and yet {errno}");
                reported += 1;
            }
        }
        assert!(n < 500, "no end of calls");
    }
    act(device, 0).expect("it works");
    (reported, mended)
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn every_call_may_fail_and_a_retry_works() {
    for kind in KINDS {
        let world = World::new();
        let disk = world.disk_of(DiskSpec::new(405).mode(Mode::Thread(2)));
        let device = world.create("c", &table(kind, &disk.name()));
        let (reported, _) = fail_each(&world, &device);
        assert!(reported > 0, "{kind}: no failure was seen");
        world.context.faults.count_transfers_only();
        // Four parts are written and read, one is written through, zeroes are written and read
        // in two, then a flush and a discard.
        assert_eq!(fail_each(&world, &device), (15, 0), "{kind}: failures that were reported");
    }
}

#[test]
fn a_load_whose_calls_fail_leaves_nothing() {
    let world = World::new();
    let disk = world.disk(405);
    world.make("c").expect("a device");
    let mut last = 0;
    for n in 1.. {
        world.context.faults.fail_nth(n);
        let loaded = world.load("c", &table(KINDS[0], &disk.name()));
        let hit = world.context.faults.hit();
        world.context.faults.fail_nth(0);
        if !hit {
            loaded.expect("nothing failed");
            last = n;
            break;
        }
        assert!([Errno::EIO, Errno::EAGAIN].contains(&loaded.expect_err("a fault").errno));
        world.on("c", Action::Clear).expect("cleared");
        assert_eq!(world.context.out(Thing::Thread), 0);
    }
    assert!(last >= 3, "a disk and a thread, not {last}");
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn a_broken_sector_fails_its_request_and_no_other() {
    for kind in KINDS {
        let world = World::new();
        let disk = world.disk_of(DiskSpec::new(405).mode(Mode::Thread(5)));
        let device = world.create("c", &table(kind, &disk.name()));
        device.write(0, &[9; 400 * 512]).expect("a write");
        disk.break_sectors(105..106, Errno::ENOSPC);
        assert_eq!(device.read(100, 1), Err(Errno::ENOSPC), "{kind}");
        assert_eq!(device.write(0, &[8; 400 * 512]), Err(Errno::ENOSPC), "{kind}");
        disk.mend();
        device.read(0, 400).expect("a read");
    }
}

/// How many writes of so many sectors are under way below when all of them were asked for.
fn under_way(sectors: u64, asked: usize) -> usize {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(405).mode(Mode::Held));
    let device = world.create("c", &table(KINDS[0], &disk.name()));
    let data = vec![3; sectors as usize * 512];
    let writes: Vec<_> =
        (0..asked).map(|_| device.begin(Op::Write, false, 0, sectors, data.clone())).collect();
    let under_way = settled(&disk);
    while writes.iter().any(|write| !write.is_over()) {
        disk.complete_all();
        std::thread::yield_now();
    }
    for write in writes {
        write.wait().expect("a write");
    }
    under_way
}

/// The number of transfers that a disk holds once no more come.
fn settled(disk: &Disk) -> usize {
    let mut held = disk.held();
    loop {
        std::thread::sleep(std::time::Duration::from_millis(50));
        match disk.held() {
            same if same == held => return held,
            more => held = more,
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn memory_is_set_aside_once_and_writes_wait_for_it() {
    assert_eq!(under_way(1, 100), 64, "short ones");
    assert_eq!(under_way(100, 20), 8, "long ones");
    assert_eq!(under_way(4, 10), 10);
}

/// Two ciphers on one disk, one on the other.
fn stacked(world: &World, disk: &Disk) -> Device {
    let below = format!("0 450 crypt serpent-xts-plain64 {KEY}{KEY} 3 {} 7", disk.name());
    world.try_create("below", &below).expect("the lower device");
    world.create("above", &above("/dev/mapper/below"))
}

fn above(name: &str) -> String {
    format!(
        "0 200 crypt aes-xts-plain64 {KEY} 0 {name} 5\n\
         200 200 crypt camellia-cbc-plain64 {KEY} 0 {name} 205"
    )
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn ciphers_on_ciphers_go_on_when_memory_is_short() {
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(480).mode(Mode::Thread(6)));
    let device = Arc::new(stacked(&world, &disk));
    world.context.faults.starve(true);
    let threads: Vec<_> = (0..8_u64)
        .map(|nr| {
            let device = Arc::clone(&device);
            world.spawn(move |_| {
                for turn in 0..5 {
                    let data = vec![(nr * 16 + turn) as u8; 50 * 512];
                    device.write(nr * 50, &data).expect("a write");
                    assert!(device.read(nr * 50, 50).expect("a read") == data);
                    device.command(Op::WriteZeroes, nr * 50, 50).expect("zeroes");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no surprise");
    }
    world.context.faults.starve(false);
}

fn churn(seed: u64) {
    let mut random = Random::new(seed);
    let world = Arc::new(World::new());
    let disk = world.disk_of(DiskSpec::new(480).mode(Mode::Thread(seed)));
    let device = stacked(&world, &disk);
    let meddler = world.spawn(move |world| {
        for turn in 0..30 {
            let flags = if turn % 2 == 0 { Flags::NOFLUSH } else { Flags::EXISTS };
            let name = if turn % 3 == 0 { "below" } else { "above" };
            world.on_with(name, Action::Suspend, flags).expect("suspended");
            if name == "above" {
                for text in ["key wipe".to_owned(), format!("key set {KEY}")] {
                    let action = Action::Message { sector: Sector(0), text: text.into() };
                    world.on(name, action).expect("a key");
                }
            }
            world.on(name, Action::Resume).expect("resumed");
            world.load("above", &above("/dev/mapper/below")).expect("loaded");
            world.on_with("above", Action::Resume, flags).expect("resumed");
        }
    });
    let mut model = Model::new(400);
    device.write(0, &vec![0; 400 * 512]).expect("a write");
    for _ in 0..150 {
        let at = random.below(400);
        let count = random.within(1, (400 - at).min(150));
        let mut data = vec![0; count as usize * 512];
        match random.below(4) {
            0 => {
                device.command(Op::WriteZeroes, at, count).expect("zeroes");
                model.write(at, &data);
            }
            1 => model.check(at, &device.read(at, count).expect("a read")),
            _ => {
                random.fill(&mut data);
                device.write(at, &data).expect("a write");
                model.write(at, &data);
            }
        }
        if random.one_in(9) {
            device.flush().expect("a flush");
        }
    }
    meddler.join().expect("no surprise");
    model.check(0, &device.read(0, 400).expect("a read"));
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn requests_survive_suspension_new_keys_and_new_tables() {
    seeds(2, churn);
}
