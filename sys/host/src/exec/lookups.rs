//! Files of the kernel that programs read about the device mapper, and which have to read
//! otherwise, or are not there.

use super::loops;
use super::place::{self, CONTROL};
use super::translate::Translator;
use dm_protocol::{DevNo, Flags};
use rustix::fs::{FileType, MemfdFlags, major, memfd_create, minor, stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

/// Is it the control node?
pub fn is_control(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode).is_char_device()
            && (major(stat.st_rdev), minor(stat.st_rdev)) == CONTROL
    })
}

/// The text of a list in /proc that has to read otherwise. `asked` is the path that a program
/// gave, `seen` is where that leads.
pub fn list(asked: &Path, seen: &Path) -> Option<String> {
    let ours = |name: &str| asked == Path::new("/proc").join(name);
    let (name, text) = place::lists().into_iter().find(|(name, _)| ours(name))?;
    let same = stat(seen).ok()?.st_ino == stat(Path::new("/proc").join(name)).ok()?.st_ino;
    same.then_some(text)
}

/// A file below /sys that a device of ours has not as loop devices have it: its text, or ENOENT.
pub fn in_sys(asked: &Path, devices: &Translator) -> Option<Result<String, Errno>> {
    let (minor, attribute) = place_in_sys(asked.to_str()?)?;
    let reply = devices.about(minor)?;
    Some(match attribute {
        "dm/name" => Ok(reply.name + "\n"),
        "dm/uuid" => Ok(reply.uuid + "\n"),
        "dm/suspended" => Ok(format!("{}\n", u8::from(reply.flags.contains(Flags::SUSPEND)))),
        // By this file programs tell loop devices from others.
        "loop/backing_file" => Err(Errno::NOENT),
        _ => return None,
    })
}

/// The device and the attribute that a path in /sys means.
fn place_in_sys(path: &str) -> Option<(u32, &str)> {
    let rest = path.strip_prefix("/sys/")?;
    let rest = rest.strip_prefix("dev/").or_else(|| rest.strip_prefix("class/")).unwrap_or(rest);
    let (device, attribute) = rest.strip_prefix("block/")?.split_once('/')?;
    let minor = match device.parse::<DevNo>() {
        Ok(devno) => Some(devno.minor).filter(|_| devno.major == loops::MAJOR)?,
        Err(_) => device.strip_prefix("loop")?.parse().ok()?,
    };
    Some((minor, attribute))
}

/// A file with a text.
pub fn text_file(text: &str) -> Result<File, Errno> {
    let mut file = File::from(memfd_create("text", MemfdFlags::CLOEXEC)?);
    let written = file.write_all(text.as_bytes()).and_then(|()| file.rewind());
    written.map_err(|_| Errno::IO)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_asked_for_by_number_and_by_name() {
        let name = Some((65_537, "dm/name"));
        assert_eq!(place_in_sys("/sys/dev/block/7:65537/dm/name"), name);
        assert_eq!(place_in_sys("/sys/block/loop65537/dm/name"), name);
        assert_eq!(place_in_sys("/sys/class/block/loop65537/dm/name"), name);
        assert_eq!(place_in_sys("/sys/dev/block/8:1/dm/name"), None);
        assert_eq!(place_in_sys("/sys/block/sda/dm/name"), None);
        assert_eq!(place_in_sys("/proc/dm/name"), None);
    }
}
