//! Requests are decoded as they were encoded, and bad dictionaries are refused by name.

use dm_protocol::{
    Action, Change, Command, DeviceName, Dict, Errno, Failure, Flags, Geometry, Request, Sector,
    SegmentSpec, Selector, Uuid, VERSION, Value, key,
};

fn name(text: &str) -> DeviceName {
    DeviceName::new(text).expect("a name")
}

fn uuid(text: &str) -> Uuid {
    Uuid::new(text).expect("a uuid")
}

/// At least one of every action.
fn actions() -> Vec<Action> {
    let segments =
        vec![SegmentSpec::new(0, 8, "zero", ""), SegmentSpec::new(8, u64::MAX, "linear", "a 0")];
    vec![
        Action::Version,
        Action::Targets,
        Action::Names,
        Action::Info,
        Action::Mknodes,
        Action::Deps,
        Action::Status,
        Action::Table,
        Action::Create { name: name("a"), uuid: None, minor: None },
        Action::Create { name: name("a"), uuid: Some(uuid("U")), minor: Some(7) },
        Action::Reload { table: Vec::new(), dry_run: false },
        Action::Reload { table: segments, dry_run: true },
        Action::Resume,
        Action::Suspend,
        Action::Clear,
        Action::Remove,
        Action::RemoveAll,
        Action::Rename(Change::Name(name("b"))),
        Action::Rename(Change::Uuid(uuid("V"))),
        Action::WaitEvent { event_nr: 3, timeout_ms: None },
        Action::WaitEvent { event_nr: u32::MAX, timeout_ms: Some(u64::MAX) },
        Action::Message { sector: Sector(u64::MAX), text: String::from("say <this>").into() },
        Action::SetGeometry(Geometry {
            cylinders: 65_535,
            heads: 255,
            sectors: 255,
            start: Sector(1),
        }),
        Action::TargetVersion { target: "linear".into() },
    ]
}

#[test]
fn every_action_is_decoded_as_it_was_encoded() {
    for action in actions() {
        let command = action.command();
        let dict = Request::new(action.clone()).encode();
        assert_eq!(Request::command(&dict), Ok(command));
        let decoded = Request::decode(&dict).unwrap_or_else(|why| panic!("{action:?}: {why}"));
        assert_eq!(decoded.action, action);
        assert_eq!(decoded.version, VERSION);
        assert_eq!(Request::decode(&decoded.encode()), Ok(decoded));
    }
    for command in Command::ALL {
        assert!(actions().iter().any(|a| a.command() == *command), "no action of {command:?}");
    }
}

#[test]
fn selector_and_flags_travel_with_every_action() {
    let device = Selector { minor: Some(9), name: Some("a b".into()), uuid: Some("U".into()) };
    let flags = Flags::EXISTS | Flags::NOFLUSH | Flags::SECURE_DATA | Flags::DEFERRED_REMOVE;
    for action in actions() {
        // These put their own name where the device's stands.
        if matches!(action, Action::Create { .. } | Action::TargetVersion { .. }) {
            continue;
        }
        let request = Request { device: device.clone(), flags, ..Request::new(action) };
        let decoded = Request::decode(&request.encode()).expect("decoded");
        assert_eq!(decoded.device, device);
        assert!(decoded.flags.contains(flags));
    }
}

#[test]
fn flags_that_an_action_needs_are_set() {
    let flags = |action| Request::new(action).encode().number32(key::FLAGS);
    let bits = |flags: Flags| Ok(Some((flags | Flags::EXISTS).bits()));
    assert_eq!(flags(Action::Suspend), bits(Flags::SUSPEND));
    assert_eq!(flags(Action::Table), bits(Flags::STATUS_TABLE));
    assert_eq!(flags(Action::Rename(Change::Uuid(uuid("U")))), bits(Flags::UUID));
    assert_eq!(flags(Action::Resume), bits(Flags::empty()));
}

/// A request for `command` with these keys besides.
fn request(command: &str, keys: &[(&'static str, Value)]) -> Dict {
    let mut dict = Dict::new();
    dict.set(key::COMMAND, command);
    dict.set(key::VERSION, VERSION);
    dict.set(key::NAME, "a");
    keys.iter().for_each(|(key, value)| dict.set(*key, value.clone()));
    dict
}

fn refusal(dict: &Dict) -> Failure {
    Request::decode(dict).expect_err("refused")
}

#[test]
fn what_a_stock_client_sends_is_understood() {
    let mut dict = Dict::new();
    dict.set(key::COMMAND, "info");
    dict.set(key::VERSION, [4, 0, 0]);
    dict.set(key::NAME, "");
    dict.set(key::UUID, "");
    dict.set(key::FLAGS, u32::MAX);
    dict.set(key::DATA, Vec::new());
    dict.set("unheard-of", true);
    let request = Request::decode(&dict).expect("decoded");
    assert_eq!((request.action, request.version), (Action::Info, [4, 0, 0]));
    assert_eq!(request.device, Selector::default());
    dict.remove(key::VERSION);
    dict.remove(key::FLAGS);
    assert_eq!(Request::decode(&dict).expect("decoded").version, [4, 0, 0]);
}

#[test]
fn a_command_says_what_its_flag_would() {
    for (command, flag) in [("suspend", Flags::SUSPEND), ("table", Flags::STATUS_TABLE)] {
        let without = Request::decode(&request(command, &[])).expect("decoded");
        assert_eq!(without.flags, flag);
        assert_eq!(Request::decode(&without.encode()), Ok(without));
    }
}

#[test]
fn versions_beyond_ours_are_refused() {
    for (version, spoken) in [
        ([4, 0, 0], true),
        ([4, VERSION[1], 99], true),
        ([4, VERSION[1] + 1, 0], false),
        ([3, 0, 0], false),
        ([5, 0, 0], false),
    ] {
        let dict = request("info", &[(key::VERSION, version.into())]);
        assert_eq!(Request::decode(&dict).is_ok(), spoken, "{version:?}");
        if !spoken {
            assert_eq!(refusal(&dict).errno, Errno::EIO);
        }
    }
}

#[test]
fn a_bad_value_is_named_by_its_key() {
    let text = || Value::from("x");
    let number = || Value::from(1_u64);
    for (command, key, value) in [
        ("info", key::NAME, number()),
        ("info", key::UUID, Value::Data(vec![1])),
        ("info", key::MINOR, text()),
        ("info", key::MINOR, (1_u64 << 32).into()),
        ("info", key::MINOR, Value::from(-1_i64)),
        ("info", key::FLAGS, text()),
        ("info", key::VERSION, number()),
        ("info", key::VERSION, Value::Array(vec![number(), number()])),
        ("info", key::VERSION, Value::Array(vec![number(), number(), text()])),
        ("info", key::COMMAND, number()),
        ("reload", key::DATA, text()),
        ("reload", key::DRY_RUN, number()),
        ("rename", key::DATA, number()),
        ("rename", key::DATA, Value::Array(vec![number()])),
        ("waitevent", key::EVENT_NR, text()),
        ("waitevent", key::TIMEOUT, text()),
        ("message", key::MESSAGE, number()),
        ("message", key::SECTOR, text()),
    ] {
        let mut keys = vec![(key, value)];
        if command == "reload" && key != key::DATA {
            keys.push((key::DATA, Vec::new().into()));
        }
        let failure = refusal(&request(command, &keys));
        assert_eq!(failure.errno, Errno::EINVAL, "{command} {key}");
        assert!(failure.message.contains(&format!("\"{key}\"")), "{command} {key}: {failure}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut nameless = request("create", &[]);
    nameless.remove(key::NAME);
    let mut unnamed_target = request("target_version", &[]);
    unnamed_target.remove(key::NAME);
    let persistent = (key::FLAGS, Flags::PERSISTENT_DEV.bits().into());
    for (dict, key) in [
        (Dict::new(), key::COMMAND),
        (nameless, key::NAME),
        (unnamed_target, key::NAME),
        (request("create", &[persistent]), key::MINOR),
        (request("reload", &[]), key::DATA),
        (request("message", &[]), key::MESSAGE),
        (request("setgeometry", &[]), key::CYLINDERS),
    ] {
        let failure = refusal(&dict);
        assert_eq!(failure, Failure::new(Errno::EINVAL, format!("\"{key}\" is missing")));
    }
    let failure = refusal(&request("rename", &[]));
    assert_eq!(failure, Failure::new(Errno::EINVAL, "the new name is missing"));
}

#[test]
fn a_bad_segment_is_named_by_its_number() {
    let segment = |keys: &[(&'static str, Value)]| {
        let mut dict = Dict::new();
        keys.iter().for_each(|(key, value)| dict.set(*key, value.clone()));
        Value::Dict(dict)
    };
    let good = [
        (key::START, Value::from(0_u64)),
        (key::LENGTH, Value::from(8_u64)),
        (key::TYPE, Value::from("zero")),
    ];
    let with = |changed: &'static str, value: Option<Value>| {
        let mut keys: Vec<_> = good.iter().filter(|(key, _)| *key != changed).cloned().collect();
        keys.extend(value.map(|value| (changed, value)));
        segment(&keys)
    };
    for (bad, reason) in [
        (Value::from(1_u64), "not a dictionary"),
        (with(key::START, None), "\"start\" is missing"),
        (with(key::LENGTH, None), "\"length\" is missing"),
        (with(key::TYPE, None), "\"type\" is missing"),
        (with(key::START, Some("0".into())), "\"start\" is not a number"),
        (with(key::START, Some(Value::from(-1_i64))), "\"start\" is not a number"),
        (with(key::TYPE, Some("".into())), "unknown target \"\""),
        (with(key::TYPE, Some("sixteen-letters-".into())), "unknown target"),
        (with(key::PARAMS, Some(1_u64.into())), "\"params\" is not text"),
    ] {
        let data = Value::Array(vec![segment(&good), bad]);
        let failure = refusal(&request("reload", &[(key::DATA, data)]));
        assert_eq!(failure.errno, Errno::EINVAL);
        assert!(failure.message.starts_with(&format!("segment 1: {reason}")), "{failure}");
    }
}

#[test]
fn geometry_is_bounded() {
    let geometry = |cylinders: u64, heads: u64, sectors: u64| {
        request(
            "setgeometry",
            &[
                (key::CYLINDERS, cylinders.into()),
                (key::HEADS, heads.into()),
                (key::SECTORS, sectors.into()),
                (key::START, u64::MAX.into()),
            ],
        )
    };
    assert!(Request::decode(&geometry(65_535, 255, 255)).is_ok());
    for dict in [geometry(65_536, 1, 1), geometry(1, 256, 1), geometry(1, 1, 256)] {
        assert_eq!(refusal(&dict).errno, Errno::EINVAL);
    }
}

#[test]
fn names_and_uuids_are_checked() {
    let long = |length| "n".repeat(length);
    for (text, errno) in [
        (long(127), None),
        (long(128), Some(Errno::ENAMETOOLONG)),
        (String::new(), Some(Errno::EINVAL)),
        ("a/b".into(), Some(Errno::EINVAL)),
        ("a\nb".into(), Some(Errno::EINVAL)),
        (".".into(), Some(Errno::EINVAL)),
        ("..".into(), Some(Errno::EINVAL)),
        ("control".into(), Some(Errno::EINVAL)),
        ("controls".into(), None),
        ("a b".into(), None),
    ] {
        assert_eq!(DeviceName::new(text.as_str()).err().map(|f| f.errno), errno, "{text:?}");
    }
    assert!(Uuid::new(long(128)).is_ok());
    assert_eq!(Uuid::new(long(129)).expect_err("long").errno, Errno::ENAMETOOLONG);
    assert!(Uuid::new("control").is_ok());
    let dict = request("rename", &[(key::DATA, Value::Array(vec!["x/y".into()]))]);
    assert!(refusal(&dict).message.contains('/'));
}

#[test]
fn unknown_commands_are_refused_by_name() {
    let failure = refusal(&request("no\nsuch", &[]));
    assert_eq!(failure, Failure::new(Errno::EINVAL, "unknown command \"no\\nsuch\""));
    for command in Command::ALL {
        assert_eq!(Command::from_name(command.name()), Some(*command));
    }
}
