//! The NBD server as clients that others wrote see it.

use dm_real::{Host, run, tool};
use std::fs;
use std::process::Command;

/// Bytes of the device.
const BYTES: u64 = 64 << 20;

/// A host with one device of two images, 32 MiB each, and their paths.
fn joined() -> (Host, String, String) {
    let host = Host::new();
    let (a, b) = (host.image("a", 32), host.image("b", 32));
    let table = format!("0 65536 linear {a} 0\n65536 65536 linear {b} 0");
    host.dmsetup("create", &["joined", "--table", &table]);
    (host, a, b)
}

/// Both images, one behind the other, as the device should read.
fn both(host: &Host, a: &str, b: &str) -> String {
    let mut bytes = fs::read(a).expect("an image");
    bytes.extend(fs::read(b).expect("an image"));
    let path = host.path("both");
    fs::write(&path, bytes).expect("a copy");
    path.display().to_string()
}

/// A file as long as the device, which differs from sector to sector.
fn noise(host: &Host) -> String {
    let words = 0..BYTES / 8;
    let bytes: Vec<u8> =
        words.flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect();
    let path = host.path("noise");
    fs::write(&path, bytes).expect("noise");
    path.display().to_string()
}

fn same(one: &str, other: &str) -> bool {
    fs::read(one).expect("a file") == fs::read(other).expect("a file")
}

#[test]
fn nbdinfo_lists_and_describes_the_export() {
    if !dm_skip::have("nbdinfo") {
        return;
    }
    let (host, ..) = joined();
    let info = tool("nbdinfo", &[&host.nbd("joined")]);
    let size = format!("export-size: {BYTES}");
    for line in [
        &*size,
        "can_flush: true",
        "can_fua: true",
        "can_trim: true",
        "can_multi_conn: true",
        "block_size_minimum: 512",
    ] {
        assert!(info.contains(line), "{line} is not in\n{info}");
    }
    assert!(tool("nbdinfo", &["--list", &host.nbd("")]).contains("export=\"joined\""));
}

#[test]
fn nbdcopy_brings_and_fetches_a_device_over_one_and_many_connections() {
    if !dm_skip::have("nbdcopy") {
        return;
    }
    let (host, a, b) = joined();
    let (from, uri) = (noise(&host), host.nbd("joined"));
    let to = host.path("copy").display().to_string();
    tool("nbdcopy", &["--flush", &from, &uri]);
    tool("nbdcopy", &["--connections=4", &uri, &to]);
    assert!(same(&from, &to), "what was read is not what was written");
    tool("nbdcopy", &["--connections=4", "--requests=64", &from, &uri]);
    tool("nbdcopy", &[&uri, &to]);
    assert!(same(&from, &to), "what was read is not what was written");
    assert!(same(&from, &both(&host, &a, &b)), "the images hold something else");
}

#[test]
fn qemu_img_converts_and_finds_device_and_images_identical() {
    if !dm_skip::have("qemu-img") {
        return;
    }
    let (host, a, b) = joined();
    let (from, uri) = (noise(&host), host.nbd("joined"));
    tool("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &from, &uri]);
    tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, &both(&host, &a, &b)]);
    let copy = host.path("copy.qcow2").display().to_string();
    tool("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &uri, &copy]);
    tool("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", &copy, &from]);
}

#[test]
fn qemu_io_writes_zeroes_discards_and_flushes() {
    if !dm_skip::have("qemu-io") {
        return;
    }
    let (host, ..) = joined();
    let commands = [
        "write -P 17 0 1M",
        // Across both images.
        "write -f -P 18 31M 2M",
        "write -z 64k 64k",
        "write -z -u 256k 64k",
        "discard 512k 64k",
        "flush",
        "read -P 17 0 64k",
        "read -P 0 64k 64k",
        "read -P 17 128k 128k",
        "read -P 0 256k 64k",
        "read -P 18 31M 2M",
        "write -P 19 1000 100",
        "read -P 19 1000 100",
        "read -P 17 0 1000",
        "read -P 17 1100 1000",
    ];
    let uri = host.nbd("joined");
    let mut arguments = vec!["-f", "raw"];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    arguments.push(&uri);
    let told = tool("qemu-io", &arguments);
    assert!(!told.contains("verification failed"), "{told}");
}

#[test]
fn fio_finds_every_block_as_it_wrote_it() {
    if !dm_skip::have("fio") {
        return;
    }
    if !tool("fio", &["--enghelp"]).contains("nbd") {
        return dm_skip::skip("fio has no nbd engine");
    }
    let (host, ..) = joined();
    let report = host.path("fio.json").display().to_string();
    let mut fio = Command::new("fio");
    fio.current_dir(host.path("")).args([
        "--name=verify",
        "--ioengine=nbd",
        &format!("--uri={}", host.nbd("joined")),
        "--rw=randwrite",
        "--bsrange=512-128k",
        "--blockalign=512",
        "--iodepth=32",
        "--size=64M",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--fsync=50",
        "--output-format=json",
        &format!("--output={report}"),
    ]);
    run(&mut fio);
    // A server that is gone leaves no result, and no error either.
    let report = fs::read_to_string(report).expect("fio's report");
    let wrote = format!("\"io_bytes\" : {BYTES}");
    assert!(report.contains("\"error\" : 0") && report.contains(&wrote), "{report}");
}
