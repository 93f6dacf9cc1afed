//! Requests, suspensions, new tables, messages, and members that fail and come back, all at once,
//! beside a model.

use crate::kinds::{KINDS, Kind, LENGTH, Set};
use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags};
use dm_tests::model::Model;
use dm_tests::random::seeds;
use dm_tests::{Device, Disk, Mode, Random, World};
use std::sync::Arc;
use std::time::Duration;

/// What happens beside requests.
struct Meddler {
    kind: &'static Kind,
    table: String,
    data: Vec<Arc<Disk>>,
    metas: Vec<Arc<Disk>>,
    random: Random,
}

impl Meddler {
    fn suspend(&mut self, world: &World) {
        let flags = if self.random.one_in(2) { Flags::NOFLUSH } else { Flags::EXISTS };
        world.on_with("c", Action::Suspend, flags).expect("suspended");
    }

    /// A member fails for some time, and comes back; only one at a time.
    fn break_one(&mut self, world: &World) {
        self.wait_until_equal(world);
        let member = self.random.below(self.data.len() as u64) as usize;
        let own = self.kind.words.starts_with("raid") && self.random.one_in(2);
        let meta = self.metas.get(member).filter(|_| own);
        let disks: Vec<_> = meta.into_iter().chain([&self.data[member]]).cloned().collect();
        disks.iter().for_each(|disk| disk.break_sectors(0..LENGTH, Errno::EIO));
        self.pause();
        if self.random.one_in(2) {
            self.suspend(world);
            world.on("c", Action::Resume).expect("resumed");
        }
        self.pause();
        self.suspend(world);
        disks.iter().for_each(|disk| disk.mend());
        world.on("c", Action::Resume).expect("resumed");
    }

    fn wait_until_equal(&self, world: &World) {
        let status = || dm_tests::snapshot::lines(world, "c", true).remove(0);
        dm_tests::until("equal", || status().contains(self.kind.equal));
    }

    fn pause(&mut self) {
        std::thread::sleep(Duration::from_micros(self.random.below(3000)));
    }

    fn meddle(&mut self, world: &World) {
        match self.random.below(6) {
            0 => {
                self.suspend(world);
                self.pause();
                world.on("c", Action::Resume).expect("resumed");
            }
            1 => {
                // A mirror's log does not say who lacks something.
                self.wait_until_equal(world);
                world.load("c", &self.table).expect("loaded");
                self.suspend(world);
                world.on("c", Action::Resume).expect("resumed");
            }
            2 | 3 => self.break_one(world),
            _ if self.kind.words.starts_with("raid") => {
                let words = ["check", "repair", "frozen", "idle", "resync", "recover"];
                // One is refused while another is under way.
                let word: &&str = self.random.pick(&words);
                let _ = world.say("c", word);
                self.pause();
                world.say("c", "idle").expect("a message");
            }
            _ => world.context.skip(Duration::from_secs(2)),
        }
        self.pause();
    }
}

/// Writes and reads that do not meet, then looks at them.
fn turn(device: &Device, model: &mut Model, random: &mut Random) {
    let mut pending = Vec::new();
    let mut at = random.below(50);
    while at < LENGTH {
        let count = random.within(1, (LENGTH - at).min(40));
        let mut data = vec![0; count as usize * 512];
        if random.one_in(3) {
            pending.push((at, device.begin(Op::Read, false, at, count, data), None));
        } else {
            random.fill(&mut data);
            let through = random.one_in(5);
            let kept = data.clone();
            pending.push((at, device.begin(Op::Write, through, at, count, data), Some(kept)));
        }
        at += count + random.below(60);
    }
    for (at, pending, written) in pending {
        match written {
            None => model.check(at, &pending.wait().expect("a read")),
            Some(data) => {
                pending.wait().expect("a write");
                model.write(at, &data);
            }
        }
    }
    if random.one_in(8) {
        device.flush().expect("a flush");
    }
}

fn churn(kind: &'static Kind, seed: u64) {
    let mut random = Random::new(seed);
    let set = Set::new(kind, |nr| Mode::Thread(seed * 16 + nr as u64));
    let device = set.world.create("c", &set.table());
    set.wait_until_equal();
    let mut meddler = Meddler {
        kind,
        table: set.table(),
        data: set.data.clone(),
        metas: set.metas.clone(),
        random: Random::new(seed + 1000),
    };
    let turns = if cfg!(miri) { 2 } else { 30 };
    let meddling = {
        let world = Arc::clone(&set.world);
        std::thread::spawn(move || {
            world.context.enter();
            for _ in 0..turns {
                meddler.meddle(&world);
            }
        })
    };
    let mut model = Model::new(LENGTH);
    while !meddling.is_finished() {
        turn(&device, &mut model, &mut random);
    }
    meddling.join().expect("no surprise");
    set.wait_until_equal();
    model.check(0, &device.read(0, LENGTH).expect("a read"));
    set.remove(device);
}

#[test]
fn mirrors_hold_what_was_written_whatever_happens() {
    seeds(2, |seed| KINDS[..3].iter().for_each(|kind| churn(kind, seed)));
}

#[test]
fn raids_hold_what_was_written_whatever_happens() {
    seeds(2, |seed| KINDS[3..].iter().for_each(|kind| churn(kind, seed)));
}
