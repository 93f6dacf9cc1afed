//! Parts that go to several places at once, and transfers of a target's own: what comes back, in
//! which order, and with which error.

use dm::kern::disk::Op;
use dm::lower::Lower;
use dm::params::Params;
use dm::services::{Crew, Errand, LegSet, Legs, Mail, Mailbox};
use dm::target::{Keys, Mapping, Part, Range, Setup, Target, TargetType};
use dm_protocol::{Errno, Failure, Sector, Sectors};
use dm_tests::{Disk, DiskSpec, Mode, World};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// `fan parts devices device...`: a write to sector `n` goes to the devices that the bits of `n`
/// name, and its end is remembered.
static FAN: TargetType = TargetType { name: "fan", version: [1, 0, 0], build };

/// Sectors below 64 have so many bits; each names every so-manieth device.
const BITS: usize = 6;

struct Fan {
    inner: Arc<Inner>,
    _crew: Crew,
}

struct Inner {
    lowers: Vec<Lower>,
    legs: Legs,
    mailbox: Arc<Mailbox>,
    /// The legs that failed, of the part that ended last.
    failed: AtomicU64,
}

fn types() -> &'static [&'static TargetType] {
    static TYPES: OnceLock<[&TargetType; 1]> = OnceLock::new();
    TYPES.get_or_init(|| [&FAN])
}

fn build(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Box<dyn Target>, Failure> {
    let parts = params.number("parts", 1..=8)? as usize;
    let count = params.number("devices", 0..=100)?;
    let lowers: Result<Vec<_>, _> = (0..count).map(|_| setup.device(params)).collect();
    params.end()?;
    let (lowers, mailbox) = (lowers?, Arc::new(Mailbox::new()));
    let legs = Legs::new(lowers.len(), parts)?;
    let inner = Arc::new(Inner { lowers, legs, mailbox, failed: AtomicU64::new(0) });
    let work = Arc::clone(&inner);
    let crew = Crew::start("fan", 1, &inner.mailbox, move || work.run())?;
    Ok(Box::new(Fan { inner, _crew: crew }))
}

impl Inner {
    fn run(&self) {
        loop {
            match self.mailbox.receive(None) {
                // What found no memory before.
                Mail::Fresh(part) => self.send(part, self.legs.wait()),
                Mail::Back(part, result) => part.finish(result),
                Mail::Over => return,
                Mail::Errand(..) | Mail::Poke | Mail::Due => unreachable!("not for us"),
            }
        }
    }

    fn send(&self, part: Part, legs: LegSet) {
        assert_eq!(legs.width(), self.lowers.len());
        let bits = part.at().0;
        let named = |leg: usize| bits >> (leg % BITS) & 1 == 1;
        legs.send(part, |leg| named(leg).then(|| (&self.lowers[leg], Sector(bits))));
    }
}

impl Target for Fan {
    fn map(&self, range: Range) -> Mapping<'_> {
        Mapping::Keep { count: range.count }
    }

    fn params(&self, out: &mut dyn fmt::Write, _keys: Keys) -> fmt::Result {
        write!(out, "{}", self.inner.lowers.len())
    }

    fn lowers(&self) -> &[Lower] {
        &self.inner.lowers
    }

    fn keep(&self, part: Part) {
        match self.inner.legs.take() {
            Some(legs) => self.inner.send(part, legs),
            None => self.inner.mailbox.post(part),
        }
    }

    fn done(&self, mut part: Part, result: Result<(), Errno>) {
        self.inner.failed.store(*part.cookie(), Ordering::SeqCst);
        match result {
            Ok(()) => part.finish(Ok(())),
            Err(_) => self.inner.mailbox.post_back(part, result),
        }
    }

    /// Tells which legs failed last, or does a transfer of its own: `errand sectors count`.
    fn message(&self, words: &mut Params<'_>, answer: &mut String) -> Result<(), Failure> {
        if words.word("message")? == "failed" {
            *answer = format!("{:b}", self.inner.failed.load(Ordering::SeqCst));
            return Ok(());
        }
        let memory = Sectors(words.number("sectors of memory", 0..=64)?);
        let count = Sectors(words.number("sectors", 0..=64)?);
        let mailbox = Arc::new(Mailbox::new());
        let mut told = Vec::new();
        for (nr, op) in [Op::Read, Op::Write, Op::Flush, Op::Discard].into_iter().enumerate() {
            let mut errand = Errand::new(&mailbox, memory)?;
            assert_eq!(errand.bytes().len() as u64, memory.0 * 512);
            errand.bytes_mut().fill(7);
            *errand.tag() = nr as u64;
            let count = if op == Op::Flush { Sectors::ZERO } else { count };
            errand.send(op, false, &self.inner.lowers[0], Sector(0), count);
            let Mail::Errand(mut back, result) = mailbox.receive(None) else {
                panic!("nothing else comes");
            };
            assert_eq!(*back.tag(), nr as u64);
            told.push(format!(
                "{op:?} {}",
                result.map_or_else(|e| format!("{e:?}"), |()| "ok".into())
            ));
        }
        *answer = told.join(", ");
        Ok(())
    }
}

/// A fan over disks of a mode.
fn fan(parts: usize, disks: &[Arc<Disk>]) -> String {
    let names: String = disks.iter().map(|disk| format!(" {}", disk.name())).collect();
    format!("0 64 fan {parts} {}{names}", disks.len())
}

fn failed(world: &World) -> String {
    world.say("f", "failed").expect("a message").unwrap_or_default()
}

#[test]
fn a_part_comes_back_with_the_legs_that_failed_and_the_first_error() {
    for mode in [Mode::Inline, Mode::Thread(4)] {
        let world = World::with_types(types());
        let disks: Vec<_> = (0..4).map(|_| world.disk_of(DiskSpec::new(64).mode(mode))).collect();
        let device = world.create("f", &fan(2, &disks));
        let step = if cfg!(miri) { 5 } else { 1 };
        for broken in (0..16_u64).step_by(step) {
            for (leg, disk) in disks.iter().enumerate() {
                disk.mend();
                if broken >> leg & 1 == 1 {
                    disk.break_sectors(0..64, Errno::ENOSPC);
                }
            }
            for bits in (0..16_u64).step_by(step) {
                let expected = match (bits, bits & broken) {
                    // What goes nowhere is nowhere.
                    (0, _) => Err(Errno::EIO),
                    (_, 0) => Ok(()),
                    _ => Err(Errno::ENOSPC),
                };
                assert_eq!(device.write(bits, &[bits as u8 + 1; 512]), expected);
                assert_eq!(failed(&world), format!("{:b}", bits & broken));
            }
        }
        for (leg, disk) in disks.iter().enumerate() {
            let bytes = disk.bytes();
            for bits in (0..16).step_by(step) {
                let written = if bits >> leg & 1 == 1 { bits as u8 + 1 } else { 0 };
                assert_eq!(bytes[bits * 512], written, "leg {leg}, sector {bits}");
            }
        }
    }
}

#[test]
fn a_part_has_up_to_64_legs() {
    let world = World::with_types(types());
    let mut disks: Vec<_> = (0..64).map(|_| world.disk(64)).collect();
    let device = world.create("f", &fan(1, &disks));
    device.write(8, &[1; 512]).expect("a write");
    disks[63].break_sectors(0..64, Errno::EIO);
    assert_eq!(device.write(8, &[2; 512]), Err(Errno::EIO));
    assert_eq!(failed(&world), format!("1{}", "0".repeat(63)));
    assert_eq!([57, 58, 63].map(|leg: usize| disks[leg].bytes()[8 * 512]), [2, 0, 1]);
    disks.push(world.disk(64));
    let refused = world.try_create("g", &fan(1, &disks)).expect_err("one too many");
    assert_eq!(refused.errno, Errno::EINVAL);
}

#[test]
fn parts_without_memory_wait_for_those_before_them() {
    let world = World::with_types(types());
    let disks: Vec<_> = (0..2).map(|_| world.disk_of(DiskSpec::new(64).mode(Mode::Held))).collect();
    let device = world.create("f", &fan(1, &disks));
    let writes: Vec<_> =
        (0..5).map(|nr| device.begin(Op::Write, false, 3, 1, vec![nr; 512])).collect();
    let held = || disks.iter().map(|disk| disk.held()).collect::<Vec<_>>();
    for (nr, write) in writes.into_iter().enumerate() {
        dm_tests::until("one is on its way", || held() == [1, 1]);
        // The second leg of some is over first.
        disks[nr % 2].complete(0);
        assert!(!write.is_over());
        disks[(nr + 1) % 2].complete(0);
        write.wait().expect("a write");
    }
    assert!(disks.iter().all(|disk| disk.bytes()[3 * 512] == 4), "in the order they came");
}

#[test]
fn an_errand_needs_as_much_memory_as_it_transfers() {
    let world = World::with_types(types());
    let disks = [world.disk(64)];
    drop(world.create("f", &fan(1, &disks)));
    let does = |words: &str| world.say("f", words).expect("a message").expect("an answer");
    assert_eq!(does("errand 8 8"), "Read ok, Write ok, Flush ok, Discard ok");
    assert_eq!(does("errand 8 4"), "Read ok, Write ok, Flush ok, Discard ok");
    assert_eq!(does("errand 4 8"), "Read EIO, Write EIO, Flush ok, Discard ok");
    assert_eq!(does("errand 0 8"), "Read EIO, Write EIO, Flush ok, Discard ok");
}
