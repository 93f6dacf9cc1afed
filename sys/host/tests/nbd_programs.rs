//! The NBD server as the programs that people have see it.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod setup;

use dm_host::front::Registry;
use dm_host::nbd::Nbd;
use dm_protocol::SegmentSpec;
use setup::Setup;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Sectors of the device, which is in two parts.
const SECTORS: u64 = 32 << 11;

struct World {
    _nbd: Nbd,
    _setup: Setup,
    dir: TempDir,
}

/// A device `v` on an image file, upside down.
fn world() -> World {
    let setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::File::create(&image).unwrap().set_len(SECTORS * 512).unwrap();
    let (half, image) = (SECTORS / 2, image.display());
    let table = vec![
        SegmentSpec::new(0, half, "linear", &format!("{image} {half}")),
        SegmentSpec::new(half, half, "linear", &format!("{image} 0")),
    ];
    setup.device("v", table);
    let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let _nbd = Nbd::start(listener, &setup.driver, &Registry::current()).unwrap();
    World { _nbd, _setup: setup, dir }
}

impl World {
    fn uri(&self) -> String {
        format!("nbd+unix:///v?socket={}", self.dir.path().join("socket").display())
    }

    /// A file with data that differ from sector to sector.
    fn data(&self, name: &str, sectors: u64) -> String {
        let bytes: Vec<u8> =
            (0..sectors * 64).flat_map(|n| (n * 0x9e37_79b9).to_le_bytes()).collect();
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

/// Runs a program that must succeed; what it prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{error}");
    text
}

fn same(one: &str, other: &str) -> bool {
    fs::read(Path::new(one)).unwrap() == fs::read(Path::new(other)).unwrap()
}

#[test]
fn nbdinfo_lists_and_describes_the_export() {
    if !dm_skip::have("nbdinfo") {
        return;
    }
    let world = world();
    let told = run("nbdinfo", &[&world.uri()]);
    for line in ["export-size: 33554432", "can_fua: true", "can_multi_conn: true"] {
        assert!(told.contains(line), "{told}");
    }
    assert!(told.contains("block_size_minimum: 512"), "{told}");
    let root = world.uri().replace("///v", "///");
    assert!(run("nbdinfo", &["--list", &root]).contains("export=\"v\""));
}

#[test]
fn nbdcopy_brings_and_fetches_an_image_over_many_connections() {
    if !dm_skip::have("nbdcopy") {
        return;
    }
    let world = world();
    let (from, to) = (world.data("from", SECTORS), world.path("to"));
    run("nbdcopy", &["--flush", &from, &world.uri()]);
    run("nbdcopy", &["--connections=4", &world.uri(), &to]);
    assert!(same(&from, &to));
    run("nbdcopy", &["--connections=4", "--requests=64", &from, &world.uri()]);
    run("nbdcopy", &[&world.uri(), &to]);
    assert!(same(&from, &to));
}

#[test]
fn qemu_img_converts_and_compares() {
    if !dm_skip::have("qemu-img") {
        return;
    }
    let world = world();
    let from = world.data("from", SECTORS);
    run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &from, &world.uri()]);
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &from, &world.uri()]);
    let copy = world.path("copy.qcow2");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &world.uri(), &copy]);
    run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", &copy, &world.uri()]);
}

#[test]
fn qemu_io_writes_zeroes_discards_and_flushes() {
    if !dm_skip::have("qemu-io") {
        return;
    }
    let world = world();
    let commands = [
        "write -P 17 0 1M",
        "write -f -P 18 15M 2M",
        "write -z 64k 64k",
        "write -z -u 256k 64k",
        "discard 512k 64k",
        "flush",
        "read -P 17 0 64k",
        "read -P 0 64k 64k",
        "read -P 17 128k 128k",
        "read -P 0 256k 64k",
        "read -P 18 15M 2M",
        "write -P 19 1000 100",
        "read -P 19 1000 100",
        "read -P 17 0 1000",
        "read -P 17 1100 1000",
    ];
    let mut arguments = vec!["-f", "raw"];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    let uri = world.uri();
    arguments.push(&uri);
    let told = run("qemu-io", &arguments);
    assert!(!told.contains("verification failed"), "{told}");
}

#[test]
fn fio_finds_every_block_as_it_wrote_it() {
    if !dm_skip::have("fio") {
        return;
    }
    if !run("fio", &["--enghelp"]).contains("nbd") {
        return dm_skip::skip("fio has no nbd engine");
    }
    let world = world();
    let uri = format!("--uri={}", world.uri());
    let result = world.path("fio.json");
    let output = format!("--output={result}");
    let told = run(
        "fio",
        &[
            "--name=verify",
            "--ioengine=nbd",
            &uri,
            "--rw=randwrite",
            "--bsrange=512-128k",
            "--blockalign=512",
            "--iodepth=32",
            "--size=32M",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--fsync=50",
            "--output-format=json",
            &output,
        ],
    );
    // A server that is gone leaves no result, and no error either.
    let json = fs::read_to_string(result).unwrap();
    assert!(json.contains("\"error\" : 0"), "{told}{json}");
    let wrote = json.contains("\"io_kbytes\" : 32768");
    assert!(wrote, "{told}{json}");
}
