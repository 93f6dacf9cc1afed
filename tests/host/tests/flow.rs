//! How requests flow: allocation, order after suspension, and that commands end under load.

use dm::kern::disk::Op;
use dm_protocol::{Action, Flags};
use dm_tests::memory::violations;
use dm_tests::{DiskSpec, Mode, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_request_allocates_no_driver_memory_and_one_segment_needs_no_cell() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(64).mode(Mode::Thread(1)));
    let device = world.create("d", &format!("0 32 linear {0} 0\n32 32 linear {0} 32", disk.name()));
    world.context.faults.fail_nth(u64::MAX);
    for op in Op::ALL {
        let data = if op.has_data() { vec![0; 8 * 512] } else { Vec::new() };
        device.begin(op, false, 4, 8, data).wait().expect("it works");
    }
    assert_eq!(world.context.faults.seen(), 5, "nothing but the five transfers was asked for");
    device.read(28, 8).expect("a read of two segments");
    assert_eq!(violations(), 0);
}

#[test]
fn requests_that_waited_are_sent_in_their_order() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(64).mode(Mode::Held));
    let device = world.create("d", &format!("0 64 linear {} 0", disk.name()));
    world.on_with("d", Action::Suspend, Flags::NOFLUSH).expect("suspended");
    let pending: Vec<_> =
        (0..20).map(|at| device.begin(Op::Read, false, at, 1, vec![0; 512])).collect();
    assert_eq!(disk.held(), 0);
    world.on("d", Action::Resume).expect("resumed");
    let sent: Vec<u64> = (0..20).map(|nr| disk.held_op(nr).1).collect();
    assert_eq!(sent, (0..20).collect::<Vec<_>>());
    disk.complete_all();
    pending.into_iter().for_each(|pending| drop(pending.wait().expect("a read")));
}

#[test]
fn a_resume_ends_however_many_requests_come() {
    let world = Arc::new(World::new());
    let device = world.create("d", "0 64 zero");
    let over = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..if cfg!(miri) { 2 } else { 6 })
        .map(|_| {
            let (device, over) = (device.clone(), Arc::clone(&over));
            world.spawn(move |_| {
                while !over.load(Ordering::SeqCst) {
                    // Several at once, so that some always wait.
                    let many: Vec<_> = (0..8)
                        .map(|at| device.begin(Op::Read, false, at, 1, vec![1; 512]))
                        .collect();
                    many.into_iter().for_each(|one| drop(one.wait().expect("a read")));
                }
            })
        })
        .collect();
    let mut longest = Duration::ZERO;
    for _ in 0..if cfg!(miri) { 2 } else { 100 } {
        world.on("d", Action::Suspend).expect("suspended");
        std::thread::yield_now();
        let start = Instant::now();
        world.on("d", Action::Resume).expect("resumed");
        longest = longest.max(start.elapsed());
    }
    over.store(true, Ordering::SeqCst);
    users.into_iter().for_each(|user| user.join().expect("no surprise"));
    let most = Duration::from_secs(if cfg!(miri) { 60 } else { 5 });
    assert!(longest < most, "a resume took {longest:?}");
    println!("the longest resume took {longest:?}");
}

#[test]
fn who_has_a_device_open_can_ask_whether_a_request_would_wait() {
    let world = World::new();
    let disk = world.disk(8).name();
    world.try_create("low", &format!("0 8 linear {disk} 0")).expect("made");
    let top = world.create("top", "0 8 linear /dev/mapper/low 0");
    let low = world.open("low");
    assert!(top.opened().flows() && low.opened().flows());
    assert!(low.opened().carries() && !top.opened().carries());
    world.on("low", Action::Suspend).expect("suspended");
    assert!(!low.opened().flows());
    assert!(!top.opened().flows(), "what lies below holds it back");
    world.on("low", Action::Resume).expect("resumed");
    assert!(top.opened().flows());
}
