// A driver in memory: enough of one to try clients against. It knows devices, tables, event
// numbers and the rules between them; its targets know nothing but their parameters.

/// The state behind the channel.
#[derive(Default)]
pub struct Model(std::cell::RefCell<driver::State>);

impl libdm::Control for Model {
    fn command(&self, request: &libdm::Dict) -> libdm::Result<libdm::Dict> {
        Ok(driver::answer(&mut self.0.borrow_mut(), request))
    }
}

#[allow(dead_code, reason = "not every test looks at everything")]
impl Model {
    /// Opens or closes a device behind the client's back.
    pub fn open(&self, name: &str, by: i64) {
        let mut state = self.0.borrow_mut();
        let device = state.devices.values_mut().find(|device| device.name == name);
        device.expect("a device").opens += by;
    }

    /// Closes a device behind the client's back, which may remove it.
    pub fn close(&self, name: &str) {
        self.open(name, -1);
        let mut state = self.0.borrow_mut();
        state.devices.retain(|_, device| device.opens > 0 || !device.deferred);
    }

    /// Gives this minor number to no device.
    pub fn take_minor(&self, minor: u32) {
        self.0.borrow_mut().taken.push(minor);
    }

    /// What was asked so far: commands with their flags.
    pub fn asked(&self) -> Vec<(String, u32)> {
        self.0.borrow().asked.clone()
    }
}

#[allow(unused_imports, reason = "included by tests that need less")]
mod driver {
    use dm_protocol::{
        Action, Change, Dependency, DevNo, Dict, Errno, Failure, Flags, NameEntry, Reply,
        ReplyBody, Request, SegmentSpec, SegmentStatus, TargetVersion, key,
    };
    use std::collections::BTreeMap;

    pub const MAJOR: u32 = 253;

    #[derive(Default)]
    pub struct State {
        pub devices: BTreeMap<u32, Device>,
        pub asked: Vec<(String, u32)>,
        pub taken: Vec<u32>,
    }

    #[derive(Default)]
    pub struct Device {
        pub name: String,
        pub uuid: String,
        pub opens: i64,
        live: Option<Vec<SegmentSpec>>,
        inactive: Option<Vec<SegmentSpec>>,
        suspended: bool,
        readonly: bool,
        pub deferred: bool,
        event_nr: u32,
    }

    /// Those of the kernel whose output is compared with ours.
    const TARGETS: [(&str, [u32; 3]); 23] = [
        ("multipath", [1, 14, 0]),
        ("unstriped", [1, 1, 0]),
        ("switch", [1, 1, 0]),
        ("log-writes", [1, 1, 0]),
        ("flakey", [1, 5, 0]),
        ("delay", [1, 4, 0]),
        ("zero", [1, 2, 0]),
        ("writecache", [1, 6, 0]),
        ("integrity", [1, 13, 0]),
        ("verity", [1, 10, 0]),
        ("era", [1, 0, 0]),
        ("cache", [2, 3, 0]),
        ("thin-pool", [1, 23, 0]),
        ("thin", [1, 23, 0]),
        ("crypt", [1, 28, 0]),
        ("raid", [1, 15, 1]),
        ("mirror", [1, 14, 0]),
        ("snapshot-merge", [1, 5, 0]),
        ("snapshot-origin", [1, 9, 0]),
        ("snapshot", [1, 16, 0]),
        ("striped", [1, 6, 0]),
        ("linear", [1, 4, 0]),
        ("error", [1, 7, 0]),
    ];

    /// Sectors of every disk.
    const DISK: u64 = 2048;

    pub fn answer(state: &mut State, dict: &Dict) -> Dict {
        let mut answer = dict.clone();
        let flags = dict.number32(key::FLAGS).ok().flatten().unwrap_or(0);
        let command = dict.text(key::COMMAND).ok().flatten().unwrap_or_default();
        state.asked.push((command.into(), flags));
        let (version, reply) = match Request::decode(dict) {
            Ok(request) => (request.version, run(state, &request)),
            Err(failure) => (dm_protocol::VERSION, Err(failure)),
        };
        let mut reply =
            reply.unwrap_or_else(|failure| Reply { failure: Some(failure), ..Reply::default() });
        reply.major = MAJOR;
        reply.encode(version, &mut answer);
        answer
    }

    fn refuse<T>(errno: Errno, message: &str) -> Result<T, Failure> {
        Err(Failure::new(errno, message))
    }

    fn run(state: &mut State, request: &Request) -> Result<Reply, Failure> {
        match &request.action {
            Action::Version => Ok(Reply::default()),
            Action::Targets => Ok(body(ReplyBody::Targets(targets("")))),
            Action::TargetVersion { target } => match targets(target) {
                found if found.is_empty() => refuse(Errno::ENOENT, "no such target"),
                found => Ok(body(ReplyBody::Targets(found))),
            },
            Action::Names => Ok(body(ReplyBody::Names(names(state)))),
            Action::Create { name, uuid, minor } => {
                let taken = |device: &Device| {
                    device.name == **name || uuid.as_ref().is_some_and(|u| device.uuid == **u)
                };
                if state.devices.values().any(taken) {
                    return refuse(Errno::EEXIST, "the name or uuid is taken");
                }
                let used = |nr: &u32| state.devices.contains_key(nr) || state.taken.contains(nr);
                let free = (0..).find(|nr| !used(nr)).unwrap_or(0);
                let minor = minor.unwrap_or(free);
                if state.devices.contains_key(&minor) {
                    return refuse(Errno::EBUSY, "the minor is taken");
                }
                let device = Device {
                    name: name.to_string(),
                    uuid: uuid.as_ref().map(ToString::to_string).unwrap_or_default(),
                    readonly: request.flags.contains(Flags::READONLY),
                    ..Device::default()
                };
                state.devices.insert(minor, device);
                Ok(about(state, minor))
            }
            Action::RemoveAll => {
                let held = |nr: &u32| holders(state, *nr) > 0;
                let minors: Vec<u32> = state.devices.keys().copied().filter(held).collect();
                state.devices.retain(|nr, device| device.opens > 0 || minors.contains(nr));
                Ok(Reply::default())
            }
            _ => on_device(state, request),
        }
    }

    fn targets(only: &str) -> Vec<TargetVersion> {
        let all = TARGETS.iter().filter(|(name, _)| only.is_empty() || *name == only);
        all.map(|(name, version)| TargetVersion { name: (*name).into(), version: *version })
            .collect()
    }

    fn names(state: &State) -> Vec<NameEntry> {
        let mut names: Vec<_> = state
            .devices
            .iter()
            .map(|(minor, device)| NameEntry {
                name: device.name.clone(),
                minor: *minor,
                event_nr: device.event_nr,
                uuid: device.uuid.clone(),
            })
            .collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names
    }

    fn find(state: &State, request: &Request) -> Result<u32, Failure> {
        let wanted = &request.device;
        let fits = |(minor, device): &(&u32, &Device)| {
            wanted.minor == Some(**minor)
                || wanted.name.as_ref().is_some_and(|name| *name == device.name)
                || wanted.uuid.as_ref().is_some_and(|uuid| *uuid == device.uuid)
        };
        match state.devices.iter().find(fits) {
            Some((minor, _)) => Ok(*minor),
            None => Err(Errno::ENOENT.into()),
        }
    }

    fn on_device(state: &mut State, request: &Request) -> Result<Reply, Failure> {
        let minor = find(state, request)?;
        if let Action::Rename(change) = &request.action {
            rename(state, minor, change)?;
            return Ok(about(state, minor));
        }
        if request.action == Action::Remove {
            return remove(state, minor, request.flags.contains(Flags::DEFERRED_REMOVE));
        }
        if let Action::Reload { table, dry_run } = &request.action {
            let table = check(state, minor, table)?;
            let device = state.devices.get_mut(&minor).expect("found");
            if !dry_run {
                device.inactive = Some(table);
                device.readonly = request.flags.contains(Flags::READONLY);
            }
            return Ok(about(state, minor));
        }
        let inactive = request.flags.contains(Flags::QUERY_INACTIVE_TABLE);
        let device = state.devices.get_mut(&minor).expect("found");
        let table = if inactive { &device.inactive } else { &device.live };
        let table = table.clone().unwrap_or_default();
        let body = match &request.action {
            Action::Resume => {
                device.live = device.inactive.take().or(device.live.take());
                device.suspended = false;
                ReplyBody::None
            }
            Action::Suspend => {
                device.suspended = true;
                ReplyBody::None
            }
            Action::Clear => {
                device.inactive = None;
                ReplyBody::None
            }
            Action::Deps => ReplyBody::Deps(deps(&table)),
            Action::Table => ReplyBody::Segments(segments(&table, |s| s.params.to_string())),
            Action::Status => ReplyBody::Segments(segments(&table, status)),
            Action::WaitEvent { event_nr, .. } if *event_nr == device.event_nr => {
                return refuse(Errno::ETIMEDOUT, "nothing happened");
            }
            Action::Message { text, .. } if text.as_str() == "@echo" => {
                ReplyBody::Answer("one\ntwo".into())
            }
            Action::Message { .. } if table.iter().any(|s| s.target == "switch") => ReplyBody::None,
            Action::Message { .. } => return refuse(Errno::EINVAL, "no target understands this"),
            _ => ReplyBody::None,
        };
        Ok(Reply { body, ..about(state, minor) })
    }

    fn rename(state: &mut State, minor: u32, change: &Change) -> Result<(), Failure> {
        let taken = match change {
            Change::Name(name) => state.devices.values().any(|device| device.name == **name),
            Change::Uuid(uuid) => state.devices.values().any(|device| device.uuid == **uuid),
        };
        let device = state.devices.get_mut(&minor).expect("found");
        match change {
            _ if taken => return refuse(Errno::EEXIST, "taken"),
            Change::Name(name) => device.name = name.to_string(),
            Change::Uuid(_) if !device.uuid.is_empty() => {
                return refuse(Errno::EINVAL, "the device has a uuid");
            }
            Change::Uuid(uuid) => device.uuid = uuid.to_string(),
        }
        device.event_nr += 1;
        Ok(())
    }

    fn remove(state: &mut State, minor: u32, deferred: bool) -> Result<Reply, Failure> {
        let used = holders(state, minor);
        let device = state.devices.get_mut(&minor).expect("found");
        if device.opens + used == 0 {
            let reply = about(state, minor);
            state.devices.remove(&minor);
            return Ok(reply);
        }
        if !deferred {
            return refuse(Errno::EBUSY, "");
        }
        device.deferred = true;
        Ok(about(state, minor))
    }

    fn check(
        state: &State,
        minor: u32,
        table: &[SegmentSpec],
    ) -> Result<Vec<SegmentSpec>, Failure> {
        assert!(state.devices.contains_key(&minor));
        if table.is_empty() {
            return Err(Failure::new(Errno::EINVAL, "the table has no segments"));
        }
        let mut resolved = Vec::new();
        let mut end = 0;
        for (nr, segment) in table.iter().enumerate() {
            let wrong = |errno, why: &str| {
                let (start, target) = (segment.start, &segment.target);
                Failure::new(errno, format!("segment {nr} (sector {start}): {target}: {why}"))
            };
            let words: Vec<&str> = segment.params.split_whitespace().collect();
            let broken = match segment.target.as_str() {
                target if targets(target).is_empty() => Some("unknown target type"),
                _ if segment.start.0 != end => Some("gap in table"),
                "linear" if words.len() != 2 => Some("expected: device offset"),
                "linear" if segment.length.0 > DISK => Some("beyond the end of the device"),
                "striped" if segment.length.0 % 2 != 0 => Some("not divisible"),
                _ => None,
            };
            if let Some(why) = broken {
                return Err(wrong(Errno::EINVAL, why));
            }
            end += segment.length.0;
            let words = words.into_iter().map(|word| match disk(state, word) {
                Some(devno) => Ok(devno),
                None if word.starts_with('/') => Err(wrong(Errno::ENOENT, word)),
                None => Ok(word.into()),
            });
            let mut params = words.collect::<Result<Vec<_>, _>>()?.join(" ");
            if segment.target == "flakey" && params.split(' ').count() == 4 {
                params.push_str(" 2 error_reads error_writes");
            }
            resolved.push(SegmentSpec { params: params.into(), ..segment.clone() });
        }
        Ok(resolved)
    }

    /// `/dev/vdb` is 254:16, `/dev/vdc` 254:32, and so on.
    fn disk(state: &State, path: &str) -> Option<String> {
        if let Some(name) = path.strip_prefix("/dev/mapper/") {
            let (minor, _) = state.devices.iter().find(|(_, device)| device.name == name)?;
            return Some(format!("{MAJOR}:{minor}"));
        }
        let letter = *path.strip_prefix("/dev/vd")?.as_bytes().first()?;
        (b'a'..=b'g').contains(&letter).then(|| format!("254:{}", u32::from(letter - b'a') * 16))
    }

    fn holders(state: &State, minor: u32) -> i64 {
        let devno = DevNo { major: MAJOR, minor };
        let uses = |device: &&Device| {
            deps(device.live.as_deref().unwrap_or_default()).iter().any(|dep| dep.devno == devno)
        };
        state.devices.values().filter(uses).count() as i64
    }

    /// The last device first, as Linux has it.
    fn deps(table: &[SegmentSpec]) -> Vec<Dependency> {
        let mut deps: Vec<Dependency> = Vec::new();
        let words = table.iter().flat_map(|segment| segment.params.split_whitespace());
        for devno in words.filter_map(|word| word.parse::<DevNo>().ok()) {
            if !deps.iter().any(|dep| dep.devno == devno) {
                let letter = char::from(b'a' + u8::try_from(devno.minor / 16).unwrap_or(0));
                let name = match devno.major {
                    MAJOR => String::new(),
                    _ => format!("/dev/vd{letter}"),
                };
                deps.insert(0, Dependency { devno, name });
            }
        }
        deps
    }

    fn segments(table: &[SegmentSpec], params: fn(&SegmentSpec) -> String) -> Vec<SegmentStatus> {
        let status = |segment: &SegmentSpec| SegmentStatus {
            start: segment.start,
            length: segment.length,
            target: segment.target.clone(),
            params: params(segment).into(),
        };
        table.iter().map(status).collect()
    }

    fn status(segment: &SegmentSpec) -> String {
        let words: Vec<&str> = segment.params.split_whitespace().collect();
        match (segment.target.as_str(), words.as_slice()) {
            ("delay", _) => "0 0 0".into(),
            ("striped", [stripes, _, rest @ ..]) => {
                let devices: Vec<&str> = rest.iter().copied().step_by(2).collect();
                let health = "A".repeat(devices.len());
                format!("{stripes} {} 1 {health}", devices.join(" "))
            }
            _ => String::new(),
        }
    }

    fn body(body: ReplyBody) -> Reply {
        Reply { body, ..Reply::default() }
    }

    fn about(state: &State, minor: u32) -> Reply {
        let Some(device) = state.devices.get(&minor) else { return Reply::default() };
        let mut flags = Flags::EXISTS;
        flags.set(Flags::ACTIVE_PRESENT, device.live.is_some());
        flags.set(Flags::INACTIVE_PRESENT, device.inactive.is_some());
        flags.set(Flags::SUSPEND, device.suspended);
        flags.set(Flags::READONLY, device.readonly);
        flags.set(Flags::DEFERRED_REMOVE, device.deferred);
        Reply {
            flags,
            open_count: u32::try_from(device.opens + holders(state, minor)).unwrap_or(0),
            target_count: device.live.as_ref().map_or(0, |t| u32::try_from(t.len()).unwrap_or(0)),
            event_nr: device.event_nr,
            minor,
            name: device.name.clone(),
            uuid: device.uuid.clone(),
            ..Reply::default()
        }
    }
}
