//! Commands through dictionaries, as unmodified clients and as ours send them.

use dm::command::Caller;
use dm_protocol::{
    Action, Change, Command, DeviceName, Dict, Errno, Flags, Geometry, Privilege, Reply, ReplyBody,
    Request, Sector, Selector, Uuid, Value, key,
};
use dm_tests::snapshot::everything;
use dm_tests::wire::{errno, exists, number, stock, stock_on, stock_reload, text};
use dm_tests::{SYS, World};

/// A world with a disk and a device `d` with a live and an inactive table.
fn setup() -> (World, String) {
    let world = World::new();
    let disk = world.disk(64).name();
    world.try_create("d", &format!("0 8 linear {disk} 0\n8 8 zero")).expect("a device");
    world.load("d", "0 16 zero").expect("an inactive table");
    (world, disk)
}

fn code(failure: Errno) -> u64 {
    failure.number() as u64
}

#[test]
fn every_reply_holds_every_field() {
    let (world, _) = setup();
    for command in Command::ALL {
        for version in [[4, 0, 0], [4, 17, 0]] {
            for name in ["d", "nosuch"] {
                let mut dict = stock_on(command.name(), name);
                dict.set(key::VERSION, version);
                dict.set(key::TIMEOUT, 1_u32);
                dict.set(key::MESSAGE, "");
                let reply = world.ask(&SYS, dict);
                for key in [
                    key::FLAGS,
                    key::OPEN_COUNT,
                    key::TARGET_COUNT,
                    key::EVENT_NR,
                    key::MINOR,
                    key::MAJOR,
                ] {
                    let _ = number(&reply, key);
                }
                let _ = text(&reply, key::NAME);
                let _ = text(&reply, key::UUID);
                let spoken = if version[1] == 17 { [4, 17, 0] } else { [4, 16, 0] };
                assert_eq!(reply.version(key::VERSION), Ok(Some(spoken)));
                assert_eq!(text(&reply, key::COMMAND), command.name(), "what was sent stays");
            }
        }
    }
}

#[test]
fn a_stock_client_creates_asks_and_removes() {
    let world = World::new();
    let disk = world.disk(64);
    let made = world.ask(&SYS, stock_on("create", "lin0"));
    assert!(exists(&made) && errno(&made) == 0);
    let minor = number(&made, key::MINOR);
    world.ask(&SYS, stock_reload("lin0", &format!("0 8 linear {} 4", disk.name())));
    let mut resume = stock_reload("lin0", &format!("0 8 linear {} 4", disk.name()));
    resume.set(key::COMMAND, "resume");
    assert_eq!(errno(&world.ask(&SYS, resume)), 0, "with the table once more, as they do");
    // libdevmapper asks by minor, with PERSISTENT_DEV.
    let mut table = stock("table");
    table.set(key::FLAGS, 0x1c_u32);
    table.set(key::MINOR, minor);
    let reply = Reply::decode(&world.ask(&SYS, table)).expect("a reply");
    assert_eq!((reply.name.as_str(), reply.target_count, reply.open_count), ("lin0", 1, 0));
    let ReplyBody::Segments(segments) = reply.body else { panic!("no segments") };
    assert_eq!(*segments[0].params, format!("{} 4", disk.devno()));
    let mut remove = stock("remove");
    remove.set(key::FLAGS, 0xc_u32);
    remove.set(key::MINOR, minor);
    assert_eq!(errno(&world.ask(&SYS, remove)), 0);
    let gone = world.ask(&SYS, stock_on("info", "lin0"));
    assert!(!exists(&gone), "which is all that a stock client learns");
    assert_eq!(errno(&gone), code(Errno::ENOENT));
}

#[test]
fn a_stock_client_that_was_refused_a_name_does_not_touch_its_owner() {
    let (world, disk) = setup();
    world.on("d", Action::Clear).expect("cleared");
    let before = everything(&world);
    let refused = world.ask(&SYS, stock_on("create", "d"));
    assert_eq!(errno(&refused), code(Errno::EEXIST));
    for dict in [
        stock_reload("d", &format!("0 8 linear {disk} 8")),
        stock_on("resume", "d"),
        stock_on("clear", "d"),
        stock_on("remove", "d"),
    ] {
        assert_eq!(errno(&world.ask(&SYS, dict)), code(Errno::EEXIST));
    }
    assert_eq!(everything(&world), before);
    let other = Caller { privileged: true, client: 2 };
    let reply = world.ask(&other, stock_on("resume", "d"));
    assert_eq!(errno(&reply), 0, "other clients may");
    world.context.skip(std::time::Duration::from_secs(31));
    let reply = world.ask(&SYS, stock_on("resume", "d"));
    assert_eq!(errno(&reply), 0, "later the number may be another client's");
}

#[test]
fn a_refused_uuid_gives_a_stock_client_no_minor_of_a_device() {
    let (world, _) = setup();
    let uuid = Uuid::new("U").expect("a uuid");
    world.on("d", Action::Rename(Change::Uuid(uuid))).expect("a uuid");
    let mut dict = stock_on("create", "other");
    dict.set(key::UUID, "U");
    let reply = world.ask(&SYS, dict);
    assert_eq!(errno(&reply), code(Errno::EEXIST));
    assert!(!exists(&reply));
    assert!(number(&reply, key::MINOR) > 1000, "nodes made of it reach nothing");
}

#[test]
fn only_the_superuser_changes_things() {
    let (world, _) = setup();
    let user = Caller { privileged: false, client: 7 };
    let before = everything(&world);
    for command in Command::ALL {
        let reply = world.ask(&user, stock_on(command.name(), "d"));
        let refused = errno(&reply) == code(Errno::EPERM);
        assert_eq!(refused, command.privilege() == Privilege::Superuser, "{command:?}");
    }
    assert_eq!(everything(&world), before);
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let (world, _) = setup();
    let before = everything(&world);
    let with = |command: &str, key: &'static str, value: Value| {
        let mut dict = stock_on(command, "d");
        dict.set(key, value);
        dict
    };
    let list = |text: &str| Value::Array(vec![text.into()]);
    let long = "n".repeat(128);
    let cases = [
        (Dict::new(), Errno::EINVAL),
        (stock("nonsense"), Errno::EINVAL),
        (with("info", key::COMMAND, Value::Bool(true)), Errno::EINVAL),
        (with("info", key::VERSION, list("4")), Errno::EINVAL),
        (with("info", key::VERSION, [3_u32, 0, 0].into()), Errno::EIO),
        (with("info", key::VERSION, [4_u32, 18, 0].into()), Errno::EIO),
        (with("info", key::FLAGS, "x".into()), Errno::EINVAL),
        (with("info", key::MINOR, Value::Signed(-1)), Errno::EINVAL),
        (with("reload", key::DATA, list("x")), Errno::EINVAL),
        (with("reload", key::DATA, Value::Array(Vec::new())), Errno::EINVAL),
        (with("reload", key::DATA, Value::Array(vec![Dict::new().into()])), Errno::EINVAL),
        (with("reload", key::DRY_RUN, "yes".into()), Errno::EINVAL),
        (stock_on("rename", "d"), Errno::EINVAL),
        (with("rename", key::DATA, list("")), Errno::EINVAL),
        (with("rename", key::DATA, list("a/b")), Errno::EINVAL),
        (with("rename", key::DATA, list(&long)), Errno::ENAMETOOLONG),
        (with("rename", key::DATA, list("d")), Errno::EEXIST),
        (stock("create"), Errno::EINVAL),
        (stock_on("create", ""), Errno::EINVAL),
        (stock_on("create", ".."), Errno::EINVAL),
        (stock_on("create", "control"), Errno::EINVAL),
        (stock_on("create", "a\u{7}b"), Errno::EINVAL),
        (stock_on("create", &long), Errno::ENAMETOOLONG),
        (stock_on("message", "d"), Errno::EINVAL),
        (stock_on("setgeometry", "d"), Errno::EINVAL),
        (stock_on("target_version", "nosuch"), Errno::EINVAL),
        (stock("info"), Errno::ENOENT),
    ];
    for (dict, expected) in cases {
        let reply = world.ask(&SYS, dict.clone());
        assert_eq!(errno(&reply), code(expected), "{dict:?}: {reply:?}");
        assert!(!text(&reply, key::ERROR).is_empty(), "{dict:?} has no sentence");
        assert_eq!(everything(&world), before, "{dict:?}");
    }
}

#[test]
fn a_device_is_meant_by_minor_then_name_then_uuid() {
    let world = World::new();
    let uuid = Some(Uuid::new("U-b").expect("a uuid"));
    let name = DeviceName::new("b").expect("a name");
    world.make("a").expect("a device");
    world.run(&Request::new(Action::Create { name, uuid, minor: None })).expect("a device");
    let info = |minor: Option<u32>, name: Option<&str>, uuid: Option<&str>| {
        let (name, uuid) = (name.map(Into::into), uuid.map(Into::into));
        let device = Selector { minor, name, uuid };
        let reply = world.run(&Request { device, ..Request::new(Action::Info) });
        reply.map(|reply| reply.name).map_err(|failure| failure.errno)
    };
    assert_eq!(info(Some(1), Some("b"), Some("U-b")), Ok("a".into()));
    assert_eq!(info(Some(9), Some("b"), None), Ok("b".into()));
    assert_eq!(info(None, Some("x"), Some("U-b")), Ok("b".into()));
    assert_eq!(info(None, None, None), Err(Errno::ENOENT));
    assert_eq!(info(Some(0), None, None), Err(Errno::ENOENT));
    assert_eq!(info(None, Some(&"x".repeat(5000)), None), Err(Errno::ENOENT));
}

#[test]
fn minors_are_chosen_kept_and_used_again() {
    let world = World::new();
    let create = |name: &str, minor: Option<u32>| {
        let name = DeviceName::new(name).expect("a name");
        let made = world.run(&Request::new(Action::Create { name, uuid: None, minor }));
        made.map(|reply| reply.minor).map_err(|failure| failure.errno)
    };
    assert_eq!(create("a", None), Ok(1));
    assert_eq!(create("b", Some(3)), Ok(3));
    assert_eq!(create("c", None), Ok(2));
    assert_eq!(create("d", None), Ok(4));
    assert_eq!(create("e", Some(3)), Err(Errno::EBUSY));
    assert_eq!(create("e", Some(0)), Err(Errno::EINVAL), "that is the control node");
    assert_eq!(create("e", Some(1 << 20)), Err(Errno::EINVAL));
    assert_eq!(create("e", Some((1 << 20) - 1)), Ok((1 << 20) - 1));
    world.on("a", Action::Remove).expect("removed");
    assert_eq!(create("f", None), Ok(1));
    let mut dict = stock_on("create", "g");
    dict.set(key::FLAGS, 0xc_u32);
    assert_eq!(errno(&world.ask(&SYS, dict)), code(Errno::EINVAL), "persistent, but no minor");
}

#[test]
fn a_rename_is_all_or_nothing() {
    let (world, _) = setup();
    world.make("other").expect("a device");
    let before = everything(&world);
    assert_eq!(world.rename("d", "other").expect_err("taken").errno, Errno::EEXIST);
    assert_eq!(world.rename("nosuch", "x").expect_err("missing").errno, Errno::ENOENT);
    assert_eq!(everything(&world), before);
    let minor = world.on("d", Action::Info).expect("info").minor;
    let reply = world.rename("d", "e").expect("a new name");
    assert_eq!((reply.name.as_str(), reply.minor), ("e", minor));
    assert_eq!(world.context.nodes()[&minor].name, "e");
    assert!(world.on("d", Action::Info).is_err());
    world.make("d").expect("the old name is free");
    let uuid = |text: &str| Action::Rename(Change::Uuid(Uuid::new(text).expect("a uuid")));
    let reply = world.on("e", uuid("U")).expect("a uuid");
    assert_eq!(reply.uuid, "U");
    assert_eq!(world.on("e", uuid("V")).expect_err("has one").errno, Errno::EINVAL);
    assert_eq!(world.on("d", uuid("U")).expect_err("taken").errno, Errno::EEXIST);
    world.on("e", Action::Remove).expect("removed");
    world.on("d", uuid("U")).expect("the uuid is free again");
}

#[test]
fn a_dry_run_checks_everything_and_changes_nothing() {
    let (world, disk) = setup();
    let before = everything(&world);
    let table = |text: String| Action::Reload { table: dm_tests::specs(&text), dry_run: true };
    world.on("d", table(format!("0 8 linear {disk} 0"))).expect("it would load");
    let failure = world.on("d", table(format!("0 8 linear {disk} 60"))).expect_err("beyond");
    assert_eq!(failure.errno, Errno::EINVAL);
    let failure = world.on("d", table("0 16 linear /dev/mapper/d 0".into())).expect_err("itself");
    assert_eq!(failure.errno, Errno::ELOOP);
    assert_eq!(everything(&world), before);
}

#[test]
fn an_open_device_is_removed_at_its_last_close_if_asked() {
    let (world, _) = setup();
    let device = world.open("d");
    assert_eq!(world.on("d", Action::Remove).expect_err("open").errno, Errno::EBUSY);
    let reply = world.on_with("d", Action::Remove, Flags::DEFERRED_REMOVE).expect("deferred");
    assert!(reply.flags.contains(Flags::DEFERRED_REMOVE | Flags::EXISTS));
    let cancel =
        Action::Message { sector: Sector(0), text: String::from("@cancel_deferred_remove").into() };
    let reply = world.on("d", cancel).expect("cancelled");
    assert!(!reply.flags.contains(Flags::DEFERRED_REMOVE));
    let second = world.open("d");
    world.on_with("d", Action::Remove, Flags::DEFERRED_REMOVE).expect("deferred");
    drop(device);
    world.on("d", Action::Info).expect("one has it open");
    drop(second);
    assert_eq!(world.on("d", Action::Info).expect_err("gone").errno, Errno::ENOENT);
    assert!(world.context.nodes().is_empty());
}

#[test]
fn remove_all_takes_what_is_not_open_from_top_to_bottom() {
    let (world, _) = setup();
    for nr in 0..6 {
        let below = if nr == 0 { "d".to_owned() } else { format!("s{}", nr - 1) };
        let table = format!("0 16 linear /dev/mapper/{below} 0");
        world.try_create(&format!("s{nr}"), &table).expect("a layer");
    }
    let held = world.open("s2");
    world.run(&Request::new(Action::RemoveAll)).expect("obeyed");
    let left: Vec<_> = world.context.nodes().values().map(|node| node.name.clone()).collect();
    assert_eq!(left, ["d", "s0", "s1", "s2"]);
    let all = Request::new(Action::RemoveAll);
    world.run(&Request { flags: Flags::DEFERRED_REMOVE, ..all }).expect("obeyed");
    drop(held);
    assert!(world.context.nodes().is_empty(), "{:?}", world.context.nodes());
}

#[test]
fn waiting_for_an_event_ends_with_it_with_time_and_with_the_device() {
    let (world, _) = setup();
    let world = std::sync::Arc::new(world);
    let wait = |event_nr, timeout_ms| Action::WaitEvent { event_nr, timeout_ms };
    let now = world.on("d", Action::Info).expect("info").event_nr;
    let past = world.on("d", wait(now.wrapping_sub(1), None)).expect("it is past");
    assert_eq!(past.event_nr, now);
    let late = world.on("d", wait(now, Some(10))).expect_err("nothing happens");
    assert_eq!(late.errno, Errno::ETIMEDOUT);
    let device = Selector { minor: Some(past.minor), ..Selector::default() };
    let request = Request { device, ..Request::new(wait(now, None)) };
    let waiter = world.spawn(move |world| world.run(&request));
    world.rename("d", "e").expect("an event");
    let moved = waiter.join().expect("no surprise").expect("an event");
    assert_eq!(moved.event_nr, now + 1);
    let waiter = world.spawn(move |world| world.on("e", wait(now + 1, None)).map(drop));
    std::thread::sleep(std::time::Duration::from_millis(10));
    world.on("e", Action::Remove).expect("removed");
    let ended = waiter.join().expect("no surprise").expect_err("gone");
    assert_eq!(ended.errno, Errno::ENOENT);
}

#[test]
fn a_wait_that_is_given_up_ends() {
    let (world, _) = setup();
    world.context.interrupt(true);
    let wait = Action::WaitEvent { event_nr: 0, timeout_ms: None };
    let now = world.on("d", Action::Info).expect("info").event_nr;
    let wait = match wait {
        Action::WaitEvent { timeout_ms, .. } => Action::WaitEvent { event_nr: now, timeout_ms },
        other => other,
    };
    assert_eq!(world.on("d", wait).expect_err("given up").errno, Errno::EINTR);
    world.context.interrupt(false);
}

#[test]
fn a_message_needs_a_target_that_understands_it() {
    let (world, _) = setup();
    let say = |sector: u64, text: &str| {
        let action = Action::Message { sector: Sector(sector), text: text.to_owned().into() };
        world.on("d", action).map_err(|failure| (failure.errno, failure.message))
    };
    let refused = (Errno::EINVAL, "linear: this target takes no messages".to_owned());
    assert_eq!(say(0, "hello").map(drop), Err(refused));
    let (errno, message) = say(16, "hello").expect_err("beyond");
    assert_eq!((errno, message.as_str()), (Errno::EINVAL, "sector 16 is beyond the table, 16"));
    assert_eq!(say(0, "@nonsense now").expect_err("unknown").0, Errno::EINVAL);
    world.make("empty").expect("a device");
    let action = Action::Message { sector: Sector(0), text: String::from("x").into() };
    assert_eq!(world.on("empty", action).expect_err("no table").errno, Errno::ENXIO);
}

#[test]
fn a_geometry_is_checked_kept_and_forgotten_with_another_size() {
    let (world, disk) = setup();
    world.on("d", Action::Clear).expect("cleared");
    let geometry = Geometry { cylinders: 2, heads: 2, sectors: 4, start: Sector(16) };
    let set = |geometry| world.on("d", Action::SetGeometry(geometry)).map_err(|why| why.errno);
    let shown = || world.open("d").opened().geometry();
    set(geometry).expect("it fits");
    assert_eq!(set(Geometry { start: Sector(17), ..geometry }).map(drop), Err(Errno::EINVAL));
    assert_eq!(shown(), Some(geometry));
    let told = || world.context.nodes().values().find_map(|node| node.geometry);
    assert_eq!(told(), Some(geometry), "the platform knows at once");
    world.load("d", &format!("0 16 linear {disk} 0")).expect("the same size");
    world.on("d", Action::Resume).expect("resumed");
    assert_eq!(shown(), Some(geometry));
    world.load("d", &format!("0 17 linear {disk} 0")).expect("another size");
    world.on("d", Action::Resume).expect("resumed");
    assert_eq!((shown(), told()), (None, None));
}

#[test]
fn what_is_read_only_says_so_and_refuses_writes() {
    let (world, disk) = setup();
    let readonly = Flags::READONLY | Flags::EXISTS;
    let name = DeviceName::new("ro").expect("a name");
    let create = Action::Create { name, uuid: None, minor: None };
    world.run(&Request { flags: readonly, ..Request::new(create) }).expect("a device");
    world.load("ro", &format!("0 8 linear {disk} 0")).expect("loaded");
    let reply = world.on("ro", Action::Resume).expect("resumed");
    assert!(reply.flags.contains(Flags::READONLY));
    assert_eq!(world.driver().open(reply.minor, true).map(drop), Err(Errno::EROFS));
    world.driver().open(reply.minor, false).map(drop).expect("for reading");
    let device = world.open("d");
    device.write(0, &[1; 512]).expect("writable");
    let table = dm_tests::specs(&format!("0 16 linear {disk} 0"));
    let load = Action::Reload { table, dry_run: false };
    world.on_with("d", load, readonly).expect("a table for reading");
    assert!(world.on("d", Action::Resume).expect("resumed").flags.contains(Flags::READONLY));
    assert_eq!(device.write(0, &[1; 512]), Err(Errno::EROFS));
    device.read(0, 16).expect("a read");
}

#[test]
fn a_table_for_writing_may_lie_above_what_is_read_only_and_its_writes_are_refused() {
    let (world, disk) = setup();
    let load = |flags| {
        let table = dm_tests::specs(&format!("0 8 linear {disk} 0"));
        world.on_with("d", Action::Reload { table, dry_run: false }, flags).expect("loaded");
        world.on("d", Action::Resume).expect("resumed")
    };
    load(Flags::READONLY | Flags::EXISTS);
    let above = world.create("above", "0 8 linear /dev/mapper/d 0");
    assert_eq!(above.write(0, &[1; 512]), Err(Errno::EROFS));
    assert_eq!(above.read(0, 1).expect("a read"), [0; 512]);
    assert!(!load(Flags::EXISTS).flags.contains(Flags::READONLY));
    above.write(0, &[1; 512]).expect("written");
    assert_eq!(above.read(0, 1).expect("a read"), [1; 512]);
}
