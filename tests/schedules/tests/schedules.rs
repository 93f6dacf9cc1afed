//! Commands against I/O under schedules that shuttle chooses: random ones and ones with few
//! switches, from fixed seeds. `DM_TEST_LONG` tries twenty times as many.

mod shuttled;

use dm_protocol::{Action, Errno, Flags, ReplyBody};
use dm_schedules::context::Thing;
use dm_schedules::toys::types;
use dm_schedules::{Device, DiskSpec, Mode, World};
use std::sync::Arc;

const SEED: u64 = 0x1c0_ffee;

fn explore(count: usize, test: fn()) {
    shuttled::explore(SEED, None, count, test);
}

/// A disk that ends transfers from a thread of its own.
fn late(world: &World, sectors: u64) -> String {
    world.disk_of(DiskSpec::new(sectors).mode(Mode::Thread(1))).name()
}

fn write_and_read(device: &Device, at: u64) {
    let data = vec![at as u8 + 1; 1024];
    device.write(at, &data).expect("a write");
    assert!(device.read(at, 2).expect("a read") == data);
}

#[test]
fn new_tables_against_io() {
    explore(150, || {
        let world = Arc::new(World::new());
        let disk = late(&world, 8);
        let device = world.create("d", &format!("0 8 linear {disk} 0"));
        let swap = world.spawn(move |world| {
            world.load("d", &format!("0 3 linear {disk} 0\n3 5 linear {disk} 3")).expect("loaded");
            world.on("d", Action::Resume).expect("resumed");
        });
        let other = {
            let device = device.clone();
            world.spawn(move |_| write_and_read(&device, 5))
        };
        write_and_read(&device, 2);
        device.flush().expect("a flush");
        other.join().expect("no surprise");
        swap.join().expect("no surprise");
    });
}

#[test]
fn suspensions_of_two_clients_against_io() {
    explore(150, || {
        let world = Arc::new(World::new());
        let disk = late(&world, 8);
        let device = world.create("d", &format!("0 8 linear {disk} 0"));
        let suspend = |flags| {
            world.spawn(move |world| {
                world.on_with("d", Action::Suspend, flags).expect("suspended");
                world.on("d", Action::Resume).expect("resumed");
            })
        };
        let (one, two) = (suspend(Flags::NOFLUSH), suspend(Flags::EXISTS));
        write_and_read(&device, 2);
        one.join().expect("no surprise");
        two.join().expect("no surprise");
        write_and_read(&device, 2);
    });
}

#[test]
fn removal_against_opening_and_closing() {
    explore(200, || {
        let world = Arc::new(World::new());
        let disk = late(&world, 8);
        let minor = world.try_create("d", &format!("0 8 linear {disk} 0")).expect("made").minor;
        let user = world.spawn(move |world| match world.driver().open(minor, true) {
            Ok(opened) => {
                let device = Device::new(opened, Arc::clone(&world.context));
                write_and_read(&device, 1);
            }
            Err(errno) => assert_eq!(errno, Errno::ENXIO),
        });
        let at_close = world.spawn(|world| {
            let removed = world.on_with("d", Action::Remove, Flags::DEFERRED_REMOVE);
            assert!(removed.map_or_else(|why| why.errno == Errno::ENOENT, |_| true));
        });
        if let Err(failure) = world.on("d", Action::Remove) {
            assert!([Errno::EBUSY, Errno::ENOENT].contains(&failure.errno));
        }
        user.join().expect("no surprise");
        at_close.join().expect("no surprise");
        assert_eq!(world.context.out(Thing::Node), 0, "asked twice, the device is gone");
    });
}

#[test]
fn names_against_each_other() {
    explore(200, || {
        let world = Arc::new(World::new());
        world.make("a").expect("made");
        let one = world.spawn(|world| world.rename("a", "b").is_ok());
        let two = world.spawn(|world| world.make("b").is_ok());
        let gone = world.on("a", Action::Remove).is_ok();
        let (renamed, made) = (one.join().expect("fine"), two.join().expect("fine"));
        assert!(renamed || made || gone);
        assert!(!(renamed && made), "one name, two devices");
        assert!(!(renamed && gone), "what has another name now was not to be removed");
        assert_eq!(world.on("b", Action::Info).is_ok(), made || renamed);
        let b = made || renamed;
        let shown = world.context.nodes().values().filter(|node| node.name == "b").count();
        assert_eq!(shown, usize::from(b));
    });
}

#[test]
fn two_renames_of_one_device() {
    explore(100, || {
        let world = Arc::new(World::new());
        world.make("a").expect("made");
        let one = world.spawn(|world| world.rename("a", "b").is_ok());
        let two = world.rename("a", "c").is_ok();
        let one = one.join().expect("fine");
        assert!(one ^ two, "one of them finds no device a");
        let is = |name| world.on(name, Action::Info).is_ok();
        assert_eq!((is("a"), is("b"), is("c")), (false, one, two));
    });
}

#[test]
fn what_a_target_keeps_is_handed_back_once() {
    explore(150, || {
        let world = Arc::new(World::with_types(types()));
        let disk = late(&world, 8);
        let device = world.create("d", &format!("0 8 hold {disk} 0"));
        let user = {
            let device = device.clone();
            world.spawn(move |_| write_and_read(&device, 3))
        };
        world.on_with("d", Action::Suspend, Flags::NOFLUSH).expect("suspended");
        world.load("d", &format!("0 8 linear {disk} 0")).expect("loaded");
        world.on("d", Action::Resume).expect("resumed");
        user.join().expect("no surprise");
    });
}

#[test]
fn requests_without_memory_share_the_reserve() {
    explore(150, || {
        let world = Arc::new(World::new());
        let disk = late(&world, 16);
        world.try_create("low", &format!("0 8 linear {disk} 0\n8 8 zero")).expect("made");
        let device = world.create("top", "0 12 linear /dev/mapper/low 0");
        world.context.faults.starve(true);
        let users: Vec<_> = [1, 5]
            .map(|at| {
                let device = device.clone();
                world.spawn(move |_| write_and_read(&device, at))
            })
            .into();
        let zeroes = device.read(7, 4).expect("a read");
        assert_eq!(zeroes.len(), 2048);
        world.context.faults.starve(false);
        users.into_iter().for_each(|user| user.join().expect("no surprise"));
    });
}

#[test]
fn a_cipher_with_a_worker_against_suspension() {
    explore(80, || {
        let world = Arc::new(World::with_types(types()));
        let disk = late(&world, 8);
        let table = format!("0 8 xor {disk} 0 9");
        let device = world.create("d", &table);
        let swap = world.spawn(move |world| {
            world.on("d", Action::Suspend).expect("suspended");
            world.load("d", &table).expect("loaded");
            world.on("d", Action::Resume).expect("resumed");
        });
        write_and_read(&device, 4);
        swap.join().expect("no surprise");
    });
}

/// Two disks and a mirror of them.
fn mirror(world: &World) -> Device {
    let table = format!("0 8 pair {} 0 {} 0", late(world, 8), late(world, 8));
    world.create("m", &table)
}

#[test]
fn writes_of_several_legs_against_each_other_and_a_new_table() {
    explore(80, || {
        let world = Arc::new(World::with_types(types()));
        let device = mirror(&world);
        let users: Vec<_> = [0, 2, 4]
            .map(|at| {
                let device = device.clone();
                world.spawn(move |_| device.write(at, &[9; 512]).expect("a write"))
            })
            .into();
        world.load("m", "0 8 zero").expect("loaded");
        world.on("m", Action::Resume).expect("resumed");
        users.into_iter().for_each(|user| user.join().expect("no surprise"));
    });
}

#[test]
fn a_table_with_transfers_of_its_own_under_way_against_its_end() {
    explore(100, || {
        let world = Arc::new(World::with_types(types()));
        drop(mirror(&world));
        let copy = world.spawn(|world| drop(world.say("m", "copy")));
        let swap = world.spawn(|world| {
            world.load("m", "0 8 zero").expect("loaded");
            world.on_with("m", Action::Resume, Flags::NOFLUSH).expect("resumed");
        });
        copy.join().expect("no surprise");
        swap.join().expect("no surprise");
    });
}

#[test]
fn a_path_that_fails_and_comes_back_against_io_and_suspension() {
    explore(80, || {
        let world = Arc::new(World::new());
        let (one, two) = (late(&world, 8), late(&world, 8));
        let group = "round-robin 0 2 0";
        let table = format!("0 8 multipath 1 queue_if_no_path 0 1 1 {group} {one} {two}");
        let device = world.create("p", &table);
        let reads = {
            let device = device.clone();
            world.spawn(move |_| {
                for at in 0..3 {
                    assert_eq!(device.read(at, 1).expect("a read").len(), 512);
                }
            })
        };
        let fail = world.spawn(move |world| {
            for message in ["fail_path", "reinstate_path"] {
                for path in [&one, &two] {
                    world.say("p", &format!("{message} {path}")).expect("a message");
                }
            }
        });
        fail.join().expect("no surprise");
        world.on_with("p", Action::Suspend, Flags::NOFLUSH).expect("suspended");
        world.on("p", Action::Resume).expect("resumed");
        reads.join().expect("no surprise");
    });
}

#[test]
fn tables_of_two_devices_make_no_cycle() {
    explore(200, || {
        let world = Arc::new(World::new());
        world.try_create("a", "0 8 zero").expect("made");
        world.try_create("b", "0 8 zero").expect("made");
        let on = |name: &'static str, below: &'static str| {
            world.spawn(move |world| {
                world.load(name, &format!("0 8 linear /dev/mapper/{below} 0")).is_ok()
            })
        };
        let (one, two) = (on("a", "b"), on("b", "a"));
        let (one, two) = (one.join().expect("fine"), two.join().expect("fine"));
        assert!(!(one && two), "a cycle");
        for name in ["a", "b"] {
            world.on(name, Action::Clear).expect("cleared");
        }
    });
}

/// The minors of the devices below the live table.
fn below(world: &World, name: &str) -> Vec<u32> {
    match world.on(name, Action::Deps).expect("deps").body {
        ReplyBody::Deps(deps) => deps.iter().map(|dep| dep.devno.minor).collect(),
        other => panic!("deps answered {other:?}"),
    }
}

#[test]
fn a_table_on_its_way_to_be_live_counts_for_cycles() {
    explore(100, || {
        let world = Arc::new(World::new());
        let a = world.try_create("a", "0 8 zero").expect("made").minor;
        let b = world.try_create("b", "0 8 zero").expect("made").minor;
        world.load("a", "0 8 linear /dev/mapper/b 0").expect("a on b");
        let resume = world.spawn(|world| world.on("a", Action::Resume).map(drop));
        let load = world.spawn(|world| {
            world.load("a", "0 8 error").expect("another table for a");
            let on_a = world.load("b", "0 8 linear /dev/mapper/a 0").is_ok();
            if on_a {
                world.on("b", Action::Resume).expect("resumed");
            }
        });
        resume.join().expect("fine").expect("resumed");
        load.join().expect("fine");
        let cycle = below(&world, "a").contains(&b) && below(&world, "b").contains(&a);
        assert!(!cycle, "a lies on b, and b on a");
        for name in ["a", "b"] {
            world.load(name, "0 8 zero").expect("loaded");
            world.on(name, Action::Resume).expect("resumed");
        }
    });
}

#[test]
fn a_wait_sees_the_event_whenever_it_comes() {
    explore(200, || {
        let world = Arc::new(World::new());
        world.make("d").expect("made");
        let waiter = world.spawn(|world| {
            let wait = Action::WaitEvent { event_nr: 0, timeout_ms: None };
            let minor = Some(1);
            let device = dm_protocol::Selector { minor, ..Default::default() };
            let request = dm_protocol::Request { device, ..dm_protocol::Request::new(wait) };
            world.run(&request).map(|reply| reply.event_nr)
        });
        world.rename("d", "e").expect("an event");
        assert_eq!(waiter.join().expect("fine").expect("an event"), 1);
    });
}
