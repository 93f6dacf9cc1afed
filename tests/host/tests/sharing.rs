//! What targets on one disk share: one thread for all of them, parts given back to their own
//! target, and devices opened for what a target does by itself.

use dm::lower::Lower;
use dm::params::Params;
use dm::services::{Crew, Mail, Mailbox, ThreadState};
use dm::target::{Keys, Mapping, Part, Range, Setup, Target, TargetType};
use dm_protocol::{Action, Errno, Failure, Flags, Sector, SegmentSpec};
use dm_tests::{DiskSpec, Mode, World};
use std::fmt;
use std::sync::Arc;

/// Sends everything through a thread that it shares with all its kind on the same disk:
/// `relay device`.
static RELAY: TargetType = TargetType { name: "relay", version: [1, 0, 0], build };
static TYPES: [&TargetType; 1] = [&RELAY];

struct Hub {
    inner: Arc<HubInner>,
    _crew: Crew,
}

struct HubInner {
    mailbox: Arc<Mailbox>,
    seen: ThreadState<u64>,
}

struct Relay {
    hub: Arc<Hub>,
    lowers: [Lower; 2],
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let reading = setup.device_to_read(params)?;
    let writing = setup.device_to_write(params)?;
    params.end()?;
    let hub = setup.shared(&reading, || {
        let mailbox = Arc::new(Mailbox::new());
        let inner = Arc::new(HubInner { mailbox: Arc::clone(&mailbox), seen: ThreadState::new(0) });
        let work = Arc::clone(&inner);
        let crew = Crew::start("hub", 1, &mailbox, move || work.run())?;
        Ok::<_, Errno>(Hub { inner, _crew: crew })
    })?;
    Ok(Box::new(Relay { hub, lowers: [reading, writing] }))
}

impl HubInner {
    fn run(&self) {
        while let Mail::Fresh(part) = self.mailbox.receive(None) {
            self.seen.with(|seen| *seen += 1);
            part.give_back(Ok(()));
        }
    }
}

impl Target for Relay {
    fn map(&self, range: Range) -> Mapping<'_> {
        Mapping::Keep { count: range.count }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{} {}", self.lowers[0], self.lowers[1])
    }

    fn status(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{}", self.hub.inner.seen.with(|seen| *seen))
    }

    fn lowers(&self) -> &[Lower] {
        &self.lowers
    }

    fn keep(&self, part: Part) {
        self.hub.inner.mailbox.post(part);
    }

    /// First from the hub, then from below.
    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        if std::mem::replace(part.cookie(), 1) == 1 {
            return part.finish(result);
        }
        let at = part.at();
        let side = usize::from(part.op().writes());
        part.forward(&self.lowers[side], at);
    }

    fn message(&self, words: &mut Params<'_>, answer: &mut String) -> Result<(), Failure> {
        let most = words.number("parts", 0..=1000)?;
        let seen = self.hub.inner.seen.wait_for(|seen| (*seen >= most).then_some(*seen));
        answer.push_str(&seen.to_string());
        Ok(())
    }
}

fn relay(world: &World, name: &str, disk: &str, flags: Flags) -> Result<(), Failure> {
    world.make(name)?;
    let table = vec![SegmentSpec::new(0, 32, "relay", &format!("{disk} {disk}"))];
    world.on_with(name, Action::Reload { table, dry_run: false }, flags)?;
    world.on(name, Action::Resume).map(drop)
}

#[test]
fn targets_on_one_disk_share_a_thread_which_gives_each_its_parts_back() {
    let world = Arc::new(World::with_types(&TYPES));
    let disk = world.disk_of(DiskSpec::new(64).mode(Mode::Thread(3)));
    let other = world.disk(64);
    for (name, disk) in [("a", &disk), ("b", &disk), ("c", &other)] {
        relay(&world, name, &disk.name(), Flags::EXISTS).expect("a relay");
    }
    let (one, two) = (world.open("a"), world.open("b"));
    let waiter = world.spawn(|world| {
        let text = "2".to_owned().into();
        world.on("b", Action::Message { sector: Sector(0), text }).map(drop)
    });
    one.write(3, &[7; 512]).expect("a write");
    assert!(two.read(3, 1).expect("a read") == [7; 512]);
    waiter.join().expect("no surprise").expect("both were seen");
    let seen = |name| dm_tests::snapshot::lines(&world, name, true);
    assert_eq!(seen("a"), ["0 32 relay 2"]);
    assert_eq!(seen("c"), ["0 32 relay 0"]);
}

#[test]
fn a_read_only_table_writes_where_its_target_does_so_by_itself() {
    let world = World::with_types(&TYPES);
    let disk = world.disk(64);
    relay(&world, "a", &disk.name(), Flags::EXISTS | Flags::READONLY).expect("a relay");
    assert_eq!(disk.opens.load(std::sync::atomic::Ordering::SeqCst), 2, "in two ways");
    let minor = world.driver().minor_of("a").expect("a device");
    assert!(world.driver().open(minor, true).is_err(), "the device itself is read-only");
}

#[test]
fn what_is_shared_is_made_again_after_its_making_failed() {
    let world = World::with_types(&TYPES);
    let disk = world.disk(64);
    world.make("a").expect("a device");
    let table = format!("0 32 relay {0} {0}", disk.name());
    for n in 1.. {
        world.context.faults.fail_nth(n);
        let loaded = world.load("a", &table);
        let hit = world.context.faults.hit();
        world.context.faults.fail_nth(0);
        if !hit {
            loaded.expect("nothing failed");
            assert_eq!(n, 4, "two disks and a thread");
            return;
        }
        assert!(loaded.is_err());
    }
}
