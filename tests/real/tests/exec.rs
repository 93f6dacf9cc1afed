//! Linux's own programs under `dmhost exec`: dmsetup, file systems, lvm; and its sudden end.

use dm_real::{program, run};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Runs a script under `dmhost exec` in a folder of its own; what it printed. None, and the test
/// skipped, where there are no block devices to be had.
fn script(text: &str) -> Option<String> {
    if !dm_skip::have("dmsetup") || !dm_skip::have("losetup") {
        return None;
    }
    let folder = TempDir::new().expect("a folder");
    let text = format!("set -eu\ncd {}\n{text}", folder.path().display());
    let mut command = Command::new(program("dmhost"));
    command.args(["exec", "sh", "-c", &text]).env_remove("DM_DEV_DIR");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if errors.contains("no block devices") {
        dm_skip::skip("no loop devices, FUSE or device nodes");
        return None;
    }
    assert!(output.status.success(), "{}: {said}{errors}", output.status);
    Some(said.into_owned())
}

/// The loop devices of one `dmhost exec`, and those of its mapped devices among them.
fn loops(process: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let bound = entries.map(|entry| entry.path()).filter(|path| {
        let file = fs::read_to_string(path.join("loop/backing_file")).unwrap_or_default();
        file.contains(&format!("dmhost-exec.{process}/"))
    });
    bound.collect()
}

/// Are the nodes of one `dmhost exec` there?
fn has_nodes(process: u32) -> bool {
    let start = format!(".dmhost-exec.{process}-");
    let mut entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&start))
}

#[test]
fn linuxs_dmsetup_makes_asks_changes_and_removes() {
    let Some(said) = script(
        "dmsetup create a -u U-1 --table '0 2048 zero'
         dmsetup info -c --noheadings -o name,attr,open,segments,uuid a
         dmsetup table; dmsetup suspend a; dmsetup info -c --noheadings -o attr a; dmsetup resume a
         dmsetup create b --table '0 1000 linear /dev/mapper/a 8'
         dmsetup deps -o devname b; dmsetup ls --tree -o ascii,nodevice
         dmsetup remove a 2>&1 || echo busy
         cmp -n 512000 /dev/mapper/b /dev/zero && echo zeroes
         dmsetup rename b c; dmsetup remove c; dmsetup remove a; dmsetup ls
         dmsetup create bad --table '0 8 nosuch' 2>&1 || dmsetup info bad 2>&1 || echo none",
    ) else {
        return;
    };
    let expected = "a:L--w:0:1:U-1\na: 0 2048 zero \nL-sw\n1 dependencies\t: (a)\nb\n `-a\n\
         device-mapper: remove ioctl on a  failed: Device or resource busy\nCommand failed.\nbusy\n\
         zeroes\nNo devices found\n\
         device-mapper: reload ioctl on bad (7:NNN) failed: Invalid argument\nCommand failed.\n\
         Device does not exist.\nCommand failed.\nnone\n";
    let number = said.split("(7:").nth(1).and_then(|rest| rest.split(')').next());
    assert_eq!(said.replace(number.expect("a number"), "NNN"), expected);
}

#[test]
fn a_file_system_on_a_mapped_device_survives_a_swap_of_its_table() {
    if !dm_skip::have("mkfs.ext4") {
        return;
    }
    let Some(said) = script(
        "truncate -s 64M image; disk=$(losetup -f --show image); mkdir m
         number() { dmsetup info -c --noheadings -o major,minor $1; }
         discards() { cat /sys/dev/block/$(number $1)/queue/discard_max_bytes; }
         dmsetup create d --table \"0 65536 linear $disk 0\"
         key=$(printf %064d 1); test $(discards d) -gt 0
         dmsetup create k --table \"0 64 crypt aes-xts-plain64 $key 0 $disk 0\"
         discards k; dmsetup remove k; losetup -d $disk
         mkfs.ext4 -q /dev/mapper/d; mount /dev/mapper/d m; cp -a /etc/ssl m/
         dmsetup info -c --noheadings -o open d; dmsetup remove d 2>/dev/null || echo busy
         dmsetup load d --table \"0 100 linear $disk 0
100 99900 linear $disk 100\"
         dmsetup resume d; blockdev --getsz /dev/mapper/d; diff -r /etc/ssl m/ssl && echo same
         dmsetup remove --deferred d; umount m
         for i in 1 2 3 4 5 6 7 8 9; do dmsetup info d >/dev/null 2>&1 || break; sleep 0.2; done
         dmsetup ls; e2fsck -fn image >/dev/null && echo clean",
    ) else {
        return;
    };
    assert_eq!(said, "0\n1\nbusy\n100000\nsame\nNo devices found\nclean\n");
}

#[test]
fn lvm_makes_extends_and_removes_volumes() {
    if !dm_skip::have("lvm") {
        return;
    }
    let Some(said) = script(
        "export LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=$PWD; truncate -s 64M one two
         mkdir run locks; cat >lvm.conf <<END
global { locking_dir = \"$PWD/locks\" event_activation = 0 }
backup { backup = 0 archive = 0 }
activation { monitoring = 0 }
END
         one=$(losetup -f --show one); two=$(losetup -f --show two)
         trap 'losetup -d $one $two' EXIT
         group=dmt$$
         (pvcreate $one $two; vgcreate $group $one $two
         lvcreate -y -n l -L 20M $group; lvcreate -y -n s -i 2 -L 20M $group
         lvextend -L 40M $group/l) >/dev/null
         lvs --noheadings -o lv_name,lv_size,lv_layout --units m $group
         dmsetup ls --target striped | wc -l; dmsetup ls --target linear | wc -l
         (vgchange -an $group; dmsetup ls; vgchange -ay $group) | grep -c found
         blockdev --getsize64 /dev/$group/l
         (lvremove -y $group; vgremove $group) >/dev/null",
    ) else {
        return;
    };
    let words: Vec<&str> = said.split_whitespace().collect();
    let expected = ["l", "40.00m", "linear", "s", "24.00m", "striped", "1", "1", "1", "41943040"];
    assert_eq!(words, expected);
}

/// A script of lvm commands with its own settings, beside a loop device of 64 MB, `$one`.
fn on_one_disk(script: &str) -> String {
    let before = "export LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=$PWD
         truncate -s 64M one; mkdir locks
         echo \"global/locking_dir=\\\"$PWD/locks\\\"\" >lvm.conf
         one=$(losetup -f --show one); trap 'losetup -d $one' EXIT";
    format!("{before}\n{script}")
}

#[test]
fn lvm_finds_mapped_devices_by_the_names_they_have() {
    if !dm_skip::have("lvm") {
        return;
    }
    let Some(said) = script(&on_one_disk(
        "group=dmn$$
         dmsetup create under$$ --table \"0 129024 linear $one 2048\"
         vgcreate $group /dev/mapper/under$$ >/dev/null
         lvcreate -y -n l -L 8M --monitor n $group >/dev/null
         lvs --noheadings -o lv_size $group; dmsetup deps -o devname $group-l | grep -c under
         (lvremove -y $group; vgremove $group) >/dev/null
         dmsetup remove --retry under$$; dmsetup ls",
    )) else {
        return;
    };
    assert_eq!(said, "  8.00m\n1\nNo devices found\n");
}

#[test]
fn volumes_left_active_leave_no_links_in_dev() {
    if !dm_skip::have("lvm") {
        return;
    }
    let Some(said) = script(&on_one_disk(
        "group=dml$$
         (vgcreate $group $one; lvcreate -y -n l -L 8M --monitor n $group) >/dev/null 2>errors
         test -L /dev/$group/l && echo $group",
    )) else {
        return;
    };
    let folder = Path::new("/dev").join(said.trim());
    assert!(folder != Path::new("/dev") && !folder.exists(), "{}", folder.display());
}

#[test]
fn lvm_snapshots_extends_and_merges_a_volume_in_use() {
    if !dm_skip::have("lvm") {
        return;
    }
    let Some(said) = script(
        "export LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=$PWD; truncate -s 64M one
         mkdir run locks; cat >lvm.conf <<END
global { locking_dir = \"$PWD/locks\" event_activation = 0 use_lvmpolld = 0 }
backup { backup = 0 archive = 0 }
activation { monitoring = 0 }
END
         one=$(losetup -f --show one); trap 'losetup -d $one' EXIT; group=dms$$
         fill() { tr '\\0' $2 </dev/zero | dd of=/dev/$group/$1 bs=64k \
         count=$3 iflag=fullblock conv=notrunc,fsync status=none; }
         holds() { head -c 1048576 /dev/$group/$1 | tr -d $2 | wc -c; }
         (vgcreate $group $one; lvcreate -y -n v -L 8M $group; fill v A 16
         lvcreate -s -n s -L 4M $group/v; fill v B 10) >/dev/null
         holds s A; holds v AB; dmsetup status $group-s | cut -d' ' -f4-
         (lvextend -L 8M $group/s; lvcreate -s -n t -L 8M $group/v; fill v C 3) >/dev/null
         holds s A; holds t AB; dmsetup status $group-s | cut -d' ' -f4-
         lvconvert --merge $group/s >/dev/null
         for i in $(seq 100); do lvs $group/s >/dev/null 2>&1 || break; sleep 0.1; done
         holds v A; holds t AB; dmsetup table $group-v | cut -d' ' -f3
         (lvremove -y $group; vgremove $group) >/dev/null; dmsetup ls",
    ) else {
        return;
    };
    let lines: Vec<&str> = said.lines().collect();
    let first = ["0", "0", "1296/8192 16", "0", "0", "1296/16384 16"];
    assert_eq!(lines, [&first[..], &["0", "0", "snapshot-origin", "No devices found"]].concat());
}

#[test]
fn kpartx_maps_the_partitions_of_a_mapped_device() {
    if !dm_skip::have("kpartx") || !dm_skip::have("mkfs.ext4") {
        return;
    }
    let Some(said) = script(
        r#"truncate -s 32M image; at() { dd of=image bs=1 seek=$1 conv=notrunc status=none; }
         entry() { printf "\\000\\000\\000\\000\\203\\000\\000\\000$1$2"; }
         { entry '\000\010\000\000' '\000\100\000\000'
         entry '\000\120\000\000' '\000\040\000\000'; } | at 446
         printf '\125\252' | at 510
         disk=$(losetup -f --show image); trap 'losetup -d $disk' EXIT
         dmsetup create d --table "0 65536 linear $disk 0"
         kpartx -a -s -p -part /dev/mapper/d
         dmsetup table d-part1 | cut -d' ' -f1-3,5; dmsetup table d-part2 | cut -d' ' -f1-3,5
         dmsetup info -c --noheadings -o open d; mkfs.ext4 -q /dev/mapper/d-part2
         kpartx -d -p -part /dev/mapper/d; dmsetup info -c --noheadings -o name,open"#,
    ) else {
        return;
    };
    assert_eq!(said, "0 16384 linear 2048\n0 8192 linear 20480\n2\nd:0\n");
}

#[test]
fn cryptsetup_formats_opens_resizes_suspends_and_closes() {
    if !dm_skip::have("cryptsetup") || !dm_skip::have("mkfs.ext4") {
        return;
    }
    let Some(said) = script(
        "truncate -s 64M image; disk=$(losetup -f --show image); mkdir m
         trap 'losetup -d $disk' EXIT; echo secret >key
         cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $disk key
         cryptsetup open --key-file key $disk c; dmsetup table c | cut -d' ' -f1-5
         mkfs.ext4 -q /dev/mapper/c; mount /dev/mapper/c m; cp -a /etc/ssl m/; umount m
         cryptsetup luksSuspend c; dmsetup info -c --noheadings -o suspended c
         cryptsetup luksResume --key-file key c; cryptsetup resize --size 80000 c
         blockdev --getsz /dev/mapper/c; cryptsetup close c
         cryptsetup open --key-file key $disk c; mount /dev/mapper/c m
         diff -r /etc/ssl m/ssl && echo same; umount m; cryptsetup close c; dmsetup ls",
    ) else {
        return;
    };
    let zeroes = "0".repeat(128);
    let table = format!("0 98304 crypt aes-xts-plain64 {zeroes}");
    assert_eq!(said, format!("{table}\nSuspended\n80000\nsame\nNo devices found\n"));
}

#[test]
fn who_outlives_the_command_ends_with_it() {
    let Some(said) = script(
        "dmsetup create a --table '0 8 zero'
         (trap '' TERM; exec setsid sleep 1001 3</dev/mapper/a) >/dev/null 2>&1 & echo $!
         (setsid sh -c 'sleep 1002; echo late' >/dev/null 2>&1 & echo $!)
         (sleep 0.1; echo a pipe ends by itself >&2) | cat; sleep 0.1
         dmsetup info -c --noheadings -o open a",
    ) else {
        return;
    };
    let lines: Vec<&str> = said.lines().collect();
    let [deaf, orphan, open] = lines[..] else { panic!("{lines:?}") };
    assert_eq!(open, "1");
    for process in [deaf, orphan] {
        let name = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        assert!(!name.contains("sleep"), "{process} is there: {name}");
    }
}

#[test]
fn nothing_is_left_of_one_that_is_killed_while_a_file_system_is_written_to() {
    if !dm_skip::have("mkfs.ext4") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    let text = format!(
        "cd {}; truncate -s 64M image; mkdir m; disk=$(losetup -f --show image)
         dmsetup create d --table \"0 131072 linear $disk 0\"; losetup -d $disk
         mkfs.ext4 -q /dev/mapper/d && mount /dev/mapper/d m && touch ready
         while :; do dd if=/dev/zero of=m/x bs=1M count=20 2>/dev/null || exit; done",
        path.display()
    );
    let mut process = Command::new(program("dmhost"))
        .args(["exec", "sh", "-c", &text])
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(fs::File::create(path.join("errors")).expect("a file"))
        .spawn()
        .expect("it runs");
    let number = process.id();
    struct Group(u32);
    impl Drop for Group {
        fn drop(&mut self) {
            let _ = Command::new("kill").args(["-9", "--", &format!("-{}", self.0)]).status();
        }
    }
    let _group = Group(number);
    let ready =
        wait_for(|| path.join("ready").exists() || matches!(process.try_wait(), Ok(Some(_))));
    let errors = fs::read_to_string(path.join("errors")).unwrap_or_default();
    if errors.contains("no block devices") {
        return dm_skip::skip("no loop devices, FUSE or device nodes");
    }
    assert!(ready && path.join("ready").exists(), "{errors}");
    let made = loops(number);
    assert!(made.len() >= 2, "{made:?}");
    assert!(has_nodes(number));
    thread::sleep(Duration::from_millis(300));
    run(Command::new("kill").args(["-9", &number.to_string()]));
    let _ = process.wait();
    assert!(wait_for(|| loops(number).is_empty()), "{:?}", loops(number));
    assert!(wait_for(|| !Path::new(&format!("/run/dmhost-exec.{number}")).exists()));
    assert!(wait_for(|| !has_nodes(number)));
    let group = || Command::new("pgrep").args(["-g", &number.to_string()]).output();
    assert!(wait_for(|| group().is_ok_and(|found| found.stdout.is_empty())), "it goes on alone");
}

#[test]
fn what_is_left_when_the_keeper_is_killed_too_the_next_one_takes_away() {
    if !dm_skip::have("dmsetup") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let errors = folder.path().join("errors");
    let start = |text: &str| {
        let mut command = Command::new(program("dmhost"));
        command.args(["exec", "sh", "-c", text]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&errors).expect("a file")).spawn().expect("it runs")
    };
    let told = |name: &str| folder.path().join(name);
    // This one has lower numbers, which the next one gets then.
    let mut before = start(&format!(": >{}; exec sleep 60", told("before").display()));
    let there = wait_for(|| told("before").exists());
    let create = "dmsetup create a --table '0 8 zero'";
    let mut process = start(&format!("{create} && : >{}; sleep 60", told("made").display()));
    let number = process.id();
    wait_for(|| told("made").exists() || matches!(process.try_wait(), Ok(Some(_))));
    let said = fs::read_to_string(&errors).unwrap_or_default();
    if said.contains("no block devices") {
        run(Command::new("kill").arg(before.id().to_string()));
        let _ = before.wait();
        return dm_skip::skip("no loop devices, FUSE or device nodes");
    }
    let stays = |path: &PathBuf| {
        fs::read_to_string(path.join("loop/autoclear")).is_ok_and(|flag| flag.trim() == "0")
    };
    let devices: Vec<PathBuf> = loops(number).into_iter().filter(stays).collect();
    assert!(there && devices.len() == 1, "{said}");
    let children = format!("/proc/{number}/task/{number}/children");
    let children = fs::read_to_string(children).expect("its children");
    let mut all = vec!["-9".to_owned(), number.to_string()];
    all.extend(children.split_whitespace().map(str::to_owned));
    run(Command::new("kill").args(&all));
    let _ = process.wait();
    // While somebody has it open its number is not to be had.
    let held = fs::File::open(Path::new("/dev").join(devices[0].file_name().expect("a name")));
    let again = start(create).wait();
    assert!(again.is_ok_and(|it| it.success()), "{:?}", fs::read_to_string(&errors));
    assert!(held.is_ok() && devices[0].exists(), "{held:?}");
    drop(held);
    run(Command::new("kill").arg(before.id().to_string()));
    let _ = before.wait();
    let _ = start("true").wait();
    assert!(!devices[0].exists(), "{devices:?}");
    assert!(!Path::new(&format!("/run/dmhost-exec.{number}")).exists());
    assert!(!has_nodes(number));
}

fn wait_for(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn without_rights_devices_are_managed_and_it_is_said_what_is_missing() {
    if !dm_skip::have("dmsetup") || !dm_skip::have("setpriv") {
        return;
    }
    let me = run(Command::new("id").arg("-u"));
    let folder = TempDir::new().expect("a folder");
    let own = folder.path().join("dmhost");
    fs::copy(program("dmhost"), &own).expect("a copy that everybody may run");
    run(Command::new("chmod").arg("-R").arg("755").arg(folder.path()));
    let mut command = if me.trim() == "0" {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&own);
        command
    } else {
        Command::new(&own)
    };
    let text = "dmsetup create a --table '0 8 zero' && dmsetup table && dmsetup remove a";
    command.args(["exec", "sh", "-c", text]).current_dir("/").env_remove("DM_DEV_DIR");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a: 0 8 zero \n", "{errors}");
    assert!(errors.contains("no block devices"), "{errors}");
}

#[test]
fn a_hostile_program_harms_neither_the_driver_nor_another_client() {
    let hostile = program("hostile").display().to_string();
    let Some(said) = script(&format!(
        "truncate -s 1M image; disk=$(losetup -f --show image); trap 'losetup -d $disk' EXIT
         seconds=${{DM_TEST_LONG:+600}}
         {hostile} ${{DM_HOSTILE_SEED:-7}} ${{seconds:-6}} 2>/dev/null & attack=$!
         n=0
         while kill -0 $attack 2>/dev/null; do
             n=$((n + 1))
             dmsetup create good --table \"0 2048 linear $disk 0\"
             head -c 65536 /dev/zero | tr '\\0' $((n % 10)) >/dev/mapper/good
             dmsetup suspend good; dmsetup resume good; dmsetup rename good better
             dmsetup status better | grep -q 2048
             blockdev --getsz /dev/mapper/better | grep -q 2048
             head -c 65536 /dev/mapper/better | tr -d $((n % 10)) | wc -c | grep -q '^0$'
             dmsetup remove --retry better
         done
         wait $attack; test $n -gt 0; echo unharmed
         dmsetup create after --table '0 8 zero'; dmsetup remove after; echo alive"
    )) else {
        return;
    };
    assert_eq!(said, "unharmed\nalive\n");
}
