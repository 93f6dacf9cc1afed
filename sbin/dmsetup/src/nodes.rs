//! Device nodes: the kernel leaves making them to its clients, a host process shows files itself.

use crate::error::Fail;
use libdm::{Entry, Info};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid, chmod, chown, major, makedev, mknodat, stat};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// As the stock tools make them: for root, and for the operator to read.
const MODE: u32 = 0o640;
const OPERATOR: u32 = 5;

/// Where nodes stand and how they are made.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// `mapper` in the device directory, if nodes are needed.
    pub directory: Option<PathBuf>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u32>,
}

impl Nodes {
    /// Makes `NAME` and `rNAME`, replacing what stands there for another device.
    pub fn make(&self, info: &Info) -> Result<(), Fail> {
        let Some(directory) = &self.directory else { return Ok(()) };
        // The control node is the driver's own character device.
        let control = directory.join("control");
        let stat = stat(&control).map_err(|error| failed("see", &control, &error.into()))?;
        let char_major = major(stat.st_rdev);
        let block = directory.join(&info.name);
        let raw = directory.join(format!("r{}", info.name));
        let kinds = [
            (block, FileType::BlockDevice, info.devno.major),
            (raw, FileType::CharacterDevice, char_major),
        ];
        for (path, kind, major) in kinds {
            let made = self.make_one(&path, kind, makedev(major, info.devno.minor));
            made.map_err(|error| failed("make", &path, &error))?;
        }
        Ok(())
    }

    /// Makes the nodes of a device unless they are there.
    pub fn make_missing(&self, info: &Info) -> Result<(), Fail> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let number = makedev(info.devno.major, info.devno.minor);
        match stat(directory.join(&info.name)) {
            Ok(node) if node.st_rdev == number => Ok(()),
            _ => self.make(info),
        }
    }

    /// Removes the nodes of devices that are no more. What is no node of ours stays.
    pub fn remove_stale(&self, names: &[Entry]) -> Result<(), Fail> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let wrong = |error: io::Error| failed("see", directory, &error);
        for file in fs::read_dir(directory).map_err(wrong)? {
            let file = file.map_err(wrong)?;
            let (Ok(kind), Ok(name)) = (file.file_type(), file.file_name().into_string()) else {
                continue;
            };
            // A raw node goes with its block node.
            if kind.is_block_device() && !names.iter().any(|entry| entry.name == name) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn make_one(&self, path: &Path, kind: FileType, number: u64) -> io::Result<()> {
        remove(path)?;
        let mode = Mode::from_bits_truncate(self.mode.unwrap_or(MODE) as _);
        mknodat(CWD, path, kind, mode, number)?;
        let owner = Uid::from_raw(self.uid.unwrap_or(0));
        let group = Gid::from_raw(self.gid.unwrap_or(OPERATOR));
        chown(path, Some(owner), Some(group))?;
        // mknod's mode went through the umask.
        chmod(path, mode)?;
        Ok(())
    }

    /// Removes the nodes of a device.
    pub fn remove(&self, name: &str) -> Result<(), Fail> {
        let Some(directory) = &self.directory else { return Ok(()) };
        for path in [directory.join(name), directory.join(format!("r{name}"))] {
            remove(&path).map_err(|error| failed("remove", &path, &error))?;
        }
        Ok(())
    }

    /// Renames the nodes of a device.
    pub fn rename(&self, old: &str, new: &str) -> Result<(), Fail> {
        let Some(directory) = &self.directory else { return Ok(()) };
        for prefix in ["", "r"] {
            let from = directory.join(format!("{prefix}{old}"));
            let to = directory.join(format!("{prefix}{new}"));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("rename", &from, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Fail {
    Fail::Because(format!("Unable to {what} device node {}: {error}", path.display()))
}
