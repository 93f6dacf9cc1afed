//! What is mounted: the lines of /proc/PID/mountinfo, see proc_pid_mountinfo(5).

use dm_protocol::DevNo;
use rustix::fs::{major, minor, stat};
use std::fs;
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number that its files have as their device.
    pub devno: DevNo,
    /// Where.
    pub place: PathBuf,
    /// What it was mounted from, as whoever mounted it said.
    pub source: PathBuf,
}

/// The mounts of a process, which may be "self".
#[must_use]
pub fn of(process: &str) -> Vec<Mount> {
    let text = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

impl Mount {
    /// Is its file system on this block device?
    #[must_use]
    pub fn is_on(&self, devno: DevNo) -> bool {
        // Some file systems have a number of their own, and name the device.
        self.devno == devno || self.devno.major == 0 && block_device(&self.source) == Some(devno)
    }
}

/// The number of the block device that a path leads to.
#[must_use]
pub fn block_device(path: &Path) -> Option<DevNo> {
    if !path.is_absolute() {
        return None;
    }
    let stat = stat(path).ok()?;
    let block = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_block_device();
    block.then(|| DevNo { major: major(stat.st_rdev), minor: minor(stat.st_rdev) })
}

fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let devno = fields.nth(2)?.parse().ok()?;
    let place = plain(fields.nth(1)?);
    let mut behind = fields.skip_while(|field| *field != "-");
    Some(Mount { devno, place, source: plain(behind.nth(2)?) })
}

/// A path in which some bytes are written as a backslash and three octal digits.
fn plain(field: &str) -> PathBuf {
    let mut parts = field.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                path.push(code.into());
                path.push_str(part.get(3..).unwrap_or_default());
            }
            None => {
                path.push('\\');
                path.push_str(part);
            }
        }
    }
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_number_place_and_source() {
        let line = "36 35 7:65537 / /mnt/a\\040b rw,noatime master:1 - ext4 /dev/mapper/x rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.devno, DevNo { major: 7, minor: 65_537 });
        assert_eq!(mount.place, Path::new("/mnt/a b"));
        assert_eq!(mount.source, Path::new("/dev/mapper/x"));
        assert!(mount.is_on(DevNo { major: 7, minor: 65_537 }));
        assert!(!mount.is_on(DevNo { major: 7, minor: 1 }));
        assert_eq!(parse("36 35 7:65537 / /mnt"), None);
        assert_eq!(plain("a\\b\\134c"), Path::new("a\\b\\c"));
    }

    #[test]
    fn there_is_a_root_in_every_process() {
        assert!(of("self").iter().any(|mount| mount.place == Path::new("/")));
    }
}
