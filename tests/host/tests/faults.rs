//! The n-th call of the seam that may fail does fail, for every n, in every command and every
//! kind of I/O: each time all is as before, everything ends once, and a retry works.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Failure};
use dm_tests::context::Thing;
use dm_tests::snapshot::everything;
use dm_tests::toys::types;
use dm_tests::{Device, Disk, DiskSpec, Mode, World};
use std::sync::Arc;

/// Two disks, a device on both, and one on that.
fn setup(mode: Mode) -> (World, [Arc<Disk>; 2], Device) {
    let world = World::with_types(types());
    let disks = [1, 2].map(|_| world.disk_of(DiskSpec::new(64).mode(mode)));
    let (one, two) = (disks[0].name(), disks[1].name());
    let low = format!("0 16 striped 2 4 {one} 0 {two} 0\n16 16 linear {one} 32\n32 8 zero");
    world.try_create("low", &low).expect("the lower device");
    let table = "0 20 linear /dev/mapper/low 2\n20 18 linear /dev/mapper/low 22";
    let device = world.create("top", table);
    (world, disks, device)
}

/// Fails the first, second, third... call of `act` until all its calls are over.
fn each_failure<T>(
    world: &World,
    mut act: impl FnMut() -> Result<T, Failure>,
    mut after: impl FnMut(),
) -> u64 {
    each(world, true, &mut act, &mut after)
}

/// As [`each_failure`]; with `strict`, what fails changes nothing that can be seen.
fn each<T>(
    world: &World,
    strict: bool,
    act: &mut dyn FnMut() -> Result<T, Failure>,
    after: &mut dyn FnMut(),
) -> u64 {
    for n in 1.. {
        let before = everything(world);
        world.context.faults.fail_nth(n);
        let result = act();
        let hit = world.context.faults.hit();
        world.context.faults.fail_nth(0);
        if !hit {
            assert!(result.is_ok(), "nothing failed: {:?}", result.err());
            return n - 1;
        }
        if result.is_err() {
            let after = everything(world);
            let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
            assert!(!strict || changed.is_empty(), "failure {n} changed {changed:#?}");
        } else {
            after();
        }
        world.assert_idle();
        assert!(n < 1000, "no end of calls");
    }
    0
}

#[test]
fn a_creation_that_fails_leaves_nothing() {
    let (world, ..) = setup(Mode::Inline);
    let undo = || drop(world.on("new", Action::Remove).expect("it was made"));
    assert_eq!(each_failure(&world, || world.make("new"), undo), 1);
}

#[test]
fn a_load_that_fails_changes_nothing() {
    let (world, disks, _device) = setup(Mode::Inline);
    let (one, two) = (disks[0].name(), disks[1].name());
    let table = format!(
        "0 8 linear {one} 0\n8 8 striped 2 4 {one} 8 {two} 0\n16 8 xor {two} 8 3\n\
         24 8 linear {one} 0"
    );
    world.make("new").expect("a device");
    let calls = each_failure(&world, || world.load("new", &table), || ());
    assert!(calls >= 3, "two disks and a thread, not {calls}");
    let opens = |disk: &Disk| disk.opens.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(disks.each_ref().map(|disk| opens(disk)), [1, 1], "each disk is open once");
}

#[test]
fn a_load_on_a_mapped_device_without_memory_for_its_requests_fails() {
    let (world, ..) = setup(Mode::Inline);
    world.try_create("fresh", "0 8 zero").expect("a device");
    world.make("new").expect("a device");
    world.context.faults.starve(true);
    let failure = world.load("new", "0 8 linear /dev/mapper/fresh 0").expect_err("no reserve");
    assert_eq!(failure.errno, Errno::ENOMEM);
    world.context.faults.starve(false);
    world.load("new", "0 8 linear /dev/mapper/fresh 0").expect("a load");
    world.on("new", Action::Resume).expect("a resume");
    let device = world.open("new");
    world.context.faults.starve(true);
    device.read(0, 8).expect("from the reserve");
    world.context.faults.starve(false);
}

#[test]
fn state_changes_survive_every_failure() {
    let (world, _, device) = setup(Mode::Inline);
    let table = "0 38 linear /dev/mapper/low 0";
    let calls = each_failure(
        &world,
        || {
            world.load("top", table)?;
            world.on("top", Action::Resume).map(drop)?;
            world.on("top", Action::Suspend).map(drop)?;
            world.on("top", Action::Resume).map(drop)?;
            world.rename("top", "tip").map(drop)?;
            world.rename("tip", "top").map(drop)
        },
        || drop(device.read(0, 38).expect("it works")),
    );
    assert!(calls >= 4, "flushes of two disks, twice, not {calls}");
    assert!(!world.context.log().is_empty(), "a failed flush is logged");
}

/// Every kind of I/O with every call failing.
fn io_with_faults(mode: Mode) {
    let (world, _disks, device) = setup(mode);
    let data: Vec<u8> = (0..38 * 512).map(|at| (at / 512 * 3 + at) as u8).collect();
    let fail = |errno: Errno| Failure::from(errno);
    let mut total = 0;
    for op in Op::ALL {
        let data = data.clone();
        let act = || -> Result<(), Failure> {
            match op {
                Op::Read => device.read(0, 38).map(drop).map_err(fail),
                Op::Write => device.write(0, &data).map_err(fail),
                Op::Flush => device.flush().map_err(fail),
                Op::Discard | Op::WriteZeroes => device.command(op, 0, 38).map_err(fail),
            }
        };
        total += each(&world, false, &mut { act }, &mut || ());
        device.write(0, &data).expect("a retry");
        let read = device.read(0, 38).expect("a retry");
        assert!(read[..30 * 512] == data[..30 * 512]);
    }
    assert!(total > 30, "only {total} calls could fail");
    assert_eq!(world.context.out(Thing::Request), 0);
}

#[test]
fn io_ends_once_whatever_fails_inline() {
    io_with_faults(Mode::Inline);
}

#[test]
fn io_ends_once_whatever_fails_later() {
    io_with_faults(Mode::Thread(5));
}

#[test]
fn io_moves_on_without_any_memory() {
    for mode in [Mode::Inline, Mode::Thread(9)] {
        let (world, _, device) = setup(mode);
        let data: Vec<u8> = (0..38 * 512).map(|at| (at / 512 * 3 + at) as u8).collect();
        world.context.faults.starve(true);
        device.write(0, &data).expect("a write");
        assert!(device.read(0, 30).expect("a read") == data[..30 * 512]);
        device.flush().expect("a flush");
        device.command(Op::Discard, 0, 38).expect("a discard");
        // Many at once share one reserve.
        let many: Vec<_> =
            (0..38).map(|at| device.begin(Op::Write, false, at, 1, vec![at as u8; 512])).collect();
        for pending in many {
            pending.wait().expect("a write");
        }
        world.context.faults.starve(false);
        let read = device.read(0, 30).expect("a read");
        assert!(read.iter().enumerate().all(|(at, byte)| *byte == (at / 512) as u8));
    }
}

#[test]
fn memory_comes_and_goes() {
    let (world, _, device) = setup(Mode::Thread(2));
    for round in 0..if cfg!(miri) { 2 } else { 20_u64 } {
        let many: Vec<_> = (0..30)
            .map(|at| {
                world.context.faults.starve((at + round) % 3 == 0);
                device.begin(Op::Write, false, at, 2, vec![round as u8; 1024])
            })
            .collect();
        for pending in many {
            pending.wait().expect("a write");
        }
        world.context.faults.starve(false);
        assert!(device.read(0, 30).expect("a read").iter().all(|byte| *byte == round as u8));
    }
}

#[test]
fn requests_that_waited_for_memory_do_not_pile_up_on_the_stack() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(8).mode(Mode::Held));
    let count = if cfg!(miri) { 50 } else { 20_000 };
    let low = format!("0 8 linear {} 0\n8 {count} zero", disk.name());
    world.try_create("low", &low).expect("the lower device");
    let size = count + 8;
    let device = world.create("top", &format!("0 {size} linear /dev/mapper/low 0"));
    world.context.faults.starve(true);
    let slow = device.begin(Op::Read, false, 0, 1, vec![0; 512]);
    let many: Vec<_> =
        (0..count).map(|at| device.begin(Op::Read, false, 8 + at, 1, vec![1; 512])).collect();
    assert!(many.iter().all(|pending| !pending.is_over()), "they wait for the reserve");
    let run = std::thread::Builder::new().stack_size(128 << 10);
    std::thread::scope(|scope| {
        run.spawn_scoped(scope, || disk.complete_all()).expect("a thread");
    });
    slow.wait().expect("a read");
    many.into_iter().for_each(|pending| drop(pending.wait().expect("a read")));
    world.context.faults.starve(false);
}

#[test]
fn a_torn_write_below_is_an_error_above() {
    let (_world, disks, device) = setup(Mode::Inline);
    disks[0].break_sectors(34..36, Errno::EIO);
    disks[0].tear();
    assert_eq!(device.write(0, &[1; 38 * 512]), Err(Errno::EIO));
    disks[0].mend();
    device.write(0, &[2; 38 * 512]).expect("a retry");
    assert!(device.read(0, 30).expect("a read").iter().all(|byte| *byte == 2));
}
