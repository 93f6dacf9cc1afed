//! What a platform asks the driver for: where minor numbers begin, and what happened at all.

use dm::driver::Driver;
use dm::targets::TARGETS;
use dm_protocol::{Action, DeviceName};
use dm_tests::World;

fn create(world: &World, name: &str, minor: Option<u32>) -> u32 {
    let name = DeviceName::new(name).expect("a name");
    let action = Action::Create { name, uuid: None, minor };
    world.on("", action).expect("a device").minor
}

#[test]
fn minors_begin_where_the_platform_says_and_clients_may_choose_lower_ones() {
    let world = World::with_driver(|| Driver::attach_from(TARGETS, 70));
    assert_eq!(create(&world, "a", None), 70);
    assert_eq!(create(&world, "b", Some(5)), 5);
    assert_eq!(create(&world, "c", None), 71);
    for name in ["a", "b"] {
        world.on(name, Action::Remove).expect("removed");
    }
    assert_eq!(create(&world, "d", None), 70);
    assert_eq!(create(&world, "e", None), 72, "5 was not ours to give again");
}

#[test]
fn the_drivers_event_moves_with_everything_that_comes_goes_or_changes() {
    let world = World::new();
    let events = world.driver().events();
    let mut seen = events.number();
    let mut moved = || {
        let before = std::mem::replace(&mut seen, events.number());
        events.number() != before
    };
    create(&world, "a", None);
    assert!(moved());
    world.on("a", Action::Info).expect("info");
    assert!(!moved());
    world.rename("a", "b").expect("renamed");
    assert!(moved());
    world.load("b", "0 8 zero").expect("loaded");
    assert!(!moved());
    world.on("b", Action::Remove).expect("removed");
    assert!(moved());
}
