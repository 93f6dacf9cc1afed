//! Every call of the seam that may fail does, once.

use crate::kinds::{KINDS, Kind, LENGTH, Set};
use dm_protocol::{Action, Failure, Flags};
use dm_tests::model::Model;
use dm_tests::random::long;
use dm_tests::{Device, Mode};

/// Does something, and when it failed does it once more without the fault.
fn do_it<T>(set: &Set, mut act: impl FnMut() -> Result<T, Failure>) -> T {
    match act() {
        Ok(done) => done,
        Err(_) => {
            assert!(set.world.context.faults.hit(), "nothing failed, and it did");
            act().unwrap_or_else(|failure| panic!("{}: {}", set.kind.name, failure.message))
        }
    }
}

fn write(model: &mut Model, device: &Device, at: u64, count: u64, byte: u8) {
    let data = vec![byte; count as usize * 512];
    match device.write(at, &data) {
        Ok(()) => model.write(at, &data),
        Err(_) => model.forget(at, count),
    }
}

/// A life in which call number `n` fails. False if there were fewer.
fn live(kind: &'static Kind, mode: fn(usize) -> Mode, n: u64) -> bool {
    let set = Set::new(kind, mode);
    let faults = &set.world.context.faults;
    faults.fail_nth(n);
    let table = set.table();
    do_it(&set, || set.world.try_create("c", &table));
    let device = set.world.open("c");
    let mut model = Model::new(LENGTH);
    for round in 1..4 {
        for at in [3, 40, 100, 200] {
            write(&mut model, &device, at, 30, round);
        }
        let _ = device.flush();
        if let Ok(data) = device.read(0, LENGTH) {
            model.check(0, &data);
        }
        match round {
            1 => {
                do_it(&set, || set.world.on("c", Action::Suspend));
                do_it(&set, || set.world.on("c", Action::Resume));
            }
            2 if kind.words.starts_with("raid") => drop(set.world.say("c", "repair")),
            2 => {}
            _ => {
                // Nobody but raid knows which copy counts while they differ.
                if kind.words.starts_with("raid") && !kind.metas.is_empty() || set.is_equal() {
                    do_it(&set, || set.world.load("c", &table));
                }
                do_it(&set, || set.world.on_with("c", Action::Suspend, Flags::NOFLUSH));
                do_it(&set, || set.world.on("c", Action::Resume));
            }
        }
    }
    let hit = faults.hit();
    faults.fail_nth(0);
    set.again();
    set.wait_until_equal();
    model.check(0, &device.read(0, LENGTH).expect("a read"));
    write(&mut model, &device, 0, LENGTH, 99);
    device.flush().expect("a flush");
    model.check(0, &device.read(0, LENGTH).expect("a read"));
    set.remove(device);
    hit
}

/// Every call, or of `step` one, unless the tests may take long.
fn all(kind: &'static Kind, mode: fn(usize) -> Mode, step: u64) {
    let step = if cfg!(miri) {
        59
    } else if long() {
        1
    } else {
        step
    };
    let mut n = 1 + kind.words.len() as u64 % step;
    while live(kind, mode, n) {
        n += step;
        assert!(n < 2000, "no end of calls");
    }
    assert!(n > 20, "{}: only {n} calls", kind.name);
}

#[test]
fn a_set_outlives_every_call_that_fails_at_once() {
    KINDS.iter().for_each(|kind| all(kind, |_| Mode::Inline, 3));
}

#[test]
fn a_set_outlives_every_call_that_fails_later() {
    KINDS.iter().for_each(|kind| all(kind, |nr| Mode::Thread(nr as u64), 5));
}
