//! Sets of copies of every kind.

use dm_protocol::Action;
use dm_tests::snapshot::lines;
use dm_tests::{Device, Disk, DiskSpec, Mode, World, until};
use std::sync::Arc;

/// Sectors of each set.
pub const LENGTH: u64 = 240;

/// A kind of set.
pub struct Kind {
    pub name: &'static str,
    /// Words of its table; `@0` and so on are the members' disks, `#0` and so on those for
    /// metadata.
    pub words: &'static str,
    pub members: usize,
    /// Sectors of a member.
    pub each: u64,
    /// Sectors of each disk for metadata.
    pub metas: &'static [u64],
    /// What its status says when all copies are equal.
    pub equal: &'static str,
    /// The members and the sectors there of each copy.
    pub places: fn(u64) -> Vec<(usize, u64)>,
}

fn both(at: u64) -> Vec<(usize, u64)> {
    vec![(0, at), (1, at)]
}

/// All kinds.
pub const KINDS: [Kind; 8] = [
    Kind {
        name: "mirror with a log in memory",
        words: "mirror core 2 16 nosync 2 @0 0 @1 0",
        members: 2,
        each: LENGTH,
        metas: &[],
        equal: " 15/15 1 ",
        places: both,
    },
    Kind {
        name: "mirror with a log",
        words: "mirror disk 2 #0 16 2 @0 0 @1 0",
        members: 2,
        each: LENGTH,
        metas: &[8],
        equal: " 15/15 1 ",
        places: both,
    },
    Kind {
        name: "mirror with three legs that keeps its log",
        words: "mirror disk 2 #0 16 3 @0 0 @1 0 @2 0 2 handle_errors keep_log",
        members: 3,
        each: LENGTH,
        metas: &[8],
        equal: " 15/15 1 ",
        places: |at| vec![(0, at), (1, at), (2, at)],
    },
    Kind {
        name: "raid1",
        words: "raid raid1 3 0 region_size 16 2 #0 @0 #1 @1",
        members: 2,
        each: LENGTH,
        metas: &[9, 9],
        equal: " AA 240/240 idle ",
        places: both,
    },
    Kind {
        name: "raid1 without metadata",
        words: "raid raid1 3 0 region_size 16 2 - @0 - @1",
        members: 2,
        each: LENGTH,
        metas: &[],
        equal: " AA 240/240 idle ",
        places: both,
    },
    Kind {
        name: "raid10",
        words: "raid raid10 3 8 region_size 16 4 #0 @0 #1 @1 #2 @2 #3 @3",
        members: 4,
        each: LENGTH / 2,
        metas: &[9, 9, 9, 9],
        equal: " AAAA 240/240 idle ",
        places: |at| {
            let (row, pair, within) = (at / 16, at / 8 % 2, at % 8);
            (0..2).map(|copy| ((pair * 2) as usize + copy, row * 8 + within)).collect()
        },
    },
    Kind {
        name: "raid10 at an offset",
        words: "raid raid10 5 8 raid10_format offset region_size 16 3 #0 @0 #1 @1 #2 @2",
        members: 3,
        each: LENGTH / 3 * 2,
        metas: &[9, 9, 9],
        equal: " AAA 240/240 idle ",
        places: |at| {
            let (row, member, within) = (at / 24, (at / 8 % 3) as usize, at % 8);
            vec![(member, row * 16 + within), ((member + 1) % 3, row * 16 + 8 + within)]
        },
    },
    Kind {
        name: "raid10 with far copies",
        words: "raid raid10 5 8 raid10_format far region_size 16 3 #0 @0 #1 @1 #2 @2",
        members: 3,
        each: LENGTH / 3 * 2,
        metas: &[9, 9, 9],
        equal: " AAA 240/240 idle ",
        places: |at| {
            let (row, member, within) = (at / 24, (at / 8 % 3) as usize, at % 8);
            vec![(member, row * 8 + within), ((member + 1) % 3, LENGTH / 3 + row * 8 + within)]
        },
    },
];

/// A set and its disks.
pub struct Set {
    pub kind: &'static Kind,
    pub world: Arc<World>,
    pub data: Vec<Arc<Disk>>,
    pub metas: Vec<Arc<Disk>>,
}

impl Set {
    /// The disks of one, each of which has a mode; not the device.
    pub fn new(kind: &'static Kind, mode: impl Fn(usize) -> Mode) -> Self {
        let world = World::new();
        let disk = |nr, sectors| world.disk_of(DiskSpec::new(sectors).mode(mode(nr)));
        let data = (0..kind.members).map(|nr| disk(nr, kind.each)).collect();
        let metas = kind.metas.iter().enumerate();
        let metas = metas.map(|(nr, sectors)| disk(kind.members + nr, *sectors)).collect();
        Self { kind, world: Arc::new(world), data, metas }
    }

    /// Its table.
    pub fn table(&self) -> String {
        let names = |words: String, mark: char, disks: &[Arc<Disk>]| {
            let named = |words: String, (nr, disk): (usize, &Arc<Disk>)| {
                words.replace(&format!("{mark}{nr}"), &disk.name())
            };
            disks.iter().enumerate().fold(words, named)
        };
        let words = names(self.kind.words.to_owned(), '@', &self.data);
        format!("0 {LENGTH} {}", names(words, '#', &self.metas))
    }

    pub fn status(&self) -> String {
        lines(&self.world, "c", true).remove(0)
    }

    pub fn is_equal(&self) -> bool {
        self.status().contains(self.kind.equal)
    }

    pub fn wait_until_equal(&self) {
        let mut status = String::new();
        for _ in 0..5000 {
            status = self.status();
            if status.contains(self.kind.equal) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("{}: never equal: {status}", self.kind.name);
    }

    /// Suspends and resumes it.
    pub fn again(&self) {
        self.world.on("c", Action::Suspend).expect("suspended");
        self.world.on("c", Action::Resume).expect("resumed");
    }

    /// Removes it, and compares all copies.
    pub fn remove(&self, device: Device) {
        drop(device);
        until("it can be removed", || self.world.on("c", Action::Remove).is_ok());
        let bytes: Vec<_> = self.data.iter().map(|disk| disk.bytes()).collect();
        for at in 0..LENGTH {
            let copies = (self.kind.places)(at);
            let sector = |(member, on): (usize, u64)| &bytes[member][on as usize * 512..][..512];
            let first = sector(copies[0]);
            let equal = copies.iter().all(|copy| sector(*copy) == first);
            assert!(equal, "{}: sector {at} differs", self.kind.name);
        }
    }
}
