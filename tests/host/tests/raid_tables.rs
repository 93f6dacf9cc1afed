//! raid: tables that are taken and refused.

use dm_play::pattern::fill;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::raid::{RAID1, Set};
use dm_tests::snapshot::{everything, lines};
use dm_tests::world::specs;

#[test]
fn wrong_parameters_are_refused_with_a_sentence() {
    let set = Set::new(2);
    let members = set.members(&[]);
    let bare = format!("2 - {} - {}", set.data[0].name(), set.data[1].name());
    let (meta, data) = (set.meta[0].name(), set.data[0].name());
    let cases = [
        (String::new(), "argument 1 (raid type) is missing"),
        (format!("raid9 1 0 {members}"), "is no type of raid"),
        (format!("raid5_ls 1 32 {members}"), "raid 4, 5 and 6 are not done here"),
        (format!("raid1 0 {members}"), "argument 2 (raid parameters) \"0\": is not from 1"),
        (format!("raid1 1 x {members}"), "(chunk) \"x\": is not a decimal number"),
        (format!("raid0 1 4 {bare}"), "(chunk) \"4\": is less than 8"),
        (format!("raid10 1 12 {members}"), "(chunk) \"12\": is no power of two"),
        (format!("raid1 3 0 sing 3 {members}"), "\"sing\": is no parameter of raid"),
        (format!("raid1 2 0 region_size {members}"), "lacks its value"),
        (format!("raid1 3 0 region_size 63 {members}"), "a region_size of 63 is no power of two"),
        (format!("raid1 3 0 region_size 4096 {members}"), "not from 0 to 2048"),
        (format!("raid10 3 64 region_size 32 {members}"), "not from 64 to 2048"),
        (format!("raid1 5 0 region_size 64 region_size 64 {members}"), "was given before"),
        (format!("raid1 3 0 sync nosync {members}"), "sync or nosync was given before"),
        (format!("raid1 4 0 sync rebuild 1 {members}"), "exclude each other"),
        (format!("raid1 3 0 rebuild 2 {members}"), "there is no member 2, since there are 2"),
        (format!("raid1 3 0 write_mostly 63 {members}"), "there is no member 63, since there are"),
        (format!("raid1 5 0 rebuild 1 rebuild 1 {members}"), "was given before"),
        (format!("raid1 5 0 rebuild 0 rebuild 1 {members}"), "no member is left to rebuild from"),
        (format!("raid1 5 0 rebuild 0 rebuild 1 {bare}"), "too many members are not up to date"),
        (format!("raid1 5 0 write_mostly 0 write_mostly 1 {members}"), "not all members can be"),
        (format!("raid10 3 64 write_mostly 0 {members}"), "is no parameter of raid10"),
        (format!("raid1 3 0 stripe_cache 5 {members}"), "is for raid 4, 5 and 6"),
        (format!("raid1 3 0 delta_disks 1 {members}"), "sets are not reshaped here"),
        (format!("raid1 3 0 data_offset 64 {members}"), "sets are not reshaped here"),
        (format!("raid1 3 0 data_offset {members}"), "(data_offset) \"2\": sets are not reshaped"),
        (format!("raid1 5 0 data_offset 0 data_offset 0 {members}"), "was given before"),
        (format!("raid1 3 0 raid10_copies 2 {members}"), "is no parameter of this type"),
        (format!("raid0 3 64 region_size 64 {bare}"), "is no parameter of this type"),
        (format!("raid10 3 64 raid10_format below {members}"), "is not near, far or offset"),
        (format!("raid10 3 64 raid10_copies 3 {members}"), "fewer members than copies"),
        (format!("raid10_far 1 64 {members}"), "names another format than raid10_format"),
        (format!("raid10 2 64 raid10_use_near_sets {members}"), "for the formats far and offset"),
        (
            format!("raid10 3 64 raid10_use_near_sets raid10_use_near_sets {members}"),
            "(raid parameter) \"raid10_use_near_sets\": was given before",
        ),
        (format!("raid1 5 0 min_recovery_rate 9 max_recovery_rate 8 {members}"), "is more than"),
        (format!("raid1 1 0 2 {meta} - - {data}"), "a member with metadata needs its data"),
        ("raid1 1 0 2 - - - -".into(), "too many members are missing"),
        (format!("raid0 1 64 2 - {data} - -"), "raid0 needs all its members"),
        (
            format!("raid1 3 0 rebuild 1 2 {meta} {data} - -"),
            "that is to be rebuilt needs a device",
        ),
        (format!("raid1 1 0 2 {meta} {data} - {data}"), "have metadata, or none"),
        (format!("raid0 1 64 2 {meta} {data} - {data}"), "have metadata, or none"),
        (format!("raid1 1 0 {members} x"), "is one too many"),
    ];
    let before = everything(&set.world);
    for (words, why) in cases {
        let table = format!("0 2048 raid {words}");
        let failure = set.world.try_create("r", &table).expect_err(&table);
        assert_eq!(failure.errno, Errno::EINVAL, "{table}");
        assert!(failure.message.contains(why), "{table}: {}", failure.message);
        assert_eq!(everything(&set.world), before);
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused_with_a_sentence() {
    let set = Set::new(2);
    let (members, data) = (set.members(&[]), set.data[0].name());
    for (length, words) in [(2000, "raid10 1 64"), (1984, "raid10 3 64 raid10_format far")] {
        let table = format!("0 {length} raid {words} {members}");
        let failure = set.world.try_create("r", &table).expect_err(&table);
        assert!(failure.message.contains("do not fill chunks of 64 on 2"), "{}", failure.message);
    }
    let failure = set.world.try_create("r", &format!("0 4096 raid raid1 1 0 {members}"));
    assert!(failure.expect_err("too long").message.contains("are beyond"));
    let small = set.world.disk(8);
    let table = format!("0 2048 raid raid1 1 0 1 {} {data}", small.name());
    let failure = set.world.try_create("r", &table).expect_err("no room for a bitmap");
    assert!(failure.message.contains("metadata needs 9 sectors"), "{}", failure.message);
}

#[test]
fn accepted_words_are_printed_in_linuxs_order() {
    let set = Set::new(2);
    let members = set.members(&[]);
    let shown = members.replace(&set.meta[0].name(), &set.meta[0].shown());
    let shown = shown.replace(&set.meta[1].name(), &set.meta[1].shown());
    let shown = shown.replace(&set.data[0].name(), &set.data[0].shown());
    let shown = shown.replace(&set.data[1].name(), &set.data[1].shown());
    for (given, printed) in [
        (
            "RAID1 14 0 region_size 128 MAX_WRITE_BEHIND 512 write_mostly 1 \
             max_recovery_rate 100000 min_recovery_rate 1 daemon_sleep 1000 nosync",
            "raid1 14 0 nosync daemon_sleep 1000 min_recovery_rate 1 max_recovery_rate 100000 \
             write_mostly 1 max_write_behind 512 region_size 128",
        ),
        ("raid1 1 64", "raid1 1 0"),
        ("raid1 3 0 region_size 0", "raid1 3 0 region_size 8192"),
        ("raid1 3 0 region_size 8192", "raid1 3 0 region_size 8192"),
        ("raid1 2 0 sync", "raid1 2 0 sync"),
        ("raid1 3 0 rebuild 1", "raid1 3 0 rebuild 1"),
        (
            "raid10 6 64 raid10_use_near_sets raid10_format far region_size 64",
            "raid10 6 64 region_size 64 raid10_format far raid10_use_near_sets",
        ),
        (
            "raid10 5 64 raid10_format near raid10_copies 2",
            "raid10 5 64 raid10_copies 2 raid10_format near",
        ),
        ("raid10_near 1 64", "raid10_near 1 64"),
        (
            "raid1 5 0 min_recovery_rate 9 max_recovery_rate 0",
            "raid1 5 0 min_recovery_rate 9 max_recovery_rate 0",
        ),
    ] {
        let table = format!("0 2048 raid {given} {members}");
        set.world.try_create("r", &table).expect(given);
        assert_eq!(lines(&set.world, "r", false), [format!("0 2048 raid {printed} {shown}")]);
        set.idle();
        set.world.on("r", Action::Remove).expect("removed");
        set.meta.iter().for_each(|meta| meta.set_bytes(0, &[0; 65536]));
    }
}

#[test]
fn a_set_without_a_good_copy_of_each_sector_is_not_loaded() {
    let set = Set::new(4);
    let bare: String = set.data.iter().map(|disk| format!(" - {}", disk.name())).collect();
    let members = [set.members(&[]), format!("4{bare}")];
    let before = everything(&set.world);
    for members in &members {
        let table = |rebuild| format!("0 4096 raid raid10 5 64 {rebuild} {members}");
        for rebuild in ["rebuild 0 rebuild 1", "rebuild 2 rebuild 3"] {
            let failure = set.world.try_create("r", &table(rebuild)).expect_err(rebuild);
            assert_eq!(failure.errno, Errno::EINVAL);
            assert!(failure.message.contains("not up to date"), "{}", failure.message);
            assert_eq!(everything(&set.world), before);
        }
        set.world.try_create("r", &table("rebuild 0 rebuild 3")).expect("a copy of each is left");
        set.is("AAAA 4096/4096 idle");
        set.world.on("r", Action::Remove).expect("removed");
    }
}

#[test]
fn a_refused_table_changes_nothing_of_a_set_in_use() {
    let set = Set::new(2);
    let device = set.equal(2048, RAID1);
    device.write(0, &fill(3, 0, 2048)).expect("a write");
    set.again();
    let all = || {
        let metas: Vec<_> = set.meta.iter().map(|meta| meta.bytes()).collect();
        (everything(&set.world), metas)
    };
    let before = all();
    let members = set.members(&[]);
    for words in [
        format!("raid1 5 0 rebuild 0 rebuild 1 {members}"),
        format!("raid10 3 64 region_size 64 {members}"),
        format!("raid1 3 0 region_size 64 {members} x"),
        format!("raid1 3 0 region_size 1 {members} {}", set.data[0].name()),
    ] {
        let table = format!("0 2048 raid {words}");
        set.world.load("r", &table).expect_err(&table);
        assert!(all() == before, "{table}");
    }
    assert!(device.read(0, 2048).expect("a read") == fill(3, 0, 2048));
    set.remove(device);
}

#[test]
fn a_member_of_another_kind_of_set_is_refused() {
    let (set, other) = (Set::new(2), Set::new(2));
    set.remove(set.equal(2048, RAID1));
    other.remove(other.equal(2048, "raid10 3 64 region_size 64"));
    let kept = set.meta[1].bytes();
    let mut foreign = other.meta[1].bytes();
    // Older than those of the set, so that they count.
    foreign[16..24].copy_from_slice(&1_u64.to_le_bytes());
    set.meta[1].set_bytes(0, &foreign);
    let refused = set.world.try_create("r", &set.table(2048, RAID1)).expect_err("another set");
    let why =
        "member 1 is of another set, with level, layout and chunk (10, 258, 64), not (1, 0, 0)";
    assert!(refused.message.contains(why), "{}", refused.message);
    assert!(set.meta[1].bytes() == foreign, "nothing was written");
    set.meta[1].set_bytes(0, &kept);
    set.remove(set.equal(2048, RAID1));
}

#[test]
fn nothing_is_written_to_a_raid0_that_is_read_only() {
    let set = Set::new(2);
    set.world.make("r").expect("a device");
    let table = specs(&set.table(4096, "raid0 1 64"));
    let load = Action::Reload { table, dry_run: false };
    set.world.on_with("r", load, Flags::READONLY | Flags::EXISTS).expect("loaded");
    set.world.on("r", Action::Resume).expect("resumed");
    assert_eq!(set.status(), "0 4096 raid raid0 2 AA 2048/2048 idle 0 0 -");
    assert!(set.meta.iter().all(|meta| meta.bytes().iter().all(|byte| *byte == 0)));
    assert_eq!(*set.world.context.log(), Vec::<String>::new());
}

/// A bitmap of so many bits would take as much memory as its device is long.
#[test]
fn a_bitmap_of_more_bits_than_a_set_can_have_is_not_believed() {
    const BITS: u64 = (1 << 22) + 1;
    let mut set = Set::new(2);
    let long = BITS / 8 / 512 + 16;
    set.meta = (0..2).map(|_| set.world.disk(long)).collect();
    set.remove(set.equal(2048, RAID1));
    let mut copied = Vec::new();
    for bits in [BITS - 1, BITS] {
        for meta in &set.meta {
            // The sectors and the bytes of a region, and no bit.
            meta.set_bytes(4096 + 40, &bits.to_le_bytes());
            meta.set_bytes(4096 + 52, &512_u32.to_le_bytes());
            meta.set_bytes(4096 + 256, &vec![0; (BITS / 8) as usize]);
        }
        let before = set.data[0].count(dm::kern::disk::Op::Read);
        set.remove(set.equal(2048, RAID1));
        copied.push(set.data[0].count(dm::kern::disk::Op::Read) - before);
    }
    assert_eq!(copied, [0, 32]);
}
