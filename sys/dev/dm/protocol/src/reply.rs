//! Replies: what the driver adds to the dictionary it was sent.

use crate::{
    DevNo, Dict, Errno, Failure, Flags, STOCK_VERSION, Sector, Sectors, VERSION, Value, Version,
    key, reads_errors,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// What the driver answers. Every field but the major is always sent: stock clients read what is
/// missing from uninitialised memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// The state of the device, and which command succeeded.
    pub flags: Flags,
    /// How many have the device open.
    pub open_count: u32,
    /// Segments in the live table.
    pub target_count: u32,
    /// Moves with every event.
    pub event_nr: u32,
    /// The block major number of all mapped devices (extension); 0 when it is not said.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// The device's name; empty when none is meant.
    pub name: String,
    /// The device's uuid; empty when it has none.
    pub uuid: String,
    /// What belongs to the command.
    pub body: ReplyBody,
    /// Why the command was refused.
    pub failure: Option<Failure>,
}

/// The part of a reply that belongs to one command.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ReplyBody {
    /// Nothing.
    #[default]
    None,
    /// For targets and target_version.
    Targets(Vec<TargetVersion>),
    /// For names.
    Names(Vec<NameEntry>),
    /// For status and table.
    Segments(Vec<SegmentStatus>),
    /// For deps.
    Deps(Vec<Dependency>),
    /// What a target answered to a message (extension).
    Answer(String),
}

/// A target type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetVersion {
    /// Its name in a table.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// A device in the list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// The device's name.
    pub name: String,
    /// Its minor number.
    pub minor: u32,
    /// Its event number (extension).
    pub event_nr: u32,
    /// Its uuid, empty when it has none (extension).
    pub uuid: String,
}

/// A segment in the answer to status or table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStatus {
    /// The first sector that it maps.
    pub start: Sector,
    /// How many it maps.
    pub length: Sectors,
    /// The target type's name.
    pub target: String,
    /// Its parameters, or its state.
    pub params: Zeroizing<String>,
}

/// A device below a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its number. Image files, which have none, get major 0 and a number of their own.
    pub devno: DevNo,
    /// Its path (extension).
    pub name: String,
}

impl Reply {
    /// Writes the reply into the dictionary of the request, whose other keys stay.
    ///
    /// `client` is the protocol version of the request.
    pub fn encode(&self, client: Version, dict: &mut Dict) {
        let version = if reads_errors(client) { VERSION } else { STOCK_VERSION };
        dict.set(key::VERSION, version);
        dict.set(key::FLAGS, self.flags.bits());
        dict.set(key::OPEN_COUNT, self.open_count);
        dict.set(key::TARGET_COUNT, self.target_count);
        dict.set(key::EVENT_NR, self.event_nr);
        if self.major != 0 {
            dict.set(key::MAJOR, self.major);
        }
        dict.set(key::MINOR, self.minor);
        dict.set(key::NAME, self.name.as_str());
        dict.set(key::UUID, self.uuid.as_str());
        dict.remove(key::ERRNO);
        dict.remove(key::ERROR);
        if let Some(failure) = &self.failure {
            dict.set(key::ERRNO, Value::from(i64::from(failure.errno.number())));
            dict.set(key::ERROR, failure.message.as_str());
        }
        self.body.encode(dict);
    }

    /// Reads what the driver of this or the stock protocol answered.
    ///
    /// # Errors
    /// EINVAL with a sentence when the dictionary is not a reply.
    pub fn decode(dict: &Dict) -> Result<Self, Failure> {
        let number = |key| Ok::<u32, Failure>(dict.number32(key)?.unwrap_or(0));
        let text = |key| Ok::<String, Failure>(dict.text(key)?.unwrap_or_default().to_string());
        let failure = match dict.number32(key::ERRNO)? {
            None | Some(0) => None,
            Some(errno) => Some(Failure::new(
                i32::try_from(errno).ok().and_then(Errno::from_number).unwrap_or(Errno::EIO),
                text(key::ERROR)?,
            )),
        };
        Ok(Self {
            flags: Flags::from_bits_retain(number(key::FLAGS)?),
            open_count: number(key::OPEN_COUNT)?,
            target_count: number(key::TARGET_COUNT)?,
            event_nr: number(key::EVENT_NR)?,
            major: number(key::MAJOR)?,
            minor: number(key::MINOR)?,
            name: text(key::NAME)?,
            uuid: text(key::UUID)?,
            body: ReplyBody::decode(dict)?,
            failure,
        })
    }
}

impl ReplyBody {
    fn encode(&self, dict: &mut Dict) {
        let list = match self {
            Self::None => return,
            Self::Answer(answer) => return dict.set(key::ANSWER, answer.as_str()),
            Self::Targets(targets) => targets.iter().map(TargetVersion::encode).collect(),
            Self::Names(names) => names.iter().map(NameEntry::encode).collect(),
            Self::Segments(segments) => segments.iter().map(SegmentStatus::encode).collect(),
            Self::Deps(deps) => {
                let names: Vec<Value> = deps.iter().map(|d| d.name.as_str().into()).collect();
                dict.set(key::DEP_NAMES, names);
                deps.iter().map(|d| d.devno.to_wire().into()).collect()
            }
        };
        let list: Vec<Value> = list;
        dict.set(key::DATA, list);
    }

    fn decode(dict: &Dict) -> Result<Self, Failure> {
        if let Some(answer) = dict.text(key::ANSWER)? {
            return Ok(Self::Answer(answer.to_string()));
        }
        let Some(list) = dict.array(key::DATA)? else { return Ok(Self::None) };
        Ok(match dict.text(key::COMMAND)?.unwrap_or_default() {
            "targets" | "target_version" => Self::Targets(each(list, TargetVersion::decode)?),
            "names" => Self::Names(each(list, NameEntry::decode)?),
            "status" | "table" => Self::Segments(each(list, SegmentStatus::decode)?),
            "deps" => Self::Deps(decode_deps(list, dict.array(key::DEP_NAMES)?)?),
            _ => Self::None,
        })
    }
}

fn each<T>(list: &[Value], decode: fn(&Dict) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    let entry = |value: &Value| match value {
        Value::Dict(dict) => decode(dict),
        _ => Err(broken(key::DATA)),
    };
    list.iter().map(entry).collect()
}

fn decode_deps(list: &[Value], names: Option<&[Value]>) -> Result<Vec<Dependency>, Failure> {
    let mut names = names.unwrap_or_default().iter();
    let dep = |value: &Value| match (value, names.next()) {
        (Value::Unsigned(packed), name) => Ok(Dependency {
            devno: DevNo::from_wire(*packed),
            name: match name {
                Some(Value::String(name)) => name.clone(),
                _ => String::new(),
            },
        }),
        _ => Err(broken(key::DATA)),
    };
    list.iter().map(dep).collect()
}

impl TargetVersion {
    fn encode(&self) -> Value {
        let mut dict = Dict::new();
        dict.set(key::NAME, self.name.as_str());
        dict.set(key::VER, self.version);
        dict.into()
    }

    fn decode(dict: &Dict) -> Result<Self, Failure> {
        Ok(Self {
            name: dict.text(key::NAME)?.unwrap_or_default().to_string(),
            version: dict.version(key::VER)?.unwrap_or_default(),
        })
    }
}

impl NameEntry {
    fn encode(&self) -> Value {
        let mut dict = Dict::new();
        dict.set(key::NAME, self.name.as_str());
        dict.set(key::DEV, self.minor);
        dict.set(key::EVENT_NR, self.event_nr);
        dict.set(key::UUID, self.uuid.as_str());
        dict.into()
    }

    fn decode(dict: &Dict) -> Result<Self, Failure> {
        Ok(Self {
            name: dict.text(key::NAME)?.unwrap_or_default().to_string(),
            minor: dict.number32(key::DEV)?.unwrap_or(0),
            event_nr: dict.number32(key::EVENT_NR)?.unwrap_or(0),
            uuid: dict.text(key::UUID)?.unwrap_or_default().to_string(),
        })
    }
}

impl SegmentStatus {
    fn encode(&self) -> Value {
        let mut dict = Dict::new();
        dict.set(key::TYPE, self.target.as_str());
        dict.set(key::START, self.start.0);
        dict.set(key::LENGTH, self.length.0);
        dict.set(key::PARAMS, self.params.as_str());
        dict.set(key::STATUS, 0_u32);
        dict.into()
    }

    fn decode(dict: &Dict) -> Result<Self, Failure> {
        let number = |key| Ok::<u64, Failure>(dict.number(key, u64::MAX)?.unwrap_or(0));
        Ok(Self {
            start: Sector(number(key::START)?),
            length: Sectors(number(key::LENGTH)?),
            target: dict.text(key::TYPE)?.unwrap_or_default().to_string(),
            params: dict.text(key::PARAMS)?.unwrap_or_default().to_string().into(),
        })
    }
}

fn broken(key: &str) -> Failure {
    Failure::new(Errno::EINVAL, format!("\"{key}\" in the reply holds something unexpected"))
}
