//! What a real Linux did, done again: the same texts and the same content.

use crate::pattern::{check, put, status, table};
use dm_protocol::Action;
use dm_tests::{DiskSpec, Mode, World};

/// Disks complete at once, or later and in any order.
fn modes() -> [fn(u64) -> Mode; 2] {
    [|_| Mode::Inline, Mode::Thread]
}

#[test]
fn five_snapshots_of_one_origin_show_what_linux_showed() {
    for mode in modes() {
        let world = World::new();
        let disk = |nr, sectors| world.disk_of(DiskSpec::new(sectors).mode(mode(nr)));
        let origin = disk(1, 4096);
        let cows = [4096, 4096, 256, 4096, 4096].map(|sectors| disk(sectors, sectors));
        let base = world.create("base", &format!("0 4096 linear {} 0", origin.name()));
        put(&base, 1, 0, 4096);
        let made = [("snap", "P 8"), ("snap16", "P 16"), ("snapov", "P 8"), ("snapo", "PO 8")];
        let made = made.into_iter().chain([("snapn", "N 8")]);
        for ((name, how), cow) in made.zip(&cows) {
            let line = format!("0 4096 snapshot /dev/mapper/base {} {how}", cow.name());
            world.try_create(name, &line).expect("a snapshot");
            assert_eq!(table(&world, name), format!("0 4096 snapshot 253:1 {} {how}", cow.shown()));
        }
        let all = || {
            let names = ["snap", "snap16", "snapov", "snapo", "snapn"];
            names.map(|name| status(&world, name).replace("0 4096 snapshot ", ""))
        };
        assert_eq!(all(), ["16/4096 16", "32/4096 32", "16/256 16", "16/4096 16", "0/4096 0"]);
        let orig = world.create("orig", "0 4096 snapshot-origin /dev/mapper/base");
        assert_eq!(table(&world, "orig"), "0 4096 snapshot-origin 253:1");
        assert_eq!(status(&world, "orig"), "0 4096 snapshot-origin ");
        put(&orig, 2, 0, 8);
        put(&orig, 2, 100, 3);
        put(&orig, 2, 1024, 256);
        assert_eq!(all(), ["288/4096 16", "320/4096 32", "Invalid", "288/4096 16", "272/4096 0"]);
        let snap = world.open("snap");
        put(&snap, 5, 2000, 40);
        put(&snap, 5, 100, 1);
        put(&world.open("snap16"), 6, 3000, 64);
        check(&snap, 1, 0, 8);
        check(&snap, 1, 1024, 256);
        check(&snap, 5, 2000, 40);
        check(&orig, 2, 1024, 256);
        put(&orig, 2, 2048, 1024);
        assert_eq!(
            all(),
            ["1352/4096 16", "1344/4096 32", "Invalid", "1312/4096 16", "1296/4096 0"]
        );
        let events = |name| world.on(name, Action::Info).expect("info").event_nr;
        assert_eq!((events("snap"), events("snapov")), (0, 1));
        assert!(world.open("snapov").read(0, 1).is_err());
        drop(snap);
        for name in ["snap", "snap16", "snapov", "snapo", "snapn"] {
            world.on(name, Action::Remove).expect("removed");
        }
        let again = format!("0 4096 snapshot /dev/mapper/base {} P 8", cows[0].name());
        let snap = world.create("snap", &again);
        assert_eq!(status(&world, "snap"), "0 4096 snapshot 1352/4096 16");
        check(&snap, 5, 2000, 40);
        check(&snap, 1, 0, 8);
        check(&snap, 1, 2048, 900);
        let again = format!("0 4096 snapshot /dev/mapper/base {} P 8", cows[2].name());
        world.try_create("snapov", &again).expect("it can be loaded");
        assert_eq!(status(&world, "snapov"), "0 4096 snapshot Invalid");
    }
}

#[test]
fn a_merge_ends_as_linux_ended_it() {
    for mode in modes() {
        let world = World::new();
        let disk = |nr, sectors| world.disk_of(DiskSpec::new(sectors).mode(mode(nr)));
        let (origin, cow) = (disk(1, 2048), disk(2, 1024));
        let base = world.create("base", &format!("0 2048 linear {} 0", origin.name()));
        put(&base, 1, 0, 2048);
        let line = |kind| format!("0 2048 {kind} /dev/mapper/base {} P 8", cow.name());
        let snap = world.create("snap", &line("snapshot"));
        put(&snap, 7, 64, 64);
        put(&snap, 7, 1000, 16);
        assert_eq!(status(&world, "snap"), "0 2048 snapshot 96/1024 16");
        drop(snap);
        world.on("snap", Action::Remove).expect("removed");
        let merging = world.create("m", &line("snapshot-merge"));
        check(&merging, 7, 64, 64);
        crate::pattern::until("merged", || {
            status(&world, "m") == "0 2048 snapshot-merge 16/1024 16"
        });
        check(&merging, 7, 1000, 16);
        drop(merging);
        world.on("m", Action::Remove).expect("removed");
        check(&base, 7, 64, 64);
        check(&base, 7, 1000, 16);
        check(&base, 1, 0, 64);
    }
}
