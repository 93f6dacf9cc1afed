//! Requests: decoded once, from the dictionary into types.

use crate::{
    Command, DeviceName, Dict, Errno, Failure, Flags, STOCK_VERSION, Sector, Sectors,
    TARGET_NAME_MAX, Uuid, VERSION, Value, Version, key,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// One command as the driver sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The protocol version that the client speaks.
    pub version: Version,
    /// Flags; bits that a command does not know are ignored, as stock clients send some always.
    pub flags: Flags,
    /// Which device is meant, for commands that need one.
    pub device: Selector,
    /// The command and what belongs to it.
    pub action: Action,
}

/// How a client names a device: by minor if that matches, else by name, else by uuid.
///
/// The texts are as sent and unchecked: one that cannot be a name finds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The device's minor number.
    pub minor: Option<u32>,
    /// The device's name; empty means none.
    pub name: Option<String>,
    /// The device's uuid; empty means none.
    pub uuid: Option<String>,
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// [`Command::Version`]
    Version,
    /// [`Command::Targets`]
    Targets,
    /// [`Command::Names`]
    Names,
    /// [`Command::Info`]
    Info,
    /// [`Command::Mknodes`]
    Mknodes,
    /// [`Command::Deps`]
    Deps,
    /// [`Command::Status`]
    Status,
    /// [`Command::Table`]
    Table,
    /// [`Command::Create`]
    Create {
        /// The new device's name.
        name: DeviceName,
        /// Its uuid.
        uuid: Option<Uuid>,
        /// The minor it must have; otherwise the driver chooses.
        minor: Option<u32>,
    },
    /// [`Command::Reload`]
    Reload {
        /// The table, segment by segment.
        table: Vec<SegmentSpec>,
        /// Check everything, change nothing (extension).
        dry_run: bool,
    },
    /// [`Command::Resume`]
    Resume,
    /// [`Command::Suspend`]
    Suspend,
    /// [`Command::Clear`]
    Clear,
    /// [`Command::Remove`]
    Remove,
    /// [`Command::RemoveAll`]
    RemoveAll,
    /// [`Command::Rename`]
    Rename(Change),
    /// [`Command::WaitEvent`]
    WaitEvent {
        /// Wait until the device's number differs from this one.
        event_nr: u32,
        /// At most so many milliseconds; without end when absent (extension).
        timeout_ms: Option<u64>,
    },
    /// [`Command::Message`]
    Message {
        /// The target that maps this sector is spoken to.
        sector: Sector,
        /// Words for the target.
        text: Zeroizing<String>,
    },
    /// [`Command::SetGeometry`]
    SetGeometry(Geometry),
    /// [`Command::TargetVersion`]
    TargetVersion {
        /// The target type's name.
        target: String,
    },
}

/// What a rename changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The name.
    Name(DeviceName),
    /// The uuid, once, of a device that has none.
    Uuid(Uuid),
}

/// The geometry that a disk label tool asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// 0 to 65535.
    pub cylinders: u32,
    /// 0 to 255.
    pub heads: u32,
    /// Sectors in a track, 0 to 255.
    pub sectors: u32,
    /// The first sector on the disk beneath.
    pub start: Sector,
}

/// One line of a table as a client writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentSpec {
    /// The first sector of the device that the segment maps.
    pub start: Sector,
    /// How many sectors it maps.
    pub length: Sectors,
    /// The target type's name.
    pub target: String,
    /// The target's words, separated by white space. May hold a key, so it is wiped.
    pub params: Zeroizing<String>,
}

impl SegmentSpec {
    /// A segment of `length` sectors from `start`.
    #[must_use]
    pub fn new(start: u64, length: u64, target: &str, params: &str) -> Self {
        Self {
            start: Sector(start),
            length: Sectors(length),
            target: target.into(),
            params: String::from(params).into(),
        }
    }
}

impl Action {
    /// The command of this action.
    #[must_use]
    pub const fn command(&self) -> Command {
        match self {
            Self::Version => Command::Version,
            Self::Targets => Command::Targets,
            Self::Names => Command::Names,
            Self::Info => Command::Info,
            Self::Mknodes => Command::Mknodes,
            Self::Deps => Command::Deps,
            Self::Status => Command::Status,
            Self::Table => Command::Table,
            Self::Create { .. } => Command::Create,
            Self::Reload { .. } => Command::Reload,
            Self::Resume => Command::Resume,
            Self::Suspend => Command::Suspend,
            Self::Clear => Command::Clear,
            Self::Remove => Command::Remove,
            Self::RemoveAll => Command::RemoveAll,
            Self::Rename(_) => Command::Rename,
            Self::WaitEvent { .. } => Command::WaitEvent,
            Self::Message { .. } => Command::Message,
            Self::SetGeometry(_) => Command::SetGeometry,
            Self::TargetVersion { .. } => Command::TargetVersion,
        }
    }
}

impl Request {
    /// A request of this protocol version without flags and device.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self { version: VERSION, flags: Flags::EXISTS, device: Selector::default(), action }
    }

    /// The command that a dictionary asks for, to check who may give it before the rest is read.
    ///
    /// # Errors
    /// EINVAL when there is none or an unknown one.
    pub fn command(dict: &Dict) -> Result<Command, Failure> {
        let name = dict.text(key::COMMAND)?.ok_or_else(|| missing(key::COMMAND))?;
        let unknown = || invalid(format!("unknown command \"{}\"", name.escape_debug()));
        Command::from_name(name).ok_or_else(unknown)
    }

    /// The version a dictionary speaks; a stock client's when it says nothing.
    ///
    /// # Errors
    /// EINVAL when it is malformed; EIO, as the stock driver, when it is not compatible.
    pub fn client_version(dict: &Dict) -> Result<Version, Failure> {
        let version = dict.version(key::VERSION)?.unwrap_or([STOCK_VERSION[0], 0, 0]);
        let [major, minor, _] = version;
        if major != VERSION[0] || minor > VERSION[1] {
            let [ours, newest, _] = VERSION;
            let message = format!(
                "protocol {major}.{minor} is not spoken here, {ours}.0 to {ours}.{newest} is"
            );
            return Err(Failure::new(Errno::EIO, message));
        }
        Ok(version)
    }

    /// Reads a dictionary.
    ///
    /// # Errors
    /// EINVAL, ENAMETOOLONG or EIO with a sentence that names the key.
    pub fn decode(dict: &Dict) -> Result<Self, Failure> {
        let command = Self::command(dict)?;
        let version = Self::client_version(dict)?;
        let flags = Flags::from_bits_retain(dict.number32(key::FLAGS)?.unwrap_or(0));
        let text = |key| Ok::<_, Failure>(dict.text(key)?.map(String::from));
        let device = Selector {
            minor: dict.number32(key::MINOR)?,
            name: text(key::NAME)?.filter(|name| !name.is_empty()),
            uuid: text(key::UUID)?.filter(|uuid| !uuid.is_empty()),
        };
        let action = decode_action(command, dict, flags, &device)?;
        // Clients of old leave out what the command says anyway.
        Ok(Self { version, flags: flags | implied(&action), device, action })
    }

    /// Writes the dictionary that [`Request::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Dict {
        let mut dict = Dict::new();
        dict.set(key::COMMAND, self.action.command().name());
        dict.set(key::VERSION, self.version);
        let mut set = |key: &'static str, text: &Option<String>| {
            if let Some(text) = text {
                dict.set(key, text.as_str());
            }
        };
        set(key::NAME, &self.device.name);
        set(key::UUID, &self.device.uuid);
        if let Some(minor) = self.device.minor {
            dict.set(key::MINOR, minor);
        }
        encode_action(&self.action, &mut dict);
        dict.set(key::FLAGS, (self.flags | implied(&self.action)).bits());
        dict
    }
}

fn decode_action(
    command: Command,
    dict: &Dict,
    flags: Flags,
    device: &Selector,
) -> Result<Action, Failure> {
    Ok(match command {
        Command::Version => Action::Version,
        Command::Targets => Action::Targets,
        Command::Names => Action::Names,
        Command::Info => Action::Info,
        Command::Mknodes => Action::Mknodes,
        Command::Deps => Action::Deps,
        Command::Status => Action::Status,
        Command::Table => Action::Table,
        Command::Create => decode_create(flags, device)?,
        Command::Reload => decode_reload(dict)?,
        Command::Resume => Action::Resume,
        Command::Suspend => Action::Suspend,
        Command::Clear => Action::Clear,
        Command::Remove => Action::Remove,
        Command::RemoveAll => Action::RemoveAll,
        Command::Rename => decode_rename(dict, flags)?,
        Command::WaitEvent => Action::WaitEvent {
            event_nr: dict.number32(key::EVENT_NR)?.unwrap_or(0),
            timeout_ms: dict.number(key::TIMEOUT, u64::MAX)?,
        },
        Command::Message => Action::Message {
            sector: Sector(dict.number(key::SECTOR, u64::MAX)?.unwrap_or(0)),
            text: String::from(dict.text(key::MESSAGE)?.ok_or_else(|| missing(key::MESSAGE))?)
                .into(),
        },
        Command::SetGeometry => decode_geometry(dict)?,
        Command::TargetVersion => {
            Action::TargetVersion { target: device.name.clone().ok_or_else(|| missing(key::NAME))? }
        }
    })
}

fn decode_create(flags: Flags, device: &Selector) -> Result<Action, Failure> {
    let name = device.name.clone().ok_or_else(|| missing(key::NAME))?;
    let minor = device.minor.filter(|_| flags.contains(Flags::PERSISTENT_DEV));
    if minor.is_none() && flags.contains(Flags::PERSISTENT_DEV) {
        return Err(missing(key::MINOR));
    }
    Ok(Action::Create {
        name: DeviceName::new(name)?,
        uuid: device.uuid.clone().map(Uuid::new).transpose()?,
        minor,
    })
}

fn decode_reload(dict: &Dict) -> Result<Action, Failure> {
    let segments = dict.array(key::DATA)?.ok_or_else(|| missing(key::DATA))?;
    let mut table = Vec::with_capacity(segments.len());
    for (nr, segment) in segments.iter().enumerate() {
        let read = match segment {
            Value::Dict(segment) => decode_segment(segment),
            _ => Err(invalid("not a dictionary".into())),
        };
        let named =
            |why: Failure| Failure::new(why.errno, format!("segment {nr}: {}", why.message));
        table.push(read.map_err(named)?);
    }
    let dry_run = match dict.get(key::DRY_RUN) {
        None => false,
        Some(Value::Bool(dry_run)) => *dry_run,
        Some(_) => return Err(invalid(format!("\"{}\" is not true or false", key::DRY_RUN))),
    };
    Ok(Action::Reload { table, dry_run })
}

fn decode_segment(dict: &Dict) -> Result<SegmentSpec, Failure> {
    let number = |key| dict.number(key, u64::MAX)?.ok_or_else(|| missing(key));
    let target = dict.text(key::TYPE)?.ok_or_else(|| missing(key::TYPE))?;
    if target.is_empty() || target.len() > TARGET_NAME_MAX {
        return Err(invalid(format!("unknown target \"{}\"", target.escape_debug())));
    }
    Ok(SegmentSpec {
        start: Sector(number(key::START)?),
        length: Sectors(number(key::LENGTH)?),
        target: target.to_string(),
        params: dict.text(key::PARAMS)?.unwrap_or_default().to_string().into(),
    })
}

fn decode_rename(dict: &Dict, flags: Flags) -> Result<Action, Failure> {
    let text = match dict.array(key::DATA)?.and_then(<[Value]>::first) {
        Some(Value::String(text)) => text.as_str(),
        Some(_) => return Err(invalid(format!("\"{}\" does not hold text", key::DATA))),
        None => return Err(invalid("the new name is missing".into())),
    };
    Ok(Action::Rename(if flags.contains(Flags::UUID) {
        Change::Uuid(Uuid::new(text)?)
    } else {
        Change::Name(DeviceName::new(text)?)
    }))
}

fn decode_geometry(dict: &Dict) -> Result<Action, Failure> {
    let number = |key, max| dict.number(key, max)?.ok_or_else(|| missing(key));
    let number32 = |key, max| number(key, max).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Ok(Action::SetGeometry(Geometry {
        cylinders: number32(key::CYLINDERS, 65_535)?,
        heads: number32(key::HEADS, 255)?,
        sectors: number32(key::SECTORS, 255)?,
        start: Sector(number(key::START, u64::MAX)?),
    }))
}

/// Sets what belongs to the action.
fn encode_action(action: &Action, dict: &mut Dict) {
    match action {
        Action::Create { name, uuid, minor } => {
            dict.set(key::NAME, &**name);
            if let Some(uuid) = uuid {
                dict.set(key::UUID, &**uuid);
            }
            if let Some(minor) = minor {
                dict.set(key::MINOR, *minor);
            }
        }
        Action::Reload { table, dry_run } => {
            dict.set(key::DATA, table.iter().map(encode_segment).collect::<Vec<_>>());
            if *dry_run {
                dict.set(key::DRY_RUN, true);
            }
        }
        Action::Rename(Change::Name(name)) => dict.set(key::DATA, alloc::vec![(&**name).into()]),
        Action::Rename(Change::Uuid(uuid)) => dict.set(key::DATA, alloc::vec![(&**uuid).into()]),
        Action::WaitEvent { event_nr, timeout_ms } => {
            dict.set(key::EVENT_NR, *event_nr);
            if let Some(timeout) = timeout_ms {
                dict.set(key::TIMEOUT, *timeout);
            }
        }
        Action::Message { sector, text } => {
            dict.set(key::SECTOR, sector.0);
            dict.set(key::MESSAGE, text.as_str());
        }
        Action::SetGeometry(geometry) => {
            dict.set(key::CYLINDERS, geometry.cylinders);
            dict.set(key::HEADS, geometry.heads);
            dict.set(key::SECTORS, geometry.sectors);
            dict.set(key::START, geometry.start.0);
        }
        Action::TargetVersion { target } => dict.set(key::NAME, target.as_str()),
        _ => {}
    }
}

/// The flags that an action has in any case.
const fn implied(action: &Action) -> Flags {
    match action {
        Action::Create { minor: Some(_), .. } => Flags::PERSISTENT_DEV,
        Action::Rename(Change::Uuid(_)) => Flags::UUID,
        Action::Table => Flags::STATUS_TABLE,
        Action::Suspend => Flags::SUSPEND,
        _ => Flags::empty(),
    }
}

fn encode_segment(segment: &SegmentSpec) -> Value {
    let mut dict = Dict::new();
    dict.set(key::START, segment.start.0);
    dict.set(key::LENGTH, segment.length.0);
    dict.set(key::TYPE, segment.target.as_str());
    dict.set(key::PARAMS, segment.params.as_str());
    dict.into()
}

fn missing(key: &str) -> Failure {
    invalid(format!("\"{key}\" is missing"))
}

fn invalid(message: String) -> Failure {
    Failure::new(Errno::EINVAL, message)
}
