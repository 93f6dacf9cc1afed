//! crypt: its words and what it prints, keys, discards, zeroes, threads, faults, short memory.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Failure, Reply, Sector};
use dm_tests::snapshot::{everything, lines};
use dm_tests::{DiskSpec, Mode, World};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn say(world: &World, text: &str) -> Result<Reply, Failure> {
    let action = Action::Message { sector: Sector(0), text: text.to_owned().into() };
    world.on("c", action)
}

/// The table that the superuser sees, with the name of the disk for its number.
fn shown(world: &World, disk: &dm_tests::Disk) -> String {
    lines(world, "c", false).join("\n").replace(&disk.devno().to_string(), &disk.name())
}

#[test]
fn a_table_prints_as_linux_prints_it() {
    let world = World::new();
    let disk = world.disk(2048);
    let n = disk.name();
    let cases = [
        format!("0 512 crypt aes-xts-plain64 {KEY} 0 {n} 0"),
        format!("0 512 crypt aes-xts-plain {KEY} 7 {n} 0"),
        format!("0 512 crypt capi:cbc(aes)-eboiv {KEY} 0 {n} 0"),
        format!("0 512 crypt xchacha12,aes-adiantum-plain64 {KEY} 0 {n} 0"),
        format!("0 512 crypt aes-ecb {KEY} 0 {n} 0"),
        format!("0 512 crypt aes:2-cbc-plain64 {KEY}{KEY} 0 {n} 0"),
        format!("0 512 crypt cipher_null-ecb - 0 {n} 0"),
        format!("0 512 crypt aes-xts-plain64 {KEY} 18446744073709551615 {n} 1536"),
        format!("0 512 crypt aes-xts-plain64 {KEY}{KEY} 0 {n} 0 1 sector_size:4096"),
        format!(
            "0 512 crypt aes-xts-plain64 {KEY} 0 {n} 0 3 allow_discards same_cpu_crypt \
             submit_from_crypt_cpus"
        ),
        format!(
            "0 512 crypt aes-xts-plain64 {KEY} 8 {n} 0 8 allow_discards same_cpu_crypt \
             high_priority submit_from_crypt_cpus no_read_workqueue no_write_workqueue \
             sector_size:2048 iv_large_sectors"
        ),
    ];
    for table in cases {
        drop(world.create("c", &table));
        assert_eq!(shown(&world, &disk), table);
        assert_eq!(lines(&world, "c", true), ["0 512 crypt "]);
        world.on("c", Action::Remove).expect("removed");
    }
    let odd = format!(
        "0 512 crypt aes-xts-plain64 {} 0 {n} 0 5 iv_large_sectors NO_READ_WORKQUEUE \
         sector_size:1024 Allow_Discards sector_size:512",
        KEY.to_uppercase()
    );
    drop(world.create("c", &odd));
    let printed = format!(
        "0 512 crypt aes-xts-plain64 {KEY} 0 {n} 0 3 allow_discards no_read_workqueue \
         iv_large_sectors"
    );
    assert_eq!(shown(&world, &disk), printed);
}

#[test]
fn a_key_is_shown_to_the_superuser_only() {
    let world = World::new();
    let disk = world.disk(512);
    drop(world.create("c", &format!("0 512 crypt aes-xts-plain64 {KEY} 0 {} 0", disk.name())));
    let table = |privileged| {
        let caller = dm::command::Caller { privileged, client: 1 };
        let mut dict = dm_protocol::Request::new(Action::Table).encode();
        dict.set(dm_protocol::key::NAME, "c");
        format!("{:?}", world.ask(&caller, dict))
    };
    assert!(table(true).contains(KEY));
    assert!(!table(false).contains(KEY));
    assert!(table(false).contains(&format!("aes-xts-plain64 {} 0", "0".repeat(64))));
}

#[test]
fn wrong_words_are_refused_with_a_sentence_that_holds_no_key() {
    let world = World::new();
    let disk = world.disk(512);
    let n = disk.name();
    let line = |rest: &str| format!("0 512 crypt {}", rest.replace('N', &n).replace('K', KEY));
    let cases = [
        ("", "argument 1 (cipher) is missing"),
        ("aes-xts-plain64", "argument 2 (key) is missing"),
        ("des-cbc-plain64 K 0 N 0", "argument 1 (cipher) \"des-cbc-plain64\": there is no cipher"),
        ("aes-cbc K 0 N 0", "argument 1 (cipher) \"aes-cbc\": this chain needs a source"),
        ("aes-xts-random K 0 N 0", "random vectors need a device below that keeps tags"),
        ("capi:gcm(aes)-random K 0 N 0", "authenticated modes need a device below"),
        ("aes-xts-plain64 K00 0 N 0", "argument 2 (key): 33 bytes are no key for this cipher"),
        ("aes-xts-plain64 K0 0 N 0", "argument 2 (key): has half a byte at its end"),
        ("aes-xts-plain64 Kzz 0 N 0", "argument 2 (key): has a character that is no digit"),
        ("aes-xts-plain64 - 0 N 0", "argument 2 (key): 0 bytes are no key for this cipher"),
        ("aes-xts-plain64 :32:logon:K 0 N 0", "argument 2 (key): keys of a keyring are not"),
        ("aes-xts-plain64 K x N 0", "argument 3 (iv_offset) \"x\": is not a decimal number"),
        ("aes-xts-plain64 K 0", "argument 4 (device) is missing"),
        ("aes-xts-plain64 K 0 N", "argument 5 (offset) is missing"),
        ("aes-xts-plain64 K 0 N 1", "512 sectors from 1 on are beyond"),
        ("aes-xts-plain64 K 0 N 0 9", "argument 6 (number of options) \"9\": is not from 0 to 8"),
        ("aes-xts-plain64 K 0 N 0 1", "argument 7 (option) is missing"),
        ("aes-xts-plain64 K 0 N 0 1 fast", "argument 7 (option) \"fast\": is no option"),
        ("aes-xts-plain64 K 0 N 0 0 fast", "argument 7 (surplus) \"fast\": is one too many"),
        ("aes-xts-plain64 K 0 N 0 1 sector_size:8192", "sectors have 512, 1024, 2048 or 4096"),
        ("aes-xts-plain64 K 0 N 0 1 sector_size:0", "sectors have 512, 1024, 2048 or 4096"),
        ("aes-xts-plain64 K 0 N 0 1 integrity:28:aead", "tags need a device below that keeps"),
        ("aes-xts-plain64 K 4 N 0 1 sector_size:4096", "the iv_offset of 4 sectors is no multiple"),
        ("aes-cbc-tcw KK 0 N 0 1 sector_size:4096", "lmk and tcw are for sectors of 512 bytes"),
    ];
    let before = everything(&world);
    for (rest, why) in cases {
        let table = line(rest);
        let failure = world.try_create("c", &table).expect_err(&table);
        assert_eq!(failure.errno, Errno::EINVAL, "{table}");
        assert!(failure.message.contains(why), "{table}: {}", failure.message);
        assert!(!failure.message.contains("000102"), "{}", failure.message);
        assert_eq!(everything(&world), before);
    }
    let short = format!("0 508 crypt aes-xts-plain64 {KEY} 0 {n} 0 1 sector_size:4096");
    let failure = world.try_create("c", &short).expect_err("half a sector at the end");
    assert!(failure.message.contains("the length of 508 sectors is no multiple"));
    let askew = format!("0 256 crypt aes-xts-plain64 {KEY} 0 {n} 4 1 sector_size:4096");
    let failure = world.try_create("c", &askew).expect_err("half a sector at the beginning");
    assert!(failure.message.contains("the offset of 4 sectors is no multiple"));
}

#[test]
fn requests_are_whole_sectors_of_the_cipher() {
    let world = World::new();
    let disk = world.disk(512);
    let table = format!("0 512 crypt aes-xts-plain64 {KEY} 0 {} 0 1 sector_size:4096", disk.name());
    let device = world.create("c", &table);
    device.write(8, &[7; 4096]).expect("a sector");
    assert_eq!(device.write(4, &[7; 4096]), Err(Errno::EINVAL));
    assert_eq!(device.read(8, 1), Err(Errno::EINVAL));
    assert_eq!(device.read(8, 8).expect("a sector"), [7; 4096]);
}

#[test]
fn discards_are_offset_and_only_for_who_allows_them() {
    let world = World::new();
    let disk = world.disk(64);
    let (n, at) = (disk.name(), 11);
    let table = format!("0 48 crypt aes-xts-plain64 {KEY} 0 {n} {at}");
    let device = world.create("c", &table);
    let written = disk.bytes();
    assert_eq!(device.command(Op::Discard, 0, 48), Err(Errno::EOPNOTSUPP));
    assert_eq!((disk.count(Op::Discard), disk.bytes() == written), (0, true));
    world.load("c", &format!("{table} 1 allow_discards")).expect("loaded");
    world.on("c", Action::Resume).expect("resumed");
    device.command(Op::Discard, 3, 5).expect("a discard");
    let held = disk.bytes();
    let discarded = |sector: usize| held[sector * 512] == 0xdd;
    let sectors: Vec<usize> = (0..64).filter(|sector| discarded(*sector)).collect();
    assert_eq!(sectors, [14, 15, 16, 17, 18]);
}

#[test]
#[cfg_attr(miri, ignore = "too much to encrypt in an interpreter")]
fn zeroes_are_written_encrypted_and_read_as_zeroes() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(600).mode(Mode::Thread(1)));
    let table = format!("0 500 crypt aes-xts-plain64 {KEY} 0 {} 3", disk.name());
    let device = world.create("c", &table);
    device.write(0, &vec![1; 500 * 512]).expect("a write");
    let some = [(10, 300), (310, 1), (320, 128), (448, 33)];
    std::thread::scope(|scope| {
        for (at, count) in some {
            let (device, world) = (&device, &world);
            scope.spawn(move || {
                world.context.enter();
                device.command(Op::WriteZeroes, at, count).expect("zeroes");
            });
        }
    });
    let read = device.read(0, 500).expect("a read");
    for (sector, bytes) in (0..).zip(read.chunks(512)) {
        let zero = some.iter().any(|(at, count)| (*at..at + count).contains(&sector));
        assert_eq!(bytes, [u8::from(!zero); 512], "sector {sector}");
    }
    assert!(disk.bytes()[13 * 512..].chunks(512).take(300).all(|bytes| bytes != [0; 512]));
    assert_eq!(disk.count(Op::WriteZeroes), 0, "a disk's zeroes would be seen from outside");
    disk.break_sectors(200..201, Errno::ENOSPC);
    assert_eq!(device.command(Op::WriteZeroes, 10, 300), Err(Errno::ENOSPC));
    disk.mend();
    device.command(Op::WriteZeroes, 10, 300).expect("zeroes");
}

#[test]
fn keys_change_only_while_the_device_is_suspended() {
    let world = World::new();
    let disk = world.disk(64);
    let device = world.create("c", &format!("0 64 crypt aes-cbc-plain {KEY} 0 {} 0", disk.name()));
    device.write(0, &[5; 64 * 512]).expect("a write");
    let before = everything(&world);
    let refuse = |text: &str, why: &str| {
        let failure = say(&world, text).expect_err(text);
        assert_eq!(failure.errno, Errno::EINVAL, "{text}");
        assert!(failure.message.contains(why), "{text}: {}", failure.message);
        assert!(!failure.message.contains("0102"), "{}", failure.message);
    };
    refuse(&format!("key set {OTHER}"), "only while the device is suspended");
    refuse("key wipe", "only while the device is suspended");
    assert_eq!(everything(&world), before);
    world.on("c", Action::Suspend).expect("suspended");
    refuse("lock", "\"lock\": is no message");
    refuse("key", "argument 2 (set or wipe) is missing");
    refuse(&format!("key {OTHER}"), "argument 2 (set or wipe): is neither set nor wipe");
    refuse("key set", "argument 3 (key) is missing");
    refuse(&format!("key set {OTHER}00"), "argument 3 (key): has not 32 bytes, as the key before");
    refuse(&format!("key set {}", OTHER.replace('f', "g")), "a character that is no digit");
    refuse(&format!("key set {OTHER} 1"), "argument 4 (surplus)");
    refuse("key wipe now", "argument 3 (surplus)");
    assert!(lines(&world, "c", false)[0].contains(KEY), "a refused message changes nothing");
    say(&world, &format!("KEY Set {}", OTHER.to_uppercase())).expect("set");
    world.on("c", Action::Resume).expect("resumed");
    assert!(lines(&world, "c", false)[0].contains(OTHER));
    assert_ne!(device.read(0, 1).expect("a read"), [5; 512], "another key, other bytes");
    world.on("c", Action::Suspend).expect("suspended");
    say(&world, &format!("key set {KEY}")).expect("set");
    world.on("c", Action::Resume).expect("resumed");
    assert_eq!(device.read(0, 64).expect("a read"), [5; 64 * 512]);
}

#[test]
fn a_wiped_key_keeps_the_device_suspended_until_one_is_set() {
    let world = World::new();
    let disk = world.disk(64);
    let table = format!("0 64 crypt aes-cbc-plain {KEY} 0 {} 0", disk.name());
    let device = world.create("c", &table);
    device.write(0, &[5; 64 * 512]).expect("a write");
    world.on("c", Action::Suspend).expect("suspended");
    say(&world, "key wipe").expect("wiped");
    assert!(!lines(&world, "c", false)[0].contains(KEY));
    assert!(lines(&world, "c", false)[0].contains(&"00".repeat(32)));
    let read = device.begin(Op::Read, false, 0, 64, vec![0; 64 * 512]);
    let failure = world.on("c", Action::Resume).expect_err("no key");
    assert_eq!(failure.errno, Errno::EAGAIN);
    assert!(failure.message.contains("the key is wiped"), "{}", failure.message);
    assert!(!read.is_over(), "it waits for the key");
    say(&world, &format!("key set {KEY}")).expect("set");
    world.on("c", Action::Resume).expect("resumed");
    assert_eq!(read.wait().expect("a read"), [5; 64 * 512]);
    world.on("c", Action::Suspend).expect("suspended");
    say(&world, "key wipe").expect("wiped");
    world.load("c", &table).expect("a new table has its own key");
    world.on("c", Action::Resume).expect("resumed");
    assert_eq!(device.read(0, 64).expect("a read"), [5; 64 * 512]);
}
