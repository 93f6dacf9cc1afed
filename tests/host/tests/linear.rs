//! linear: parameters, what it prints, refusals, I/O.

use dm::kern::disk::Op;
use dm_protocol::{Action, DeviceName, Errno, ReplyBody};
use dm_tests::snapshot::{everything, lines};
use dm_tests::{DiskSpec, World};

/// The refusal of a table for a new device `d`.
fn refusal(world: &World, table: &str) -> (Errno, String) {
    let before = everything(world);
    let failure = world.try_create("d", table).expect_err("the table is wrong");
    assert_eq!(everything(world), before, "a refused table leaves no trace");
    (failure.errno, failure.message)
}

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    let (one, two) = (world.disk(4096), world.disk(4096));
    let (first, second) = (one.name(), two.name());
    let table = format!("0 1024 linear {first} 1024\n1024 512 linear {second} 0");
    world.try_create("lin2", &table).expect("a good table");
    let shown = [
        format!("0 1024 linear {} 1024", one.devno()),
        format!("1024 512 linear {} 0", two.devno()),
    ];
    assert_eq!(lines(&world, "lin2", false), shown);
    assert_eq!(lines(&world, "lin2", true), ["0 1024 linear ", "1024 512 linear "]);
    let deps = world.on("lin2", Action::Deps).expect("deps");
    let ReplyBody::Deps(deps) = deps.body else { panic!("not deps") };
    let numbers: Vec<_> = deps.iter().map(|dep| dep.devno).collect();
    assert_eq!(numbers, [two.devno(), one.devno()], "the one named last comes first");
}

#[test]
fn a_printed_table_loads_again() {
    let world = World::new();
    let disk = world.disk(4096);
    world.try_create("a", &format!("0 8 linear {} 3", disk.name())).expect("a good table");
    let printed = lines(&world, "a", false).join("\n");
    world.try_create("b", &printed).expect("what was printed loads");
    assert_eq!(lines(&world, "b", false).join("\n"), printed);
}

#[test]
fn a_disk_without_a_number_is_printed_by_its_path() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec { number: false, ..DiskSpec::new(64) });
    world.try_create("a", &format!("0 8 linear {} 3", disk.name())).expect("a good table");
    assert_eq!(lines(&world, "a", false), [format!("0 8 linear {} 3", disk.name())]);
}

#[test]
fn wrong_parameters_are_refused_with_a_sentence() {
    let world = World::new();
    let disk = world.disk(100);
    let name = disk.name();
    let shown = disk.shown();
    let cases = [
        ("".to_owned(), "argument 1 (device) is missing".to_owned()),
        (name.clone(), "argument 2 (offset) is missing".to_owned()),
        (format!("{name} x"), "argument 2 (offset) \"x\": is not a decimal number".to_owned()),
        (format!("{name} -1"), "argument 2 (offset) \"-1\": is not a decimal number".to_owned()),
        (format!("{name} 0 1"), "argument 3 (surplus) \"1\": is one too many".to_owned()),
        (
            format!("{name} 18446744073709551616"),
            "argument 2 (offset) \"18446744073709551616\": is not from 0 to \
             18446744073709551615"
                .to_owned(),
        ),
        (
            format!("{name} 93"),
            format!(
                "argument 2 (offset) \"93\": 8 sectors from 93 on are beyond {shown}, which \
                 has 100"
            ),
        ),
        (
            format!("{name} 18446744073709551615"),
            format!(
                "argument 2 (offset) \"18446744073709551615\": 8 sectors from \
                 18446744073709551615 on are beyond {shown}, which has 100"
            ),
        ),
    ];
    for (params, why) in cases {
        let message = format!("segment 0 (sector 0, linear): {why}");
        assert_eq!(refusal(&world, &format!("0 8 linear {params}")), (Errno::EINVAL, message));
    }
    let (errno, message) = refusal(&world, "0 8 linear mem:0 0");
    assert_eq!(errno, Errno::ENOENT);
    assert_eq!(
        message,
        "segment 0 (sector 0, linear): argument 1 (device) \"mem:0\": there is no disk mem:0"
    );
    world.try_create("d", &format!("0 8 linear {name} 92")).expect("it ends with the disk");
}

#[test]
fn an_offset_within_a_large_sector_is_refused() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(128).big_sectors());
    let (errno, message) = refusal(&world, &format!("0 8 linear {} 4", disk.name()));
    assert_eq!(errno, Errno::EINVAL);
    assert!(message.contains("are not whole sectors"), "{message}");
}

#[test]
fn reads_and_writes_land_at_the_offset() {
    let world = World::new();
    let (one, two) = (world.disk(64), world.disk(64));
    let (first, second) = (one.name(), two.name());
    let table = format!("0 10 linear {first} 7\n10 20 linear {second} 3");
    let device = world.create("d", &table);
    let data: Vec<u8> = (0..30 * 512).map(|n| (n / 512 + n) as u8).collect();
    device.write(0, &data).expect("a write");
    assert_eq!(one.bytes()[7 * 512..17 * 512], data[..10 * 512]);
    assert_eq!(two.bytes()[3 * 512..23 * 512], data[10 * 512..]);
    assert_eq!(device.read(5, 20).expect("a read"), data[5 * 512..25 * 512]);
    assert_eq!((one.count(Op::Write), two.count(Op::Write)), (1, 1), "one piece a segment");
}

#[test]
fn discards_and_zeroes_are_moved_like_writes() {
    let world = World::new();
    let disk = world.disk(64);
    disk.set_bytes(0, &[1; 64 * 512]);
    let device = world.create("d", &format!("0 16 linear {} 8", disk.name()));
    device.command(Op::WriteZeroes, 2, 3).expect("zeroes");
    device.command(Op::Discard, 8, 1).expect("a discard");
    let first = |sector: usize| disk.bytes()[sector * 512];
    assert_eq!([9, 10, 11, 12, 13, 16, 17].map(first), [1, 0, 0, 0, 1, 0xdd, 1]);
}

#[test]
fn a_flush_reaches_each_disk_once() {
    let world = World::new();
    let (one, two) = (world.disk(64), world.disk(64));
    let (first, second) = (one.name(), two.name());
    let table =
        format!("0 8 linear {first} 0\n8 8 linear {second} 0\n16 8 linear {first} 8\n24 8 zero");
    let device = world.create("d", &table);
    device.flush().expect("a flush");
    assert_eq!((one.count(Op::Flush), two.count(Op::Flush)), (1, 1));
    two.break_sectors(0..1, Errno::ENOSPC);
    assert_eq!(device.flush(), Err(Errno::ENOSPC), "a failed flush is told");
}

#[test]
fn an_error_below_keeps_its_number() {
    let world = World::new();
    let disk = world.disk(64);
    let device = world.create("d", &format!("0 16 linear {} 8", disk.name()));
    disk.break_sectors(12..13, Errno::ENXIO);
    assert_eq!(device.read(0, 16), Err(Errno::ENXIO));
    assert_eq!(device.write(4, &[0; 512]), Err(Errno::ENXIO));
    device.read(0, 4).expect("the rest is well");
}

#[test]
fn a_table_is_loaded_above_a_device_that_gets_its_own_later() {
    let world = World::new();
    let disk = world.disk(64);
    let action =
        Action::Create { name: DeviceName::new("low").expect("a name"), uuid: None, minor: None };
    let minor = world.on("", action).expect("a device").minor;
    let low = format!("{}:{minor}", dm::kern::node::major());
    world.try_create("top", &format!("0 16 linear {low} 0")).expect("there is no size to exceed");
    let top = world.open("top");
    assert_eq!(top.read(0, 1), Err(Errno::EIO), "no table below");
    world.load("low", &format!("0 8 linear {} 0", disk.name())).expect("a table");
    world.on("low", Action::Resume).expect("resumed");
    top.write(7, &[1; 512]).expect("within");
    assert_eq!(top.read(7, 1).expect("within"), [1; 512]);
    assert_eq!(top.read(8, 1), Err(Errno::EINVAL), "beyond");
    assert_eq!(top.write(7, &[1; 1024]), Err(Errno::EINVAL), "half beyond");
    let refused =
        world.try_create("d", &format!("0 16 linear {low} 0")).expect_err("it has a size");
    assert_eq!(refused.errno, Errno::EINVAL);
}
