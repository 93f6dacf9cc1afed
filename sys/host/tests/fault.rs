//! The disk that fails on purpose does so as told, and the driver reports it.

mod setup;

use dm::kern::disk::Op;
use dm_host::disk::fault::{Fault, FaultDisk, Rule};
use dm_protocol::{Errno, Sector, Sectors};
use setup::Setup;
use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

const SIZE: Sectors = Sectors(16);

#[test]
fn the_nth_operation_of_a_kind_fails() {
    let disk = FaultDisk::register("fault-nth", SIZE);
    let mapped = Setup::new().linear("fault-nth", "fault-nth", SIZE.0);
    disk.fail(Rule::once(Op::Write, 1, Fault::Error(Errno::ENOSPC)));
    assert_eq!(mapped.write(Sector(0), &[1; 512], false), Ok(()));
    let mut back = [0; 512];
    assert_eq!(mapped.read(Sector(0), &mut back), Ok(()));
    assert_eq!(mapped.write(Sector(0), &[2; 512], false), Err(Errno::ENOSPC));
    assert_eq!(mapped.write(Sector(1), &[3; 512], false), Ok(()));
    assert_eq!(disk.image()[..1024], [[1; 512], [3; 512]].concat());
    assert_eq!((disk.count(Op::Write), disk.count(Op::Read)), (3, 1));
    disk.fail(Rule::always(None, Fault::Error(Errno::EIO)));
    assert_eq!(mapped.flush(), Err(Errno::EIO));
    assert_eq!(mapped.read(Sector(0), &mut back), Err(Errno::EIO));
    disk.heal();
    assert_eq!(mapped.flush(), Ok(()));
}

#[test]
fn torn_delayed_and_pretended_writes() {
    let disk = FaultDisk::register("fault-torn", SIZE);
    let mapped = Setup::new().linear("fault-torn", "fault-torn", SIZE.0);
    disk.fail(Rule::once(Op::Write, 0, Fault::Torn(Sectors(1), Errno::EIO)));
    assert_eq!(mapped.write(Sector(0), &[1; 1024], false), Err(Errno::EIO));
    assert_eq!(disk.image()[..1024], [[1; 512], [0; 512]].concat());
    disk.fail(Rule::once(Op::Write, 0, Fault::Lie));
    assert_eq!(mapped.write(Sector(0), &[2; 512], false), Ok(()));
    assert_eq!(disk.image()[0], 1);
    disk.fail(Rule::once(Op::Write, 0, Fault::Delay(Duration::from_millis(50))));
    let begin = Instant::now();
    assert_eq!(mapped.write(Sector(0), &[3; 512], false), Ok(()));
    assert!(begin.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_power_cut_keeps_what_was_flushed_and_any_part_of_the_rest() {
    let disk = FaultDisk::register("fault-cut", SIZE);
    let mapped = Setup::new().linear("fault-cut", "fault-cut", SIZE.0);
    mapped.write(Sector(0), &[1; 1024], false).unwrap();
    mapped.flush().unwrap();
    mapped.write(Sector(2), &[2; 512], true).unwrap();
    mapped.write(Sector(4), &[3; 2048], false).unwrap();
    mapped.write(Sector(5), &[4; 512], true).unwrap();
    let images: HashSet<_> = (0..200).map(|seed| disk.crash(seed)).collect();
    // All, nothing, and every part of three sectors.
    assert_eq!(images.len(), 8);
    for image in &images {
        assert_eq!(image[..1536], [[1; 512], [1; 512], [2; 512]].concat());
        assert_eq!(image[5 * 512..6 * 512], [4; 512]);
        let sector = |number: usize| image[number * 512];
        assert!([4, 6, 7].iter().all(|&number| sector(number) == 0 || sector(number) == 3));
    }
    assert_eq!(disk.crash(7), disk.crash(7));
    disk.cut_power();
    assert_eq!(mapped.write(Sector(0), &[9; 512], false), Err(Errno::EIO));
    disk.restart(disk.crash(7));
    let mut back = [0; 512];
    mapped.read(Sector(5), &mut back).unwrap();
    assert_eq!(back, [4; 512]);
}

#[test]
fn transfers_held_back_end_in_the_order_chosen() {
    let disk = FaultDisk::register("fault-hold", SIZE);
    let setup = Setup::new();
    let mapped = setup.linear("fault-hold", "fault-hold", SIZE.0);
    disk.hold();
    thread::scope(|scope| {
        let write = scope.spawn(|| mapped.write(Sector(0), &[1; 512], false));
        while disk.held().is_empty() {
            thread::yield_now();
        }
        let flush = scope.spawn(|| mapped.flush());
        while disk.held().len() < 2 {
            thread::yield_now();
        }
        assert_eq!(disk.held(), [Op::Write, Op::Flush]);
        assert_eq!(disk.image()[0], 0);
        assert!(disk.release(1));
        assert_eq!(flush.join().unwrap(), Ok(()));
        assert!(!write.is_finished());
        disk.release_all();
        assert_eq!(write.join().unwrap(), Ok(()));
    });
    assert_eq!((disk.image()[0], disk.durable()[0]), (1, 0));
}
