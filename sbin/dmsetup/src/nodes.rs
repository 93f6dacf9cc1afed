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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// A directory with a control node of sorts, which goes when the test ends.
    struct Mapper(PathBuf);

    impl Mapper {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nodes-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a directory");
            std::os::unix::fs::symlink("/dev/null", path.join("control")).expect("a link");
            Self(path)
        }

        fn nodes(&self) -> Nodes {
            Nodes { directory: Some(self.0.clone()), uid: None, gid: None, mode: None }
        }

        fn file(&self, name: &str) {
            fs::write(self.0.join(name), "").expect("written");
        }

        fn names(&self) -> Vec<String> {
            let files = fs::read_dir(&self.0).expect("a directory");
            let name = |file: io::Result<fs::DirEntry>| file.map(|file| file.file_name());
            let mut names: Vec<String> = files
                .map(|file| name(file).expect("an entry").to_string_lossy().into_owned())
                .filter(|name| name != "control")
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Mapper {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn both_nodes_are_renamed_and_removed() {
        let mapper = Mapper::new("rename");
        ["a", "ra", "other"].iter().for_each(|name| mapper.file(name));
        mapper.nodes().rename("a", "b").expect("renamed");
        assert_eq!(mapper.names(), ["b", "other", "rb"]);
        mapper.nodes().remove("b").expect("removed");
        mapper.nodes().remove("b").expect("nothing to do");
        assert_eq!(mapper.names(), ["other"]);
    }

    #[test]
    fn a_host_process_needs_no_nodes() {
        let nodes = Nodes { directory: None, uid: None, gid: None, mode: None };
        nodes.make(&Info::default()).expect("nothing to do");
        nodes.make_missing(&Info::default()).expect("nothing to do");
        nodes.rename("a", "b").expect("nothing to do");
        nodes.remove("a").expect("nothing to do");
        nodes.remove_stale(&[]).expect("nothing to do");
    }

    #[test]
    fn nodes_have_the_devices_number_and_the_modes_asked_for() {
        let mapper = Mapper::new("make");
        let devno = libdm::DevNo { major: 169, minor: 300 };
        let info = Info { name: "a".into(), devno, ..Info::default() };
        let nodes = Nodes { uid: Some(1), gid: Some(2), mode: Some(0o604), ..mapper.nodes() };
        if rustix::process::geteuid().as_raw() != 0 {
            return dm_skip::skip("only root makes nodes");
        }
        nodes.make_missing(&info).expect("made");
        let see = |name: &str| fs::metadata(mapper.0.join(name)).expect("there");
        let null = see("control").rdev();
        for (name, number) in [("a", makedev(169, 300)), ("ra", makedev(major(null), 300))] {
            let node = see(name);
            assert_eq!((node.rdev(), node.uid(), node.gid()), (number, 1, 2));
            assert_eq!(node.permissions().mode() & 0o7777, 0o604);
        }
        assert!(see("a").file_type().is_block_device());
        assert!(see("ra").file_type().is_char_device());
        mapper.file("file");
        nodes.remove_stale(&[]).expect("removed");
        assert_eq!(mapper.names(), ["file"]);
    }
}
