//! Any sequence of commands, against a small model of what devices there are and how they are.
#![no_main]

use dm_protocol::{Action, Errno, Flags};
use dm_tests::{Device, World};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

/// A device of the model.
#[derive(Default)]
struct Known {
    live: Option<u64>,
    inactive: Option<u64>,
    suspended: bool,
    at_close: bool,
    open: Vec<Device>,
}

type Model = BTreeMap<&'static str, Known>;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn check(world: &World, model: &Model) {
    for name in NAMES {
        let info = world.on(name, Action::Info);
        let Some(known) = model.get(name) else {
            assert_eq!(info.expect_err("not there").errno, Errno::ENOENT);
            continue;
        };
        let info = info.expect("it is there");
        let flags = [
            (Flags::SUSPEND, known.suspended),
            (Flags::ACTIVE_PRESENT, known.live.is_some()),
            (Flags::INACTIVE_PRESENT, known.inactive.is_some()),
            (Flags::DEFERRED_REMOVE, known.at_close),
        ];
        for (flag, expected) in flags {
            assert_eq!(info.flags.contains(flag), expected, "{name}: {flag:?}");
        }
        assert_eq!(info.open_count as usize, known.open.len());
        assert_eq!(world.context.nodes()[&info.minor].size, known.live.unwrap_or(0));
    }
}

/// Removes a device if nobody has it open; says what the driver should say.
fn remove(model: &mut Model, name: &str, at_close: bool) -> Option<Errno> {
    let Some(known) = model.get_mut(name) else { return Some(Errno::ENOENT) };
    if known.open.is_empty() {
        model.remove(name);
        return None;
    }
    known.at_close |= at_close;
    if at_close { None } else { Some(Errno::EBUSY) }
}

fn rename(world: &World, model: &mut Model, name: &'static str, to: &'static str) {
    let renamed = world.rename(name, to).map_err(|why| why.errno);
    let expected = match (model.contains_key(name), model.contains_key(to)) {
        (false, _) => Err(Errno::ENOENT),
        (true, true) => Err(Errno::EEXIST),
        (true, false) => Ok(()),
    };
    assert_eq!(renamed.map(drop), expected);
    if expected.is_ok() {
        let known = model.remove(name).expect("just seen");
        model.insert(to, known);
    }
}

fn step(world: &World, model: &mut Model, code: u8) {
    let name = NAMES[usize::from(code % 3)];
    let act = |action| world.on(name, action).map(drop).map_err(|why| why.errno);
    let there = if model.contains_key(name) { Ok(()) } else { Err(Errno::ENOENT) };
    match code / 3 % 12 {
        0 => {
            let made = world.make(name).map(drop).map_err(|why| why.errno);
            let expected = if there.is_ok() { Err(Errno::EEXIST) } else { Ok(()) };
            assert_eq!(made, expected);
            model.entry(name).or_default();
        }
        1 => {
            let size = u64::from(code) + 1;
            let loaded = world.load(name, &format!("0 {size} zero"));
            assert_eq!(loaded.map(drop).map_err(|why| why.errno), there);
            model.entry(name).and_modify(|known| known.inactive = Some(size));
        }
        2 => {
            assert_eq!(act(Action::Resume), there);
            model.entry(name).and_modify(|known| {
                known.live = known.inactive.take().or(known.live);
                known.suspended = false;
            });
        }
        3 => {
            assert_eq!(act(Action::Suspend), there);
            model.entry(name).and_modify(|known| known.suspended = true);
        }
        4 => {
            assert_eq!(act(Action::Clear), there);
            model.entry(name).and_modify(|known| known.inactive = None);
        }
        5 => {
            let expected = remove(model, name, false);
            assert_eq!(act(Action::Remove).err(), expected);
        }
        6 => {
            let removed = world.on_with(name, Action::Remove, Flags::DEFERRED_REMOVE);
            let expected = remove(model, name, true);
            assert_eq!(removed.map_err(|why| why.errno).err(), expected);
        }
        7 if there.is_ok() => {
            let device = world.open(name);
            model.entry(name).and_modify(|known| known.open.push(device));
        }
        8 => {
            if let Some(known) = model.get_mut(name) {
                let closed = known.open.pop().is_some();
                if closed && known.open.is_empty() && known.at_close {
                    model.remove(name);
                }
            }
        }
        9 => rename(world, model, name, NAMES[usize::from(code / 36 % 3)]),
        10 => {
            let all = dm_protocol::Request::new(Action::RemoveAll);
            world.run(&all).expect("obeyed");
            model.retain(|_, known| !known.open.is_empty());
        }
        _ => {
            if let Some(known) = model.get(name).filter(|known| !known.suspended) {
                if let Some(device) = known.open.first() {
                    assert_eq!(device.read(0, 1).is_ok(), known.live.is_some());
                }
            }
        }
    }
}

fuzz_target!(|codes: &[u8]| {
    let world = World::new();
    let mut model = Model::new();
    for code in codes.iter().take(64) {
        step(&world, &mut model, *code);
        check(&world, &model);
    }
});
