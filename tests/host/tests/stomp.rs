//! Random I/O against a model, while other threads change everything that may change.
//!
//! `top` maps `base` one to one, but its table does so in ever other pieces and through ever
//! other devices, so what it holds must stay.

use dm::kern::disk::Op;
use dm_protocol::{Action, Errno, Flags, SECTOR_SIZE};
use dm_tests::model::Model;
use dm_tests::random::{long, seeds};
use dm_tests::{Device, DiskSpec, Mode, Random, World};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How big things are.
#[derive(Clone, Copy)]
struct Scale {
    /// Sectors of 512 bytes in the largest sector of a disk.
    unit: u64,
    /// Sectors of the device.
    size: u64,
    threads: u64,
    requests: u64,
}

impl Scale {
    fn new(unit: u64) -> Self {
        let requests = if cfg!(miri) { 6 } else { 300 * if long() { 10 } else { 1 } };
        Self { unit, size: unit * 240, threads: 3, requests }
    }
}

/// A table of `size` sectors that maps a device one to one, cut at random.
fn identity(random: &mut Random, scale: Scale, below: &str) -> String {
    let (mut at, mut table) = (0, String::new());
    while at < scale.size {
        let left = (scale.size - at) / scale.unit;
        let length = if random.one_in(6) { left } else { random.within(1, left.min(60)) };
        let length = length * scale.unit;
        table += &format!("{at} {length} linear /dev/mapper/{below} {at}\n");
        at += length;
    }
    table
}

/// A table of linear and striped segments over disks, each place used once.
fn base(random: &mut Random, scale: Scale, disks: &[String]) -> String {
    let mut used = vec![0; disks.len()];
    let (mut at, mut table) = (0, String::new());
    while at < scale.size {
        let left = (scale.size - at) / scale.unit;
        let stripes = random.within(1, disks.len() as u64);
        let chunk = random.within(1, 5);
        let rows = random.within(1, 4).min(left / (stripes * chunk));
        let (length, target) = match rows {
            0 => (random.within(1, left.min(9)), "linear".to_owned()),
            _ => (rows * stripes * chunk, format!("striped {stripes} {}", chunk * scale.unit)),
        };
        let length = length * scale.unit;
        table += &format!("{at} {length} {target}");
        let legs = if rows == 0 { 1 } else { stripes };
        for leg in 0..legs {
            let disk = (random.below(disks.len() as u64) + leg) as usize % disks.len();
            table += &format!(" {} {}", disks[disk], used[disk]);
            used[disk] += length / legs;
        }
        table += "\n";
        at += length;
    }
    table
}

/// A part of the device that one thread uses, and what it should hold.
struct Part {
    device: Device,
    model: Model,
    first: u64,
    count: u64,
    unit: u64,
}

impl Part {
    fn one(&mut self, random: &mut Random) {
        let unit = self.unit;
        let at = random.below(self.count / unit) * unit;
        let count = random.within(1, ((self.count - at) / unit).min(40)) * unit;
        let sector = self.first + at;
        match random.below(10) {
            0..=3 => {
                let data = self.device.read(sector, count).expect("a read");
                self.model.check(at, &data);
            }
            4..=6 => {
                let mut data = vec![0; (count * SECTOR_SIZE) as usize];
                random.fill(&mut data);
                let through = random.one_in(4);
                let write = self.device.begin(Op::Write, through, sector, count, data.clone());
                assert!(write.wait().expect("a write") == data, "the data is only read");
                self.model.write(at, &data);
            }
            7 => self.device.flush().expect("a flush"),
            8 => {
                self.device.command(Op::WriteZeroes, sector, count).expect("zeroes");
                self.model.write(at, &vec![0; (count * SECTOR_SIZE) as usize]);
            }
            _ => {
                self.device.command(Op::Discard, sector, count).expect("a discard");
                self.model.forget(at, count);
            }
        }
    }

    fn check(&self, device: &Device) {
        let data = device.read(self.first, self.count).expect("the last read");
        self.model.check(0, &data);
    }
}

/// Changes tables and states until told to end.
fn meddle(world: &World, random: &mut Random, scale: Scale) {
    let below = *random.pick(&["base", "left", "right"]);
    let noflush = if random.one_in(2) { Flags::NOFLUSH } else { Flags::empty() };
    match random.below(9) {
        0..=2 => {
            world.load("top", &identity(random, scale, below)).expect("a reload");
            world.on_with("top", Action::Resume, noflush).expect("a resume");
        }
        3 => {
            let side = *random.pick(&["left", "right"]);
            world.load(side, &identity(random, scale, "base")).expect("a reload");
            world.on_with(side, Action::Resume, noflush).expect("a resume");
        }
        4 => {
            let name = *random.pick(&["top", "left", "right", "base"]);
            world.on_with(name, Action::Suspend, noflush).expect("a suspension");
            if random.one_in(2) {
                std::thread::yield_now();
            }
            world.on(name, Action::Resume).expect("a resume");
        }
        5 => {
            world.load("top", &identity(random, scale, below)).expect("a reload");
            world.on("top", Action::Clear).expect("a clear");
        }
        6 => {
            let busy = world.on("base", Action::Remove).expect_err("it is in use");
            assert_eq!(busy.errno, Errno::EBUSY);
            for action in [Action::Info, Action::Status, Action::Table, Action::Deps] {
                world.on("top", action).expect("it is there");
            }
        }
        7 => {
            world.rename("top", "other").expect("a new name");
            world.rename("other", "top").expect("the old name");
        }
        _ => {
            let table = identity(random, scale, below);
            world.try_create("more", &table).expect("one more device");
            drop(world.open("more"));
            world.rename("more", "less").expect("a name");
            world.on("less", Action::Remove).expect("it is not in use");
        }
    }
}

fn stomp(seed: u64, scale: Scale) {
    let mut random = Random::new(seed);
    let world = Arc::new(World::new());
    let room = scale.size * 2;
    let disks: Vec<_> = [Mode::Inline, Mode::Thread(seed), Mode::Thread(seed + 1)]
        .into_iter()
        .map(|mode| DiskSpec::new(room).mode(mode))
        .map(|spec| if scale.unit == 8 { spec.big_sectors() } else { spec })
        .map(|spec| world.disk_of(spec).name())
        .collect();
    world.try_create("base", &base(&mut random, scale, &disks)).expect("the base");
    for (name, below) in [("left", "base"), ("right", "base"), ("top", "left")] {
        let table = identity(&mut random, scale, below);
        world.try_create(name, &table).expect("a layer");
    }
    let top = world.driver().minor_of("top").expect("just made");
    let over = Arc::new(AtomicBool::new(false));
    let meddler = {
        let (over, mut random) = (Arc::clone(&over), Random::new(seed ^ 0x5eed));
        world.spawn(move |world| {
            while !over.load(Ordering::SeqCst) {
                meddle(world, &mut random, scale);
            }
        })
    };
    let count = scale.size / scale.threads / scale.unit * scale.unit;
    let stompers: Vec<_> = (0..scale.threads)
        .map(|nr| {
            let mut random = Random::new(seed.wrapping_mul(31) + nr);
            let (first, unit) = (nr * count, scale.unit);
            let opened = world.driver().open(top, true).expect("the device is there");
            let device = Device::new(opened, Arc::clone(&world.context));
            let mut part = Part { device, model: Model::new(count), first, count, unit };
            world.spawn(move |_| {
                for _ in 0..scale.requests {
                    part.one(&mut random);
                }
                part
            })
        })
        .collect();
    let parts: Vec<_> = stompers.into_iter().map(|t| t.join().expect("no surprise")).collect();
    over.store(true, Ordering::SeqCst);
    meddler.join().expect("no surprise");
    let (top, base) = (world.open("top"), world.open("base"));
    for part in &parts {
        part.check(&top);
        part.check(&base);
    }
}

#[test]
fn nothing_is_lost_or_misplaced_on_disks_of_512_bytes() {
    seeds(3, |seed| stomp(seed, Scale::new(1)));
}

#[test]
fn nothing_is_lost_or_misplaced_on_disks_of_4096_bytes() {
    seeds(2, |seed| stomp(seed, Scale::new(8)));
}

#[test]
fn eight_devices_on_each_other_move_data_and_a_ninth_is_refused() {
    let world = World::new();
    let disk = world.disk_of(DiskSpec::new(64).mode(Mode::Thread(1)));
    world.try_create("d1", &format!("0 64 striped 1 4 {} 0", disk.name())).expect("the first");
    for nr in 2..=8 {
        let table =
            format!("0 30 linear /dev/mapper/d{0} 0\n30 34 linear /dev/mapper/d{0} 30", nr - 1);
        world.try_create(&format!("d{nr}"), &table).expect("one more");
    }
    let failure = world.try_create("d9", "0 64 linear /dev/mapper/d8 0").expect_err("too many");
    assert_eq!(failure.errno, Errno::ELOOP);
    let device = world.open("d8");
    let mut data = vec![0; 64 * 512];
    Random::new(1).fill(&mut data);
    device.write(0, &data).expect("a write");
    assert_eq!(device.read(0, 64).expect("a read"), data);
    assert_eq!(disk.bytes(), data);
    device.flush().expect("a flush");
    assert_eq!(disk.count(Op::Flush), 1);
}
