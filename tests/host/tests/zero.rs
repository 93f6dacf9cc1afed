//! zero: reads give zeroes, writes are dropped.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, ReplyBody};
use dm_tests::World;
use dm_tests::snapshot::lines;

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    world.try_create("z", "0 2048 zero").expect("a good table");
    assert_eq!(lines(&world, "z", false), ["0 2048 zero "]);
    assert_eq!(lines(&world, "z", true), ["0 2048 zero "]);
    let deps = world.on("z", Action::Deps).expect("deps");
    assert_eq!(deps.body, ReplyBody::Deps(Vec::new()));
}

#[test]
fn arguments_are_refused() {
    let world = World::new();
    let failure = world.try_create("z", "0 8 zero 1").expect_err("no arguments");
    assert_eq!(failure.errno, Errno::EINVAL);
    assert_eq!(
        failure.message,
        "segment 0 (sector 0, zero): argument 1 (surplus) \"1\": is one too many"
    );
}

#[test]
fn reads_give_zeroes_and_writes_are_dropped() {
    let world = World::new();
    let device = world.create("z", "0 64 zero");
    device.write(3, &[7; 1024]).expect("a write");
    assert_eq!(device.read(0, 64).expect("a read"), vec![0; 64 * 512]);
    device.command(Op::WriteZeroes, 0, 64).expect("zeroes");
    device.flush().expect("a flush");
}

#[test]
fn write_to_zero_leaves_the_callers_buffer_alone() {
    let world = World::new();
    let device = world.create("z", "0 64 zero");
    let data = vec![7; 1024];
    let back = device.begin(Op::Write, false, 3, 2, data.clone()).wait();
    assert_eq!(back.expect("a write"), data);
}

#[test]
fn the_largest_device_is_read_at_its_end() {
    let world = World::new();
    let size = u64::MAX / 512;
    let device = world.create("z", &format!("0 {size} zero"));
    assert_eq!(device.read(size - 1, 1).expect("the last sector"), vec![0; 512]);
    assert_eq!(device.read(size, 1), Err(Errno::EINVAL));
    assert_eq!(
        device.begin(Op::Discard, false, 1, u64::MAX, Vec::new()).wait(),
        Err(Errno::EINVAL)
    );
}
