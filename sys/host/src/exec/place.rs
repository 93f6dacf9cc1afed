//! The program's private view of the system: its own list of drivers in /proc, its own
//! /dev/mapper. Nobody else sees these mounts, and they go with the last who does.

use super::filter::Needs;
use super::loops;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, makedev, mknodat, open};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::env;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The number of /dev/mapper/control, which is the same on every Linux.
pub const CONTROL: (u32, u32) = (10, 236);

/// How many of one number there may be at a time.
const FOLDERS: u32 = 100;

/// Where the program runs.
#[derive(Debug)]
pub struct Place {
    /// A folder of our own.
    pub folder: PathBuf,
    /// Says that the folder is somebody's, for as long as one of us lives.
    pub lock: File,
    /// What is seen as /dev/mapper, if that lies beside the system's nodes.
    pub nodes: Option<PathBuf>,
    /// The directory that stands for /dev, for what reads `DM_DEV_DIR`.
    pub dev_dir: Option<PathBuf>,
    /// What could not be mounted or made, and has to be feigned.
    pub needs: Needs,
}

impl Place {
    /// Makes the view. To be called while the process has one thread only.
    ///
    /// # Errors
    /// A sentence, when there is not even a folder.
    pub fn make() -> Result<Self, String> {
        let apart = leave_others();
        let parents = [PathBuf::from("/run"), env::temp_dir()];
        parents.iter().for_each(|parent| clear(parent));
        let (folder, lock) =
            folder(parents).map_err(|error| format!("no folder of our own: {error}"))?;
        let dev_dir = env::var_os("DM_DEV_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let needs = Needs { lookups: true, nodes: true };
        let mut place = Self { folder, lock, nodes: None, dev_dir, needs };
        match apart.and_then(|()| place.mount()) {
            Ok(()) => place.needs.lookups = false,
            Err(errno) => log::info!("no mounts of our own ({errno}): lists in /proc are feigned"),
        }
        place.needs.nodes = place.control_node().is_err();
        if place.needs.nodes && place.dev_dir.is_none() {
            // Somewhere to pretend that there are nodes.
            place.dev_dir = Some(place.folder.join("dev"));
        }
        for dir in [Some(place.folder.as_path()), place.dev_dir.as_deref()].into_iter().flatten() {
            let mapper = dir.join("mapper");
            let made = DirBuilder::new().recursive(true).mode(0o755).create(&mapper);
            made.map_err(|error| format!("{}: {error}", mapper.display()))?;
        }
        Ok(place)
    }

    /// Mounts what only the program shall see.
    fn mount(&mut self) -> Result<(), Errno> {
        let empty: Option<&std::ffi::CStr> = Some(c"mode=755");
        mount("dmhost", &self.folder, "tmpfs", MountFlags::NOSUID, empty)?;
        for (list, text) in lists() {
            let own = self.folder.join(list);
            fs::write(&own, text).map_err(|_| Errno::IO)?;
            mount_bind(&own, Path::new("/proc").join(list))?;
        }
        if self.dev_dir.is_none() {
            let mapper = Path::new("/dev/mapper");
            let made = DirBuilder::new().recursive(true).mode(0o755).create(mapper);
            made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            self.nodes = nodes(&self.folder, &self.lock).filter(|nodes| {
                // lvm looks for disks in the file system of /dev only.
                let made = DirBuilder::new().mode(0o755).create(nodes).is_ok();
                let bound = made && mount_bind(nodes, mapper).is_ok();
                if made && !bound {
                    let _ = fs::remove_dir(nodes);
                }
                bound
            });
            if self.nodes.is_none() {
                mount("dmhost", mapper, "tmpfs", MountFlags::NOSUID, empty)?;
            }
        }
        Ok(())
    }

    /// Makes the control node, to see whether nodes may be made at all.
    fn control_node(&self) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(0o600);
        let device = makedev(CONTROL.0, CONTROL.1);
        let at = match (&self.dev_dir, self.needs.lookups) {
            (None, false) => PathBuf::from("/dev/mapper/control"),
            _ => self.folder.join("control"),
        };
        mknodat(CWD, &at, FileType::CharacterDevice, mode, device)
    }

    /// Takes the folder away, where no keeper does.
    pub fn leave(&self) {
        if self.needs.lookups {
            let _ = fs::remove_dir_all(&self.folder);
        } else {
            let _ = unmount(&self.folder, UnmountFlags::DETACH);
            let _ = fs::remove_dir(&self.folder);
            if let Some(nodes) = &self.nodes {
                let _ = fs::remove_dir_all(nodes);
            }
        }
    }
}

/// Has mounts of ours seen by nobody but our children.
fn leave_others() -> Result<(), Errno> {
    // SAFETY: it separates neither files nor memory, and there is one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    // What others mount is still seen.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
}

/// How the folders are called, before the number of the process.
const NAME: &str = "dmhost-exec.";

/// Where the nodes are of the one whose folder this is. No other folder of the machine, in
/// whatever file system, has the same.
fn nodes(folder: &Path, lock: &File) -> Option<PathBuf> {
    let (name, of) = (folder.file_name()?.to_str()?, lock.metadata().ok()?);
    Some(PathBuf::from(format!("/dev/.{name}-{:x}-{:x}", of.dev(), of.ino())))
}

/// Has a folder for ourselves, if it is nobody's.
fn lock(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = open(folder, flags, Mode::empty())?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock.into())
}

/// Takes away the empty folders of those who were killed, keeper and all. Whether anybody
/// lives whose folder it is only the lock tells: a mount there is seen by its owner alone, and
/// would go with the folder.
fn clear(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(NAME);
    for folder in entries.filter(ours).map(|entry| entry.path()) {
        if let Ok(lock) = lock(&folder) {
            if let Some(nodes) = nodes(&folder, &lock) {
                let _ = fs::remove_dir_all(nodes);
            }
            let _ = fs::remove_dir(&folder);
        }
    }
}

/// Makes a folder, and locks it. Its name may be taken: by who has our number in another pid
/// namespace, or had it and left nobody to clear up.
fn folder(parents: [PathBuf; 2]) -> io::Result<(PathBuf, File)> {
    let mut why = io::ErrorKind::NotFound.into();
    let process = std::process::id();
    for parent in parents {
        let further = (1..FOLDERS).map(|next| format!("{NAME}{process}.{next}"));
        for name in [format!("{NAME}{process}")].into_iter().chain(further) {
            let folder = parent.join(name);
            match DirBuilder::new().mode(0o755).create(&folder) {
                // Another one that clears up may have taken it away before it was locked.
                Ok(()) => match lock(&folder) {
                    Ok(lock) if lock.metadata()?.nlink() != 0 => return Ok((folder, lock)),
                    _ => continue,
                },
                Err(error) => why = error,
            }
            if why.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
    }
    Err(why)
}

/// The lists in /proc by which programs find the device mapper, as they shall read.
#[must_use]
pub fn lists() -> [(&'static str, String); 2] {
    let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
    [("devices", devices(&read("devices"))), ("misc", misc(&read("misc")))]
}

/// Our block devices are loop devices, and so their driver is the device mapper, too.
fn devices(real: &str) -> String {
    let mut text = String::with_capacity(real.len() + 32);
    let mut blocks = false;
    for line in real.lines() {
        blocks |= line.starts_with("Block");
        if !blocks || !line.ends_with(" device-mapper") {
            text.extend([line, "\n"]);
        }
    }
    if !blocks {
        text.push_str("\nBlock devices:\n");
    }
    text.push_str(&format!("{:3} device-mapper\n", loops::MAJOR));
    text
}

fn misc(real: &str) -> String {
    let others = real.lines().filter(|line| !line.ends_with(" device-mapper"));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!("{:3} device-mapper\n", CONTROL.1));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_beside_those_that_others_have_and_beside_a_place_that_is_none() {
        let parent = tempfile::TempDir::new().unwrap();
        let find = || folder([PathBuf::from("/nowhere"), parent.path().to_owned()]).unwrap().0;
        let name = format!("dmhost-exec.{}", std::process::id());
        assert_eq!(find(), parent.path().join(&name));
        assert_eq!(find(), parent.path().join(name.clone() + ".1"));
        assert_eq!(find(), parent.path().join(name + ".2"));
        (3..FOLDERS).for_each(|_| drop(find()));
        let full = folder([PathBuf::from("/nowhere"), parent.path().to_owned()]);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn folders_of_the_dead_are_taken_away_and_those_of_others_are_not() {
        let parent = tempfile::TempDir::new().unwrap();
        let make = |name: &str| {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let [dead, full, held] = [9, 8, 7].map(|nr| make(&format!("{NAME}{nr}.1")));
        let mine = make("else");
        fs::write(full.join("file"), "").unwrap();
        let lock = lock(&held).unwrap();
        clear(parent.path());
        assert!(!dead.exists());
        assert!([&full, &held, &mine].iter().all(|folder| folder.exists()));
        drop(lock);
        clear(parent.path());
        assert!(!held.exists() && full.exists());
    }

    #[test]
    fn the_list_of_drivers_names_the_device_mapper_and_loop_devices() {
        let real = "Character devices:\n  7 vcs\n 10 misc\n\nBlock devices:\n  7 loop\n253 zram\n";
        assert_eq!(devices(real), real.to_owned() + "  7 device-mapper\n");
        let two = real.replace("253 zram", "253 device-mapper");
        assert_eq!(devices(&two), real.replace("253 zram", "  7 device-mapper"));
        assert!(devices("").ends_with("Block devices:\n  7 device-mapper\n"));
        assert_eq!(misc("237 loop-control\n"), "237 loop-control\n236 device-mapper\n");
        assert_eq!(misc("236 device-mapper\n"), "236 device-mapper\n");
    }
}
