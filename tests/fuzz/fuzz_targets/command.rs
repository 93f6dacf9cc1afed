//! Any dictionary is obeyed or refused, with every field in the reply; a refused one changes
//! nothing.
#![no_main]

use dm_plist::from_any;
use dm_protocol::{Reply, key};
use dm_tests::snapshot::everything;
use dm_tests::{SYS, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok((mut dict, _)) = from_any(text) else { return };
    let world = World::new();
    world.context.interrupt(true);
    world.try_create("d", "0 8 zero\n8 8 error").expect("a device");
    world.load("d", "0 16 zero").expect("loaded");
    // What is asked about a device is asked about this one, unless it names another.
    if dict.get(key::NAME).is_none() {
        dict.set(key::NAME, "d");
    }
    let before = everything(&world);
    let reply = world.ask(&SYS, dict);
    for key in [key::FLAGS, key::OPEN_COUNT, key::TARGET_COUNT, key::EVENT_NR, key::MINOR] {
        assert!(reply.number32(key).expect("a number").is_some());
    }
    if Reply::decode(&reply).is_ok_and(|reply| reply.failure.is_some()) {
        assert_eq!(everything(&world), before);
    }
});
