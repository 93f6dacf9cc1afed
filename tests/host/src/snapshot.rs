//! Everything that can be seen of a driver, to compare before and after.

use crate::world::{SYS, World};
use dm_protocol::{Action, Errno, Flags, Reply, ReplyBody, Request, Selector};

/// Everything that can be seen: the list of devices, and of each its state, both tables, its
/// dependencies and its node.
#[must_use]
pub fn everything(world: &World) -> Vec<String> {
    let ask = |minor: Option<u32>, action: Action, flags: Flags| {
        let device = Selector { minor, ..Selector::default() };
        let request = Request { flags, device, ..Request::new(action) };
        world.driver().run(&SYS, &request)
    };
    let names = ask(None, Action::Names, Flags::EXISTS);
    let mut seen = vec![format!("{names:?}"), format!("{:?}", *world.context.nodes())];
    for minor in minors(&names) {
        let minor = Some(minor);
        for flags in [Flags::EXISTS, Flags::EXISTS | Flags::QUERY_INACTIVE_TABLE] {
            for action in [Action::Info, Action::Table, Action::Status, Action::Deps] {
                seen.push(format!("{:?}", ask(minor, action, flags)));
            }
        }
    }
    seen
}

fn minors(names: &Reply) -> Vec<u32> {
    match &names.body {
        ReplyBody::Names(names) => names.iter().map(|entry| entry.minor).collect(),
        other => panic!("names answered {other:?}"),
    }
}

/// The lines of a device's table, or with `status` of its state, as `dmsetup` prints them.
#[must_use]
pub fn lines(world: &World, name: &str, status: bool) -> Vec<String> {
    let action = if status { Action::Status } else { Action::Table };
    let reply = world.on(name, action).expect("the device is there");
    let ReplyBody::Segments(segments) = reply.body else { panic!("not segments") };
    let line = |segment: &dm_protocol::SegmentStatus| {
        let params = segment.params.as_str();
        format!("{} {} {} {params}", segment.start, segment.length, segment.target)
    };
    segments.iter().map(line).collect()
}

/// A table is refused for this reason, with EINVAL unless a disk is missing, and all is as before.
pub fn refuses(world: &World, table: &str, why: &str) {
    let before = everything(world);
    let failure = world.try_create("refused", table).expect_err(table);
    assert!(failure.message.contains(why), "{table}: {}", failure.message);
    let missing = why.contains("there is no disk");
    assert_eq!(failure.errno, if missing { Errno::ENOENT } else { Errno::EINVAL }, "{table}");
    assert_eq!(everything(world), before, "{table}");
}
