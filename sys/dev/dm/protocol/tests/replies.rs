//! Replies are decoded as they were encoded; what a stock driver answers is understood.

use dm_protocol::{
    Action, Dependency, DevNo, Dict, Errno, Failure, Flags, NameEntry, Reply, ReplyBody, Request,
    STOCK_VERSION, Sector, Sectors, SegmentStatus, TargetVersion, VERSION, Value, key,
};

/// Every kind of body, with a command whose answer it is.
fn bodies() -> Vec<(Action, ReplyBody)> {
    let segment = SegmentStatus {
        start: Sector(8),
        length: Sectors(u64::MAX),
        target: "linear".into(),
        params: "253:1 0".to_owned().into(),
    };
    let target = TargetVersion { name: "linear".into(), version: [1, 2, 3] };
    let entry = NameEntry { name: "a".into(), minor: 7, event_nr: 2, uuid: "U".into() };
    let dep = |minor, name: &str| Dependency {
        devno: DevNo { major: 4095, minor },
        name: String::from(name),
    };
    let text = String::new().into();
    vec![
        (Action::Info, ReplyBody::None),
        (Action::Targets, ReplyBody::Targets(vec![target.clone(), target.clone()])),
        (Action::TargetVersion { target: "linear".into() }, ReplyBody::Targets(vec![target])),
        (Action::Names, ReplyBody::Names(vec![entry])),
        (Action::Names, ReplyBody::Names(Vec::new())),
        (Action::Status, ReplyBody::Segments(vec![segment.clone()])),
        (Action::Table, ReplyBody::Segments(vec![segment.clone(), segment])),
        (Action::Deps, ReplyBody::Deps(vec![dep(DevNo::MINOR_MAX, "/dev/wd1d"), dep(0, "")])),
        (Action::Message { sector: Sector(0), text }, ReplyBody::Answer("one\ntwo".into())),
    ]
}

fn reply(body: ReplyBody) -> Reply {
    Reply {
        flags: Flags::EXISTS | Flags::ACTIVE_PRESENT | Flags::READONLY,
        open_count: 1,
        target_count: 2,
        event_nr: 3,
        major: 169,
        minor: 4,
        name: "a".into(),
        uuid: "U".into(),
        body,
        failure: None,
    }
}

#[test]
fn every_body_is_decoded_as_it_was_encoded() {
    for (action, body) in bodies() {
        let reply = reply(body);
        let mut dict = Request::new(action).encode();
        reply.encode(VERSION, &mut dict);
        assert_eq!(Reply::decode(&dict), Ok(reply));
        assert_eq!(dict.version(key::VERSION), Ok(Some(VERSION)));
    }
}

#[test]
fn a_failure_takes_its_number_and_sentence_along() {
    let mut dict = Request::new(Action::Info).encode();
    for failure in [
        Some(Failure::new(Errno::ENOENT, "no device \"a\"")),
        Some(Failure::from(Errno::EBUSY)),
        // What the request or an earlier reply said of errors does not stay.
        None,
    ] {
        let reply = Reply { failure, ..reply(ReplyBody::None) };
        reply.encode(VERSION, &mut dict);
        assert_eq!(Reply::decode(&dict), Ok(reply));
    }
    assert_eq!((dict.get(key::ERRNO), dict.get(key::ERROR)), (None, None));
}

#[test]
fn what_the_request_said_besides_is_echoed() {
    let mut dict = Request::new(Action::Info).encode();
    dict.set("unheard-of", "stays");
    reply(ReplyBody::None).encode([4, 0, 0], &mut dict);
    assert_eq!(dict.text("unheard-of"), Ok(Some("stays")));
    assert_eq!(dict.text(key::COMMAND), Ok(Some("info")));
    assert_eq!(dict.version(key::VERSION), Ok(Some(STOCK_VERSION)));
}

#[test]
fn a_minimal_reply_of_the_stock_driver_is_understood() {
    let mut dict = Dict::new();
    dict.set(key::COMMAND, "table");
    dict.set(key::FLAGS, 0x24_u32);
    let mut segment = Dict::new();
    segment.set(key::TYPE, "linear");
    segment.set(key::STATUS, 1_u32);
    dict.set(key::DATA, vec![Value::Dict(segment)]);
    let reply = Reply::decode(&dict).expect("a reply");
    assert_eq!(reply.flags, Flags::EXISTS | Flags::ACTIVE_PRESENT);
    assert_eq!((reply.major, reply.name.as_str()), (0, ""));
    let ReplyBody::Segments(segments) = reply.body else { panic!("segments expected") };
    assert_eq!((segments[0].start, segments[0].params.as_str()), (Sector(0), ""));
}

#[test]
fn what_is_no_reply_is_refused() {
    let with = |command: &str, key: &'static str, value: Value| {
        let mut dict = Dict::new();
        dict.set(key::COMMAND, command);
        dict.set(key, value);
        Reply::decode(&dict)
    };
    let list = |value: Value| Value::Array(vec![value]);
    let name = || {
        let mut dict = Dict::new();
        dict.set(key::NAME, 1_u64);
        Value::Dict(dict)
    };
    for (command, key, value) in [
        ("info", key::FLAGS, "x".into()),
        ("info", key::MINOR, (1_u64 << 32).into()),
        ("info", key::NAME, 1_u64.into()),
        ("info", key::ERRNO, "EINVAL".into()),
        ("names", key::DATA, "x".into()),
        ("names", key::DATA, list(1_u64.into())),
        ("names", key::DATA, list(name())),
        ("targets", key::DATA, list("linear".into())),
        ("table", key::DATA, list(Vec::new().into())),
        ("deps", key::DATA, list("3:19".into())),
        ("message", key::ANSWER, 1_u64.into()),
    ] {
        let refused = with(command, key, value.clone());
        assert_eq!(refused.map_err(|f| f.errno), Err(Errno::EINVAL), "{command} {key} {value:?}");
    }
}

#[test]
fn error_numbers_from_elsewhere_are_kept_or_become_eio() {
    let failure = |errno: u64| {
        let mut dict = Dict::new();
        dict.set(key::ERRNO, errno);
        Reply::decode(&dict).expect("a reply").failure.map(|failure| failure.errno.number())
    };
    assert_eq!(failure(0), None);
    assert_eq!(failure(22), Some(22));
    assert_eq!(failure(999), Some(999));
    assert_eq!(failure(0x1_0000), Some(Errno::EIO.number()));
    assert_eq!(failure(u64::from(u32::MAX)), Some(Errno::EIO.number()));
}

#[test]
fn device_numbers_are_packed_as_netbsd_packs_them() {
    let number = |major, minor| DevNo { major, minor };
    assert_eq!(number(3, 19).to_wire(), 0x313);
    assert_eq!(number(169, 0x12345).to_wire(), 0x1230_a945);
    for devno in [number(0, 0), number(4095, 0xf_ffff), number(169, 256), number(253, 255)] {
        assert_eq!(DevNo::from_wire(devno.to_wire()), devno);
        assert_eq!(devno.to_string().parse(), Ok(devno));
    }
    for text in ["", ":", "1", "1:", ":1", "1:2:3", "+1:2", "4096:0", "0:1048576", " 1:2"] {
        assert!(text.parse::<DevNo>().is_err(), "{text}");
    }
}

#[test]
fn wiping_leaves_no_text_behind() {
    let mut inner = Dict::new();
    inner.set("key", "secret");
    inner.set("bytes", Value::Data(vec![1, 2]));
    let mut dict = Dict::new();
    dict.set("list", vec![Value::Dict(inner), "secret".into()]);
    dict.set("number", 1_u64);
    dict.wipe();
    assert!(!format!("{dict:?}").contains("secret"));
    assert_eq!(dict.number("number", 1), Ok(Some(1)));
}

#[test]
fn errors_have_names_and_texts() {
    assert_eq!(Errno::from_name("ENOENT"), Some(Errno::ENOENT));
    assert_eq!(Errno::ENOENT.name(), Some("ENOENT"));
    assert_eq!(format!("{} {:?}", Errno::EBUSY, Errno::EBUSY), "Device busy EBUSY");
    let unknown = Errno::from_number(999).expect("a number");
    assert_eq!(format!("{unknown} {unknown:?}"), "error 999 Errno(999)");
    for number in [0, -1, 0x1_0000] {
        assert_eq!(Errno::from_number(number), None);
    }
    let failure = Failure::new(Errno::EINVAL, "no");
    assert_eq!(failure.to_string(), "no (Invalid argument)");
    assert_eq!(Failure::from(Errno::EINVAL).to_string(), "Invalid argument");
}
