//! Who has a block device open. The kernel counts, but tells nobody; so we look at what processes
//! have open, at mounts, and at what lies on the device within the kernel.

use super::mounts;
use super::notify::same_file;
use dm_protocol::DevNo;
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The name of the mounts that a process sees.
#[must_use]
pub fn space(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/mnt")).ok()
}

/// How often a block device is open, as far as these processes and the kernel are concerned.
#[must_use]
pub fn count(devno: DevNo, processes: &[u32]) -> u32 {
    let mut spaces = BTreeSet::new();
    let mut found = Vec::new();
    let mut mounted = false;
    for process in processes {
        for descriptor in descriptors(*process, devno) {
            // A child has what its parent opened.
            let known = |other: &(u32, u32)| same_file(*other, (*process, descriptor));
            if !found.iter().any(known) {
                found.push((*process, descriptor));
            }
        }
    }
    for process in ["self".to_owned()].into_iter().chain(processes.iter().map(u32::to_string)) {
        // Processes in one place see the same mounts.
        let Some(space) = space(&process) else { continue };
        if spaces.insert(space) {
            mounted |= mounts::of(&process).iter().any(|mount| mount.is_on(devno));
        }
    }
    let found = u32::try_from(found.len()).unwrap_or(u32::MAX);
    found + u32::from(mounted) + swaps(devno) + holders(devno)
}

/// The descriptors of a process that are of the device. Processes that we may not look at have
/// none as far as we know.
fn descriptors(process: u32, devno: DevNo) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    let open = entries.filter_map(Result::ok).filter(|entry| {
        let path = entry.path();
        // Sockets and pipes have no path, and the rest is not asked of a network.
        let is_path = fs::read_link(&path).is_ok_and(|target| target.is_absolute());
        is_path && device(&path) == Some(devno)
    });
    open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn device(path: &Path) -> Option<DevNo> {
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE).ok()?;
    let block = FileType::from_raw_mode(found.stx_mode.into()).is_block_device();
    block.then_some(DevNo { major: found.stx_rdev_major, minor: found.stx_rdev_minor })
}

fn swaps(devno: DevNo) -> u32 {
    let text = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let paths = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let on = paths.filter(|path| mounts::block_device(Path::new(path)) == Some(devno));
    u32::try_from(on.count()).unwrap_or(u32::MAX)
}

/// Disks of the kernel on top of it.
fn holders(devno: DevNo) -> u32 {
    let folder = fs::read_dir(format!("/sys/dev/block/{devno}/holders"));
    folder.map_or(0, |entries| u32::try_from(entries.count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_the_root_is_mounted() {
        let root = mounts::of("self").into_iter().find(|mount| mount.place == Path::new("/"));
        let devno = root.unwrap().devno;
        if devno.major == 0 {
            return dm_skip::skip("the root is no block device");
        }
        assert!(count(devno, &[]) >= 1);
        assert_eq!(count(DevNo { major: 4000, minor: 1 }, &[std::process::id()]), 0);
    }
}
