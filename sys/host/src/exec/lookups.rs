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

/// The text of a file that the kernel has for its mapped devices in /sys.
pub fn attribute(asked: &Path, devices: &Translator) -> Option<String> {
    let (minor, attribute) = place_in_sys(asked.to_str()?)?;
    let reply = devices.about(minor)?;
    Some(match attribute {
        "name" => reply.name + "\n",
        "uuid" => reply.uuid + "\n",
        "suspended" => format!("{}\n", u8::from(reply.flags.contains(Flags::SUSPEND))),
        _ => return None,
    })
}

/// The device and the attribute that a path in /sys means.
fn place_in_sys(path: &str) -> Option<(u32, &str)> {
    let rest = path.strip_prefix("/sys/")?;
    let (device, attribute) = rest.rsplit_once("/dm/")?;
    let (folder, device) = device.rsplit_once('/')?;
    let minor = match folder {
        "dev/block" => {
            let devno = device.parse::<DevNo>().ok()?;
            Some(devno.minor).filter(|_| devno.major == loops::MAJOR)?
        }
        "block" | "class/block" => device.strip_prefix("loop")?.parse().ok()?,
        _ => return None,
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
        assert_eq!(place_in_sys("/sys/dev/block/7:65537/dm/name"), Some((65_537, "name")));
        assert_eq!(place_in_sys("/sys/block/loop65537/dm/uuid"), Some((65_537, "uuid")));
        assert_eq!(place_in_sys("/sys/dev/block/8:1/dm/name"), None);
        assert_eq!(place_in_sys("/sys/dev/block/7:1/size"), None);
        assert_eq!(place_in_sys("/proc/dm/name"), None);
    }
}
