//! NBD clients that others wrote.

use dm_real::{Host, tool};
use std::fs;

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

#[test]
fn fio_verifies_what_it_wrote_over_nbd() {
    if !dm_skip::have("fio") {
        return;
    }
    let (host, ..) = joined();
    let report = host.path("fio.json").display().to_string();
    let uri = format!("--uri={}", host.nbd("joined"));
    tool(
        "fio",
        &[
            "--name=verify",
            "--ioengine=nbd",
            &uri,
            "--rw=randwrite",
            "--bsrange=512-128k",
            "--blockalign=512",
            "--size=64m",
            "--io_size=64m",
            "--iodepth=16",
            "--verify=crc32c",
            "--do_verify=1",
            "--verify_fatal=1",
            "--randseed=7",
            "--output-format=json",
            &format!("--output={report}"),
        ],
    );
    // A server that is gone makes fio succeed without having done anything.
    let report = fs::read_to_string(report).expect("fio's report");
    let read = report.split("\"io_bytes\" : ").nth(1).and_then(|rest| rest.split(',').next());
    assert!(read.is_some_and(|bytes| bytes != "0"), "fio verified nothing:\n{report}");
}

#[test]
fn nbdinfo_tells_size_and_abilities() {
    if !dm_skip::have("nbdinfo") {
        return;
    }
    let (host, ..) = joined();
    let info = tool("nbdinfo", &[&host.nbd("joined")]);
    for line in ["export-size: 67108864", "can_flush: true", "can_fua: true", "can_trim: true"] {
        assert!(info.contains(line), "{line} is not in\n{info}");
    }
}

#[test]
fn nbdcopy_reads_and_writes_whole_devices() {
    if !dm_skip::have("nbdcopy") {
        return;
    }
    let (host, a, b) = joined();
    let noise: Vec<u8> =
        (0..64_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
    let from = host.path("noise").display().to_string();
    fs::write(&from, &noise).expect("noise");
    tool("nbdcopy", &["--flush", &from, &host.nbd("joined")]);
    let to = host.path("copy").display().to_string();
    tool("nbdcopy", &[&host.nbd("joined"), &to]);
    assert!(fs::read(&to).expect("the copy") == noise, "what was read is not what was written");
    let images = both(&host, &a, &b);
    assert!(fs::read(images).expect("both images") == noise, "the images hold something else");
}

#[test]
fn qemu_img_finds_device_and_images_identical() {
    if !dm_skip::have("qemu-img") || !dm_skip::have("qemu-io") {
        return;
    }
    let (host, a, b) = joined();
    let uri = host.nbd("joined");
    let writes = ["-c", "write -P 0xab 33553408 4096", "-c", "write -z 1M 64k", "-c", "flush"];
    let mut arguments = vec!["-f", "raw"];
    arguments.extend(writes);
    arguments.push(&uri);
    tool("qemu-io", &arguments);
    let images = both(&host, &a, &b);
    tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, &images]);
}
