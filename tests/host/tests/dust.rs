//! dust: bad blocks, writes that mend them, messages.

use dm::kern::disk::Op;
use dm_protocol::Errno;
use dm_tests::snapshot::{lines, refuses};
use dm_tests::{Device, Disk, World};
use std::sync::Arc;

/// A device of 16 blocks of 8 sectors, from sector 4 of a disk on: block 0 is half there.
fn dust(world: &World) -> (Arc<Disk>, Device) {
    let disk = world.disk(256);
    let device = world.create("d", &format!("0 128 dust {} 4 4096", disk.name()));
    (disk, device)
}

fn answer(world: &World, text: &str) -> String {
    world.say("d", text).expect(text).unwrap_or_default()
}

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    let (disk, _device) = dust(&world);
    let devno = disk.devno();
    assert_eq!(lines(&world, "d", false), [format!("0 128 dust {devno} 4 4096")]);
    assert_eq!(lines(&world, "d", true), [format!("0 128 dust {devno} bypass verbose")]);
    answer(&world, "enable");
    answer(&world, "Quiet");
    let state = format!("0 128 dust {devno} fail_read_on_bad_block quiet");
    assert_eq!(lines(&world, "d", true), [state]);
}

#[test]
fn wrong_arguments_are_refused_with_a_reason_and_change_nothing() {
    let world = World::new();
    let disk = world.disk(64);
    for (words, why) in [
        ("@ 0", "argument 3 (block) is missing"),
        ("@ 1 512", "64 sectors from 1 on are beyond"),
        ("@ 0 511", "argument 3 (block) \"511\": is not from 512"),
        ("@ 0 2147483648", "is not from 512 to 1073741824"),
        ("@ 0 1536", "is no power of two"),
        ("@ 0 65536", "is more than the 64 sectors of the segment"),
        ("@ 0 512 1", "is one too many"),
    ] {
        let words = words.replace('@', &disk.name());
        refuses(&world, &format!("0 64 dust {words}"), why);
    }
}

#[test]
fn a_bad_block_fails_where_it_lies_and_nowhere_else() {
    let world = World::new();
    let (disk, device) = dust(&world);
    answer(&world, "addbadblock 3");
    device.read(0, 128).expect("bypassed");
    answer(&world, "enable");
    // Block 3 of the disk is sectors 24 to 31 there, 20 to 27 here.
    for at in 0..128 {
        let expected = if (20..28).contains(&at) { Err(Errno::EIO) } else { Ok(512) };
        assert_eq!(device.read(at, 1).map(|data| data.len()), expected, "sector {at}");
    }
    assert_eq!(device.read(0, 128), Err(Errno::EIO));
    device.read(0, 20).expect("before");
    device.read(28, 100).expect("behind");
    assert_eq!(disk.count(Op::Flush), 0);
    device.flush().expect("a flush");
    assert_eq!(answer(&world, "listbadblocks"), "3\n", "a flush mends nothing");
    answer(&world, "disable");
    device.read(0, 128).expect("bypassed again");
}

#[test]
fn a_write_mends_a_block_once_its_failures_are_over() {
    let world = World::new();
    let (disk, device) = dust(&world);
    for text in ["addbadblock 2", "addbadblock 5 2", "addbadblock 9", "enable"] {
        answer(&world, text);
    }
    assert_eq!(device.write(0, &[1; 128 * 512]), Err(Errno::EIO), "block 5 fails");
    assert_eq!(answer(&world, "listbadblocks"), "5\n9\n", "block 2 came first");
    assert_eq!(device.write(36, &[1; 512]), Err(Errno::EIO));
    device.write(36, &[1; 512]).expect("the third write");
    device.command(Op::Discard, 68, 8).expect("a discard is a write");
    assert_eq!(answer(&world, "countbadblocks"), "countbadblocks: 0 badblock(s) found");
    assert_eq!(device.read(0, 128).expect("a read").len(), 128 * 512);
    assert_eq!(disk.bytes()[40 * 512], 1);
}

#[test]
fn blocks_are_added_asked_for_and_cleared() {
    let world = World::new();
    let (_disk, _device) = dust(&world);
    assert_eq!(answer(&world, "listbadblocks"), "No blocks in badblocklist");
    let order = [7, 3, 31, 0, 12];
    for block in order {
        answer(&world, &format!("addbadblock {block}"));
    }
    assert_eq!(answer(&world, "listbadblocks"), "0\n3\n7\n12\n31\n");
    assert_eq!(answer(&world, "queryblock 7"), "dust_query_block: block 7 found in badblocklist");
    answer(&world, "removebadblock 7");
    let not = "dust_query_block: block 7 not found in badblocklist";
    assert_eq!(answer(&world, "queryblock 7"), not);
    assert_eq!(answer(&world, "clearbadblocks"), "dust_clear_badblocks: badblocks cleared");
    assert_eq!(answer(&world, "clearbadblocks"), "dust_clear_badblocks: no badblocks found");
    assert_eq!(world.context.log().len(), 6, "each change of the list is logged");
}

#[test]
fn refused_messages_change_nothing() {
    let world = World::new();
    let (_disk, _device) = dust(&world);
    answer(&world, "addbadblock 1");
    for (text, why) in [
        ("sing", "is no message"),
        ("enable now", "is one too many"),
        ("addbadblock", "argument 2 (block) is missing"),
        ("addbadblock x", "is not a decimal number"),
        ("addbadblock 32", "is beyond the last block, 31"),
        ("addbadblock 2 256", "argument 3 (failing writes) \"256\": is not from 0 to 255"),
        ("addbadblock 2 1 1", "is one too many"),
        ("addbadblock 1", "is bad already"),
        ("removebadblock 2", "is not bad"),
        ("queryblock 2 2", "is one too many"),
    ] {
        let failure = world.say("d", text).expect_err(text);
        assert_eq!(failure.errno, Errno::EINVAL, "{text}");
        assert!(failure.message.contains(why), "{text}: {}", failure.message);
        assert_eq!(answer(&world, "listbadblocks"), "1\n", "{text}");
    }
}

#[test]
fn thousands_of_blocks_stay_in_order_while_requests_run() {
    let world = Arc::new(World::new());
    let blocks = if cfg!(miri) { 60 } else { 4096 };
    let disk = world.disk(blocks);
    let device = world.create("d", &format!("0 {blocks} dust {} 0 512", disk.name()));
    for text in ["quiet", "enable"] {
        answer(&world, text);
    }
    let adder = world.spawn(move |world| {
        for nr in 0..blocks {
            answer(world, &format!("addbadblock {}", nr * 7 % blocks));
        }
    });
    while !adder.is_finished() {
        let _ = device.read(0, blocks);
    }
    adder.join().expect("no surprise");
    let count = format!("countbadblocks: {blocks} badblock(s) found");
    assert_eq!(answer(&world, "countbadblocks"), count);
    device.write(0, &vec![1; blocks as usize * 512]).expect("all are mended");
    device.read(0, blocks).expect("a read");
}
