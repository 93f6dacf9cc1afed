//! Links to nodes of ours that programs leave behind: for each active volume lvm has one, in a
//! folder named after its group.

use super::loops;
use super::mounts::block_device;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory that stands for /dev with libdevmapper.
#[must_use]
pub fn dev_dir() -> PathBuf {
    let set = env::var_os("DM_DEV_DIR").filter(|dir| !dir.is_empty());
    set.map_or_else(|| PathBuf::from("/dev"), PathBuf::from)
}

/// Removes links in the folders of a directory that lead to these devices, and the folders that
/// nothing else is in.
pub fn remove(dev: &Path, minors: &BTreeSet<u32>) {
    let ours = |path: &Path| {
        let devno = block_device(path);
        devno.is_some_and(|it| it.major == loops::MAJOR && minors.contains(&it.minor))
    };
    for folder in entries(dev, fs::FileType::is_dir) {
        let links = entries(&folder, fs::FileType::is_symlink).into_iter();
        if links.filter(|link| ours(link)).filter(|link| fs::remove_file(link).is_ok()).count() > 0
        {
            let _ = fs::remove_dir(&folder);
        }
    }
}

fn entries(folder: &Path, is_wanted: fn(&fs::FileType) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted = entries.filter(|it| it.file_type().is_ok_and(|kind| is_wanted(&kind)));
    wanted.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    #[test]
    fn only_links_to_these_devices_go_and_folders_that_are_empty_then() {
        let Some(devno) = block_device(Path::new("/dev/loop0")) else {
            return dm_skip::skip("no /dev/loop0");
        };
        let dev = TempDir::new().unwrap();
        let make = |folder: &str, name: &str, target: &str| {
            let folder = dev.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            symlink(target, folder.join(name)).unwrap();
        };
        make("vg", "a", "/dev/loop0");
        make("vg2", "b", "/dev/loop0");
        make("vg2", "c", "/dev/null");
        make("other", "d", "/nowhere");
        remove(dev.path(), &BTreeSet::from([devno.minor]));
        let left = |folder: &str| entries(&dev.path().join(folder), |_| true).len();
        assert!(!dev.path().join("vg").exists());
        assert_eq!((left("vg2"), left("other")), (1, 1));
    }
}
