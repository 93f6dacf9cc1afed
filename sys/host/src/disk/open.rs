//! From a path or name to an open disk.

use super::file::{self, Engine, FileDisk};
use super::memory::MemoryDisk;
use super::null::NullDisk;
use super::{Backend, Space, system};
use crate::kern::hold;
use crate::paths;
use dm_protocol::{DevNo, Errno, Failure, Sectors};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

/// Sectors of the largest disk in memory.
const MEMORY_SECTORS_MAX: u64 = 1 << 31;

static REGISTERED: Mutex<BTreeMap<String, Arc<dyn Backend>>> = Mutex::new(BTreeMap::new());

/// Gives a disk a name under which tables reach it, instead of any of that name before.
pub fn register(name: &str, disk: Arc<dyn Backend>) {
    hold(&REGISTERED).insert(name.to_owned(), disk);
}

/// Takes a name away; the disk stays open in the tables that have it.
pub fn forget(name: &str) {
    hold(&REGISTERED).remove(name);
}

/// Opens what a table names: a registered name, `mem:NAME:SECTORS` (without the size once it is
/// there), `null:SECTORS`, a path, or
/// `major:minor`.
///
/// # Errors
/// The number and a sentence with the path.
pub fn open(spec: &str, write: bool) -> Result<Arc<dyn Backend>, Failure> {
    if let Some(disk) = hold(&REGISTERED).get(spec) {
        return Ok(Arc::clone(disk));
    }
    if let Some(rest) = spec.strip_prefix("mem:") {
        let (name, sectors) = rest.split_once(':').ok_or_else(|| no_such(spec))?;
        return open_memory(spec, name, sectors);
    }
    if let Some(sectors) = spec.strip_prefix("null:") {
        let sectors = sectors.parse().ok().filter(|&n| n != 0).ok_or_else(|| no_such(spec))?;
        return Ok(Arc::new(NullDisk::new(spec, Sectors(sectors))));
    }
    match spec.parse::<DevNo>() {
        Ok(devno) => open_path(&device_path(devno)?, write, None),
        Err(_) => open_path(spec, write, None),
    }
}

/// Opens a path for one engine, whatever `$DM_HOST_ENGINE` says. Not shared with other openers.
///
/// # Errors
/// As [`open`].
pub fn open_with(path: &str, write: bool, engine: Engine) -> Result<Arc<dyn Backend>, Failure> {
    open_path(path, write, Some(engine))
}

fn no_such(spec: &str) -> Failure {
    let message = format!("{spec}: expected mem:NAME:SECTORS or null:SECTORS");
    Failure::new(Errno::EINVAL, message)
}

fn open_memory(spec: &str, name: &str, sectors: &str) -> Result<Arc<dyn Backend>, Failure> {
    let wanted: u64 = sectors.parse().map_err(|_| no_such(spec))?;
    if wanted == 0 || wanted > MEMORY_SECTORS_MAX {
        let message = format!("{spec}: a disk in memory has 1 to {MEMORY_SECTORS_MAX} sectors");
        return Err(Failure::new(Errno::EINVAL, message));
    }
    let key = format!("mem:{name}");
    let mut registered = hold(&REGISTERED);
    if let Some(disk) = registered.get(&key) {
        let there = disk.describe().size.0;
        if there != wanted {
            let message = format!("{spec}: disk \"{name}\" has {there} sectors already");
            return Err(Failure::new(Errno::EINVAL, message));
        }
        return Ok(Arc::clone(disk));
    }
    let disk: Arc<dyn Backend> = Arc::new(MemoryDisk::new(&key, Sectors(wanted)));
    registered.insert(key, Arc::clone(&disk));
    Ok(disk)
}

/// The path of a block device's node.
fn device_path(devno: DevNo) -> Result<String, Failure> {
    let missing = || format!("{devno}: no block device has this number");
    system::device_path(devno).ok_or_else(|| Failure::new(Errno::ENXIO, missing()))
}

/// Which file, and open for writing?
type Key = ([u64; 2], bool);

/// How often, and how long each time, to wait for a busy file: one of ours may be being closed.
const CLOSING_TRIES: usize = 20;
const CLOSING_WAIT: Duration = Duration::from_millis(10);

static OPEN: Mutex<Option<HashMap<Key, Weak<FileDisk>>>> = Mutex::new(None);

fn open_path(path: &str, write: bool, engine: Option<Engine>) -> Result<Arc<dyn Backend>, Failure> {
    if let Some(name) = paths::mapped_name(path) {
        let message = format!("{path}: there is no mapped device \"{name}\"");
        return Err(Failure::new(Errno::ENXIO, message));
    }
    // Before it is opened: opening a file of our own would wait for ourselves.
    let meta = fs::metadata(path).map_err(|error| file::failure(path, &error))?;
    if paths::is_own(meta.dev()) {
        let message = format!("{path}: a file of this process; name the mapped device instead");
        return Err(Failure::new(Errno::ELOOP, message));
    }
    // `table` prints this path, and whoever reads it may stand elsewhere.
    let absolute = std::path::absolute(path).ok().and_then(|path| path.to_str().map(String::from));
    let path = absolute.as_deref().unwrap_or(path);
    let kind = meta.file_type();
    let identity = if kind.is_block_device() {
        [Space::Device.number(), meta.rdev()]
    } else if kind.is_file() {
        [meta.dev(), meta.ino()]
    } else {
        let what = if kind.is_dir() { "a directory" } else { "neither a file nor a block device" };
        return Err(Failure::new(Errno::ENOTBLK, format!("{path}: {what}")));
    };
    if let Some(engine) = engine {
        return Ok(FileDisk::open(path, write, identity, engine)?);
    }
    for _ in 0..CLOSING_TRIES {
        match open_shared(path, write, identity) {
            Err(why) if why.errno == Errno::EBUSY => thread::sleep(CLOSING_WAIT),
            opened => return Ok(opened?),
        }
    }
    Ok(open_shared(path, write, identity)?)
}

/// An open file that is shared with its other openers.
fn open_shared(path: &str, write: bool, identity: [u64; 2]) -> Result<Arc<FileDisk>, Failure> {
    // Held while opening, so that nobody opens the same file a second time.
    let mut open = hold(&OPEN);
    let open = open.get_or_insert_default();
    let disk = match open.get(&(identity, write)).and_then(Weak::upgrade) {
        Some(disk) if !disk.resized() => return Ok(disk),
        Some(disk) => disk.renewed(write),
        None => FileDisk::open(path, write, identity, Engine::preferred()),
    }?;
    open.retain(|_, disk| disk.strong_count() != 0);
    open.insert((identity, write), Arc::downgrade(&disk));
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refusal(spec: &str) -> Failure {
        open(spec, true).err().unwrap()
    }

    #[test]
    fn a_file_is_opened_once_per_mode_however_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (image, link) = (dir.path().join("image"), dir.path().join("link"));
        fs::write(&image, vec![0; 4096 + 100]).unwrap();
        symlink("image", &link).unwrap();
        let [image, link] = [&image, &link].map(|path| path.to_str().unwrap());
        let (one, two) = (open(image, true).unwrap(), open(link, true).unwrap());
        assert!(Arc::ptr_eq(&one, &two));
        let three = open(link, false).unwrap();
        assert!(!Arc::ptr_eq(&one, &three));
        assert_eq!(one.describe().identity, three.describe().identity);
        assert_eq!(one.describe().size, Sectors(8));
        fs::File::options().write(true).open(image).unwrap().set_len(1 << 20).unwrap();
        assert_eq!(open(image, true).unwrap().describe().size, Sectors(2048));
    }

    #[test]
    fn a_file_that_is_missing_is_refused_with_its_path_and_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none").to_str().unwrap().to_owned();
        let failure = refusal(&missing);
        assert_eq!(failure.errno, Errno::ENOENT);
        assert_eq!(failure.message, format!("{missing}: No such file or directory"));
    }

    #[test]
    fn an_image_named_from_here_is_told_of_by_its_whole_path() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let image = dir.path().join("image");
        fs::write(&image, [0; 512]).unwrap();
        let relative = dir.path().file_name().unwrap().to_str().unwrap().to_owned() + "/image";
        let name = open(&relative, true).unwrap().describe().name;
        assert_eq!(name, std::env::current_dir().unwrap().join(relative).to_str().unwrap());
    }

    #[test]
    fn an_image_is_written_by_one_process_alone() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::write(&image, [0; 512]).unwrap();
        let path = image.to_str().unwrap();
        let other = fs::File::open(&image).unwrap();
        other.lock().unwrap();
        assert_eq!(refusal(path).errno, Errno::EBUSY);
        open(path, false).unwrap();
        other.unlock().unwrap();
        for _ in 0..100 {
            let disk = open(path, true).unwrap();
            let closer = thread::spawn(move || drop(disk));
            open(path, true).unwrap();
            closer.join().unwrap();
        }
    }

    #[test]
    fn what_is_no_disk_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(refusal(path).errno, Errno::ENOTBLK);
        assert_eq!(refusal("/dev/null").errno, Errno::ENOTBLK);
        let none = format!("{path}/none");
        assert_eq!(refusal(&none).errno, Errno::ENOENT);
        assert!(refusal(&none).message.contains(&none));
        assert_eq!(refusal("4095:77").errno, Errno::ENXIO);
        assert_eq!(refusal("/dev/mapper/no-such-device").errno, Errno::ENXIO);
        let tiny = dir.path().join("tiny");
        fs::write(&tiny, [0; 511]).unwrap();
        assert_eq!(refusal(tiny.to_str().unwrap()).errno, Errno::EINVAL);
    }

    #[test]
    fn memory_disks_keep_their_size_and_content_by_name() {
        let one = open("mem:keep:16", true).unwrap();
        assert!(Arc::ptr_eq(&one, &open("mem:keep:16", false).unwrap()));
        assert_eq!(refusal("mem:keep:17").errno, Errno::EINVAL);
        assert!(Arc::ptr_eq(&one, &open("mem:keep", true).unwrap()));
        assert_eq!(refusal("mem:none").errno, Errno::EINVAL);
        assert_eq!(refusal("mem:big:99999999999999").errno, Errno::EINVAL);
        assert_eq!(refusal("null:0").errno, Errno::EINVAL);
        assert_eq!(open("null:7", true).unwrap().describe().size, Sectors(7));
    }
}
