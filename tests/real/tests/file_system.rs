//! A file system on mapped devices, while their tables are swapped.

use dm_real::{Host, source_tree, tool};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A loop device, detached when dropped.
struct Loop(String);

impl Loop {
    /// `None`, and the test skipped, where there are no loop devices.
    fn over(file: &Path) -> Option<Self> {
        let attached = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        match attached {
            Ok(out) if out.status.success() => {
                Some(Self(String::from_utf8_lossy(&out.stdout).trim().to_string()))
            }
            _ => {
                dm_skip::skip("no loop devices");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A mounted file system, unmounted when dropped.
struct Mount(String);

impl Mount {
    fn at(device: &Loop, place: &Path) -> Option<Self> {
        fs::create_dir_all(place).expect("a place to mount");
        let place = place.display().to_string();
        let mounted = Command::new("mount").args([&device.0, &place]).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(place));
        }
        dm_skip::skip("mount(8) is not allowed");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Copies the source tree in while `tables` take turns under it; everything must be there.
fn copy_while_tables_change(host: &Host, name: &str, tables: &[String; 2]) {
    if !host.shows_files(name) {
        return dm_skip::skip("mapped devices are not shown as files (no FUSE)");
    }
    let device = host.device(name);
    let file = device.display().to_string();
    tool("mkfs.ext4", &["-q", "-F", &file]);
    let Some(loop_device) = Loop::over(&device) else { return };
    let Some(mount) = Mount::at(&loop_device, &host.path("mnt")) else { return };
    let copied = AtomicBool::new(false);
    let swaps = thread::scope(|scope| {
        let swapping = scope.spawn(|| swap_until(host, name, tables, &copied));
        for part in ["sys", "lib", "sbin", "tests", "share", "docs"] {
            let from = source_tree().join(part).display().to_string();
            tool("cp", &["-a", &from, &mount.0]);
        }
        tool("sync", &["-f", &mount.0]);
        copied.store(true, Ordering::Relaxed);
        swapping.join().expect("swapping ends")
    });
    assert!(swaps >= 2, "the table was swapped {swaps} times only");
    for part in ["sys", "lib", "sbin"] {
        let from = source_tree().join(part).display().to_string();
        tool("diff", &["-r", &from, &format!("{}/{part}", mount.0)]);
    }
    drop(mount);
    drop(loop_device);
    tool("e2fsck", &["-fn", &file]);
}

/// Loads and resumes the tables in turn until the copy is over; says how often.
fn swap_until(host: &Host, name: &str, tables: &[String; 2], copied: &AtomicBool) -> usize {
    let mut swaps = 0;
    while !copied.load(Ordering::Relaxed) || swaps < 2 {
        host.dmsetup("load", &[name, "--table", &tables[swaps % 2]]);
        host.dmsetup("resume", &[name]);
        swaps += 1;
    }
    swaps
}

#[test]
fn two_images_joined_carry_a_file_system_while_their_table_is_swapped() {
    if !dm_skip::have("mkfs.ext4") || !dm_skip::have("losetup") {
        return;
    }
    let host = Host::new();
    let (a, b) = (host.image("a", 64), host.image("b", 64));
    let joined = format!("0 131072 linear {a} 0\n131072 131072 linear {b} 0");
    let in_four = format!(
        "0 1000 linear {a} 0\n1000 130072 linear {a} 1000\n\
         131072 7 linear {b} 0\n131079 131065 linear {b} 7"
    );
    host.dmsetup("create", &["joined", "--table", &joined]);
    copy_while_tables_change(&host, "joined", &[in_four, joined]);
    host.dmsetup("remove", &["joined"]);
    // The first megabytes of the file system are on the first image, where its label is.
    tool("e2label", &[&a]);
}

#[test]
fn a_file_system_striped_over_four_images_survives_swaps_of_its_table() {
    if !dm_skip::have("mkfs.ext4") || !dm_skip::have("losetup") {
        return;
    }
    let host = Host::new();
    let images: Vec<String> =
        ["a", "b", "c", "d"].iter().map(|name| format!("{} 0", host.image(name, 32))).collect();
    let striped = format!("0 262144 striped 4 128 {}", images.join(" "));
    host.dmsetup("create", &["striped", "--table", &striped]);
    copy_while_tables_change(&host, "striped", &[striped.clone(), striped]);
    host.dmsetup("remove", &["striped"]);
}
