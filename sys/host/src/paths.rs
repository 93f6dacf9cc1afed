//! Where devices appear in the file system, and which paths are our own.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// How many symbolic links lead to a device at most.
const LINKS_MAX: usize = 16;

#[derive(Default)]
struct Places {
    dev_dir: Option<PathBuf>,
    own: BTreeSet<u64>,
}

static PLACES: RwLock<Places> = RwLock::new(Places { dev_dir: None, own: BTreeSet::new() });

/// The directory that stands for /dev: as set, or `$DM_DEV_DIR`, or `/run/dm`; for a plain user
/// `$XDG_RUNTIME_DIR/dm`.
#[must_use]
pub fn dev_dir() -> PathBuf {
    let set = PLACES.read().unwrap_or_else(PoisonError::into_inner).dev_dir.clone();
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| variable("DM_DEV_DIR")).unwrap_or_else(|| {
        let of_user = variable("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root());
        of_user.map_or_else(|| PathBuf::from("/run/dm"), |dir| dir.join("dm"))
    })
}

/// Sets the directory that stands for /dev.
pub fn set_dev_dir(dir: PathBuf) {
    PLACES.write().unwrap_or_else(PoisonError::into_inner).dev_dir = Some(dir);
}

/// Where mapped devices appear.
#[must_use]
pub fn mapper_dir() -> PathBuf {
    dev_dir().join("mapper")
}

/// Where the files of mapped devices are, in the directory that stands for /dev.
#[must_use]
pub fn files_dir_in(dev_dir: &Path) -> PathBuf {
    dev_dir.join("dm")
}

/// The minor of the mapped device whose file a path is, by whatever way it leads there.
#[must_use]
pub fn mapped_file(spec: &str) -> Option<u32> {
    let path = Path::new(spec);
    let minor = path.file_name()?.to_str()?.strip_prefix("dm-")?.parse().ok()?;
    let folder = fs::canonicalize(path.parent()?).ok()?;
    (folder == fs::canonicalize(files_dir_in(&dev_dir())).ok()?).then_some(minor)
}

/// The file system with this `st_dev` is served by this process: its files are no disks.
pub fn add_own(st_dev: u64) {
    PLACES.write().unwrap_or_else(PoisonError::into_inner).own.insert(st_dev);
}

/// The file system with this `st_dev` is gone.
pub fn remove_own(st_dev: u64) {
    PLACES.write().unwrap_or_else(PoisonError::into_inner).own.remove(&st_dev);
}

/// Is the file system with this `st_dev` served by this process?
#[must_use]
pub fn is_own(st_dev: u64) -> bool {
    PLACES.read().unwrap_or_else(PoisonError::into_inner).own.contains(&st_dev)
}

/// The name of the mapped device whose node a path is, wherever links lead to it. No device of
/// that name need exist.
#[must_use]
pub fn mapped_name(spec: &str) -> Option<String> {
    name_below(&mapper_dir(), spec)
}

fn name_below(mapper: &Path, spec: &str) -> Option<String> {
    let mapper = fs::canonicalize(mapper).unwrap_or_else(|_| mapper.to_owned());
    let mut path = PathBuf::from(spec);
    for _ in 0..LINKS_MAX {
        let name = path.file_name()?.to_str()?.to_owned();
        let parent = path.parent()?;
        if parent == Path::new("/dev/mapper") {
            return Some(name);
        }
        let folder = fs::canonicalize(parent).ok()?;
        if folder == mapper {
            return Some(name);
        }
        path = folder.join(fs::read_link(folder.join(&name)).ok()?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_node_is_found_through_dots_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let mapper = dir.path().join("mapper");
        fs::create_dir_all(&mapper).unwrap();
        fs::create_dir(dir.path().join("vg")).unwrap();
        symlink("../mapper/vg-lv", dir.path().join("vg/lv")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let name = |path: &str| name_below(&mapper, dir.path().join(path).to_str().unwrap());
        assert_eq!(name("mapper/a").as_deref(), Some("a"));
        assert_eq!(name("mapper/../mapper/a").as_deref(), Some("a"));
        assert_eq!(name("vg/lv").as_deref(), Some("vg-lv"));
        assert_eq!(name("vg/other"), None);
        assert_eq!(name("loop"), None);
        assert_eq!(name("image"), None);
        assert_eq!(name_below(&mapper, "/dev/mapper/b").as_deref(), Some("b"));
        assert_eq!(name_below(&mapper, "253:1"), None);
        assert_eq!(name_below(&mapper, "/"), None);
    }
}
