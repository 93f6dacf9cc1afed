//! Devices as one line of text each: `name,uuid,minor,flags,table[,table]...`.
//!
//! The same form as dmsetup's `--concise`: devices are separated by `;` or by lines, a backslash
//! takes the meaning off the character behind it. In a file, `#` begins a line that is a comment.

use dm::command::Caller;
use dm::driver::Driver;
use dm_protocol::line::{Field, split};
use dm_protocol::{
    Action, DeviceName, Errno, Failure, Flags, Request, SegmentSpec, TARGET_NAME_MAX, Uuid,
};
use std::fmt;

/// A device to make.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceLine {
    /// The line it is described in, from 1.
    pub line: usize,
    /// Its name.
    pub name: DeviceName,
    /// Its uuid.
    pub uuid: Option<Uuid>,
    /// The minor it must have.
    pub minor: Option<u32>,
    /// Writes are refused.
    pub readonly: bool,
    /// Its segments.
    pub table: Vec<SegmentSpec>,
}

/// Why a text, or a device in it, was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub failure: Failure,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.failure)
    }
}

impl std::error::Error for Error {}

/// Reads devices, in the order in which they are to be made.
///
/// # Errors
/// The first line that is wrong.
pub fn parse(text: &str) -> Result<Vec<DeviceLine>, Error> {
    let mut devices = Vec::new();
    for (number, text) in text.lines().enumerate() {
        let line = number + 1;
        if text.trim_start().starts_with('#') {
            continue;
        }
        for fields in split(text) {
            if let [only] = fields.as_slice()
                && only.trim().is_empty()
            {
                continue;
            }
            let device = device(line, &fields).map_err(|failure| Error { line, failure })?;
            devices.push(device);
        }
    }
    Ok(devices)
}

fn device(line: usize, fields: &[Field]) -> Result<DeviceLine, Failure> {
    let [name, uuid, minor, flags, table @ ..] = fields else {
        return Err(wrong("expected name,uuid,minor,flags,table[,table]..."));
    };
    let word = |field: &Field| Some(field.trim().to_owned()).filter(|word| !word.is_empty());
    let minor = word(minor).map(|minor| {
        minor.parse().map_err(|_| wrong(format!("minor \"{minor}\" is not a number")))
    });
    let readonly = match flags.trim() {
        "" | "rw" => false,
        "ro" => true,
        other => return Err(wrong(format!("flags \"{other}\" are neither ro nor rw"))),
    };
    if table.is_empty() {
        return Err(wrong("there is no table"));
    }
    Ok(DeviceLine {
        line,
        name: DeviceName::new(name.trim())?,
        uuid: word(uuid).map(Uuid::new).transpose()?,
        minor: minor.transpose()?,
        readonly,
        table: table.iter().map(|text| segment(text)).collect::<Result<_, _>>()?,
    })
}

fn segment(text: &str) -> Result<SegmentSpec, Failure> {
    let wanted = || wrong(format!("\"{}\": expected start length target [args]", text.trim()));
    let segment = SegmentSpec::from_line(text).ok_or_else(wanted)?;
    if segment.target.len() > TARGET_NAME_MAX {
        return Err(wrong(format!("unknown target \"{}\"", segment.target)));
    }
    Ok(segment)
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(Errno::EINVAL, message)
}

/// Makes the devices one after the other, each with its table live. Those made before one that
/// fails stay.
///
/// # Errors
/// The line of the device that cannot be made.
pub fn create(driver: &Driver, devices: &[DeviceLine]) -> Result<(), Error> {
    for device in devices {
        let named = |failure| Error { line: device.line, failure };
        create_one(driver, device).map_err(named)?;
    }
    Ok(())
}

fn create_one(driver: &Driver, device: &DeviceLine) -> Result<(), Failure> {
    let create = Action::Create {
        name: device.name.clone(),
        uuid: device.uuid.clone(),
        minor: device.minor,
    };
    command(driver, device, create)?;
    let table = device.table.clone();
    let live = command(driver, device, Action::Reload { table, dry_run: false })
        .and_then(|()| command(driver, device, Action::Resume));
    if live.is_err() {
        // Without its table it is of no use; why is known already.
        let _ = command(driver, device, Action::Remove);
    }
    live
}

fn command(driver: &Driver, device: &DeviceLine, action: Action) -> Result<(), Failure> {
    let mut request = Request::new(action);
    request.device.name = Some(device.name.to_string());
    if device.readonly {
        request.flags |= Flags::READONLY;
    }
    if device.minor.is_some() {
        request.flags |= Flags::PERSISTENT_DEV;
    }
    let reply = driver.run(&Caller { privileged: true, client: 0 }, &request);
    let Some(failure) = reply.failure else { return Ok(()) };
    Err(Failure::new(failure.errno, format!("{}: {}", device.name, failure.message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::Registry;
    use dm::targets::TARGETS;
    use dm_protocol::Sectors;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn devices_are_read_from_lines_and_semicolons() {
        let text = "# two and one\n\n a,,,,0 8 zero\n\
                    b,u\\,1,3,ro,0 8 linear /a\\;b\\\\c 0, 8 8 error;c,,,rw,0 1 zero\n";
        let devices = parse(text).unwrap();
        let [a, b, c] = devices.as_slice() else { panic!("{devices:?}") };
        assert_eq!((&*a.name, a.line, a.readonly, a.minor), ("a", 3, false, None));
        assert_eq!(b.uuid.as_deref(), Some("u,1"));
        assert_eq!((b.minor, b.readonly, b.line), (Some(3), true, 4));
        assert_eq!(b.table[0], SegmentSpec::new(0, 8, "linear", "/a;b\\c 0"));
        assert_eq!(b.table[1], SegmentSpec::new(8, 8, "error", ""));
        assert_eq!((&*c.name, c.line), ("c", 4));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert!(error("a,,,,0 8 zero\nb").starts_with("line 2: expected name,uuid"));
        assert!(error("a,,,,0 8").contains("\"0 8\": expected start length target"));
        assert!(error("a,,x,,0 8 zero").contains("minor \"x\""));
        assert!(error("a,,,wo,0 8 zero").contains("flags \"wo\""));
        assert!(error("a,,,").contains("no table"));
        assert!(error("a/b,,,,0 8 zero").contains("device name"));
        assert!(error(",,,,0 8 zero").contains("empty"));
        assert!(error("a,,,,x 8 zero").contains("expected start"));
    }

    #[test]
    fn devices_are_made_until_one_cannot_be() {
        let registry = Registry::new();
        let _entered = registry.enter();
        let driver = Driver::attach(TARGETS);
        let text = "concise-a,,7,ro,0 8 zero\nconcise-b,,,,0 8 linear /no/such/file 0\n";
        let why = create(&driver, &parse(text).unwrap()).unwrap_err();
        assert_eq!((why.line, why.failure.errno), (2, Errno::ENOENT));
        assert!(why.to_string().contains("concise-b"), "{why}");
        let shown = registry.list();
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].minor, shown[0].size, shown[0].readonly), (7, Sectors(8), true));
    }
}
