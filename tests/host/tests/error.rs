//! error: all I/O fails.

use dm::kern::disk::Op;
use dm_protocol::Errno;
use dm_tests::World;
use dm_tests::snapshot::lines;

#[test]
fn table_and_status_print_what_linux_prints() {
    let world = World::new();
    world.try_create("e", "0 2048 error").expect("a good table");
    assert_eq!(lines(&world, "e", false), ["0 2048 error "]);
    assert_eq!(lines(&world, "e", true), ["0 2048 error "]);
}

#[test]
fn arguments_are_refused() {
    let world = World::new();
    let failure = world.try_create("e", "0 8 error now").expect_err("no arguments");
    assert_eq!(failure.errno, Errno::EINVAL);
    assert_eq!(
        failure.message,
        "segment 0 (sector 0, error): argument 1 (surplus) \"now\": is one too many"
    );
}

#[test]
fn all_io_with_a_range_fails() {
    let world = World::new();
    let device = world.create("e", "0 64 error");
    assert_eq!(device.read(0, 1), Err(Errno::EIO));
    assert_eq!(device.write(63, &[0; 512]), Err(Errno::EIO));
    assert_eq!(device.command(Op::Discard, 0, 64), Err(Errno::EIO));
    assert_eq!(device.command(Op::WriteZeroes, 0, 64), Err(Errno::EIO));
    device.flush().expect("there is nothing to flush");
}

#[test]
fn a_request_that_touches_an_error_segment_fails_once() {
    let world = World::new();
    let disk = world.disk(64);
    let name = disk.name();
    let table = format!("0 8 linear {name} 0\n8 8 error\n16 8 linear {name} 16");
    let device = world.create("d", &table);
    assert_eq!(device.read(0, 24), Err(Errno::EIO));
    assert_eq!(device.write(4, &[1; 5 * 512]), Err(Errno::EIO));
    device.read(0, 8).expect("before it");
    device.read(16, 8).expect("behind it");
}
