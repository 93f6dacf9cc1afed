//! What the commands ask of the driver and say to the user, beyond the Linux transcript.

mod shell;

use libdm::Flags;
use shell::Shell;

fn with(name: &str) -> Shell {
    let shell = Shell::default();
    shell.ok(&format!("create {name} --table '0 8 zero'"));
    shell
}

fn refused(shell: &Shell, line: &str) -> String {
    let output = shell.run(line);
    assert_eq!(output.status, 1, "{line}: {output:?}");
    output.err
}

#[test]
fn a_refused_table_is_explained_and_leaves_nothing() {
    let shell = Shell::default();
    assert_eq!(
        refused(&shell, "create bad --table '0 8 linear /dev/vdb'"),
        "device-mapper: reload ioctl on bad (253:0) failed: Invalid argument\n\
         device-mapper: table: bad: segment 0 (sector 0): linear: expected: device offset\n\
         Command failed.\n"
    );
    assert_eq!(shell.ok("ls"), "No devices found\n");
}

#[test]
fn tables_come_from_files_and_standard_input() {
    let shell = Shell::default();
    let file = std::env::temp_dir().join(format!("dmsetup-table-{}", std::process::id()));
    std::fs::write(&file, "# two\n0 8 zero\n8 8 error\n").expect("written");
    let path = file.display();
    shell.ok(&format!("create one {path}"));
    shell.ok(&format!("create two --table {path}"));
    assert_eq!(shell.run_with("create three", "0 8 zero\n8 8 error\n").status, 0);
    std::fs::remove_file(&file).expect("removed");
    for name in ["one", "two", "three"] {
        assert_eq!(shell.ok(&format!("table {name}")), "0 8 zero \n8 8 error \n");
    }
    assert_eq!(
        refused(&shell, "create four /no/such/table"),
        "Couldn't open '/no/such/table' for reading.\nCommand failed.\n"
    );
    for (line, input) in
        [("create four", ""), ("create four --table ''", ""), ("create four", "#\n")]
    {
        let output = shell.run_with(line, input);
        assert!(output.err.contains("reload ioctl on four "), "{line}: {output:?}");
        assert_eq!((output.status, shell.run("info four").status), (1, 1), "{line}");
    }
    let output = shell.run_with("create four", "0 8 zero\nnonsense\n");
    assert_eq!(output.err, "Invalid format on line 2 of table on stdin.\nCommand failed.\n");
}

#[test]
fn a_dry_run_changes_nothing() {
    let shell = with("a");
    shell.ok("load a --dry-run --table '0 16 zero'");
    assert_eq!(shell.ok("table --inactive a"), "\n");
    assert!(refused(&shell, "reload a --dry-run --table '8 8 zero'").contains("gap in table"));
}

#[test]
fn devices_are_named_in_every_way() {
    let shell = Shell::default();
    shell.ok("create a -u U --table '0 8 zero'");
    for device in ["a", "/dev/mapper/a", "-u U", "-j 253 -m 0"] {
        assert_eq!(shell.ok(&format!("table {device}")), "0 8 zero \n", "{device}");
    }
    assert!(refused(&shell, "table -j 254 -m 0").contains("table ioctl on  (254:0) failed"));
    assert_eq!(
        refused(&shell, "remove /dev/nosuch/a"),
        "Device /dev/nosuch/a not found\nCommand failed.\n"
    );
    assert_eq!(
        refused(&shell, "create a/b --table '0 8 zero'"),
        "Name \"a/b\" invalid. It contains \"/\".\nCommand failed.\n"
    );
    let long = "n".repeat(128);
    assert_eq!(
        refused(&shell, &format!("create {long} --table '0 8 zero'")),
        format!("Name \"{long}\" too long.\nCommand failed.\n")
    );
    for line in ["remove", "suspend", "clear", "wipe_table", "rename x", "wait"] {
        assert_eq!(refused(&shell, line), "No device specified.\nCommand failed.\n", "{line}");
    }
    assert_eq!(refused(&shell, "load"), "Please specify device.\nCommand failed.\n");
}

#[test]
fn several_devices_are_taken_until_one_fails() {
    let shell = with("a");
    shell.ok("create b --table '0 8 error'");
    assert_eq!(shell.ok("table a b"), "a: 0 8 zero \nb: 0 8 error \n");
    let output = shell.run("table a nosuch b");
    assert_eq!(output.out, "a: 0 8 zero \n");
    shell.ok("remove a b");
    assert_eq!(shell.ok("ls"), "No devices found\n");
}

#[test]
fn a_missing_device_does_not_exist() {
    let shell = with("a");
    let output = shell.run("info a nosuch");
    assert!(output.out.starts_with("Name:              a\n"), "{output:?}");
    let expected = "Device does not exist.\nCommand failed.\n";
    assert_eq!((output.err.as_str(), output.status), (expected, 1));
    for line in ["info nosuch", "info -c nosuch", "status a nosuch", "status nosuch"] {
        assert_eq!(refused(&shell, line), "Device does not exist.\nCommand failed.\n", "{line}");
    }
    let output = shell.run("info -c -o name a nosuch");
    assert_eq!(output.out, "Name            \na               \n");
}

#[test]
fn an_empty_list_says_so() {
    let shell = Shell::default();
    for line in ["ls", "ls --tree", "info", "info -c", "table", "status", "deps", "mangle"] {
        assert_eq!(shell.ok(line), "No devices found\n", "{line}");
    }
    for line in ["mknodes", "remove_all", "remove_all -f"] {
        assert_eq!(shell.ok(line), "", "{line}");
    }
}

#[test]
fn keys_are_hidden_unless_asked_for() {
    let shell = Shell::default();
    shell.ok("create c --table '0 8 crypt aes-xts-plain64 00ff11ee 0 /dev/vdb 0'");
    shell.ok("create r --table '0 8 crypt aes-xts-plain64 :32:logon:x 0 /dev/vdb 0'");
    shell.ok("create i --table '0 8 integrity /dev/vdb 0 4 J 1 internal_hash:hmac(sha256):00ff'");
    assert_eq!(
        shell.ok("table"),
        "c: 0 8 crypt aes-xts-plain64 00000000 0 254:16 0\n\
         i: 0 8 integrity 254:16 0 4 J 1 internal_hash:hmac(sha256):0000\n\
         r: 0 8 crypt aes-xts-plain64 :32:logon:x 0 254:16 0\n"
    );
    assert!(shell.ok("table --showkeys c").contains(" 00ff11ee "));
    let secure = |command: &str| {
        let asked = shell.driver.asked();
        let all = asked.iter().filter(|(name, _)| name == command);
        all.map(|(_, bits)| Flags::from_bits_retain(*bits)).all(|f| f.contains(Flags::SECURE_DATA))
    };
    assert!(secure("reload") && secure("table"));
}

#[test]
fn flags_reach_the_driver() {
    let shell = with("a");
    let flags = |line: &str| {
        shell.ok(line);
        let (_, bits) = shell.driver.asked().pop().expect("asked");
        Flags::from_bits_retain(bits)
    };
    assert!(flags("suspend --noflush --nolockfs a").contains(Flags::NOFLUSH | Flags::SKIP_LOCKFS));
    assert!(!flags("resume a").intersects(Flags::NOFLUSH | Flags::SUSPEND));
    assert!(flags("status --noflush a").contains(Flags::NOFLUSH));
    assert!(flags("info --inactive a").contains(Flags::QUERY_INACTIVE_TABLE));
    assert!(flags("reload -r a --table '0 8 zero'").contains(Flags::READONLY));
    assert!(flags("remove --deferred a").contains(Flags::DEFERRED_REMOVE));
}

#[test]
fn force_replaces_the_table_first() {
    let shell = with("a");
    shell.driver.open("a", 1);
    let error = refused(&shell, "remove -f a");
    assert!(error.contains("remove ioctl on a  failed: Device busy"), "{error}");
    assert_eq!(shell.ok("table a"), "0 8 error \n");
    shell.ok("wipe_table a");
    let output = shell.run("remove_all --force");
    assert_eq!((output.err.as_str(), output.status), ("Unable to remove 1 device(s).\n", 0));
}

#[test]
fn status_and_lists_are_filtered_by_target() {
    let shell = with("z");
    shell.ok("create e --table '0 8 error'");
    shell.ok("create n --notable");
    assert_eq!(shell.ok("status --target zero"), "z: 0 8 zero \n");
    assert_eq!(shell.ok("table --target error e"), "0 8 error \n");
    assert_eq!(shell.ok("table --target error z"), "");
    assert_eq!(shell.ok("ls --target zero"), "z\t(253, 0)\n");
    assert_eq!(shell.ok("ls -o blkdevname"), "e\t(dm-1)\nn\t(dm-2)\nz\t(dm-0)\n");
    assert_eq!(shell.ok("ls -o devname"), "e\t(e)\nn\t(n)\nz\t(z)\n");
    assert_eq!(shell.ok("status"), "e: 0 8 error \nn: \nz: 0 8 zero \n");
    shell.ok("ls --exec true");
    shell.ok("ls --exec false --target zero");
    let error = refused(&shell, "ls --exec /no/such/command --target zero");
    assert_eq!(error, "/no/such/command: No such file or directory\nCommand failed.\n");
}

#[test]
fn the_concise_list_makes_the_same_devices_again() {
    let shell = Shell::default();
    shell.ok("create a -u 'U' --table '0 8 linear /dev/vdb 0'");
    assert_eq!(shell.run_with("create b,c -r", "0 8 zero\n8 8 error\n").status, 0);
    let list = shell.ok("table --concise");
    assert_eq!(list, "a,U,0,rw,0 8 linear 254:16 0;b\\,c,,1,ro,0 8 zero ,8 8 error \n");
    let again = Shell::default();
    assert_eq!(again.run_with("create --concise", &list).status, 0);
    assert_eq!(again.ok("info -c"), shell.ok("info -c"));
    assert_eq!(again.ok("table --concise a b,c"), list);
    assert_eq!(again.ok("table --concise b,c"), "b\\,c,,1,ro,0 8 zero ,8 8 error \n");
    shell.ok("create --concise 'x,,,,0 8 zero;y,,,ro,0 8 zero'");
    assert_eq!(shell.ok("info -c --noheadings -o name,attr x y"), "x:L--w\ny:L--r\n");
}

#[test]
fn trees_are_drawn_in_every_style() {
    let shell = Shell::default();
    shell.ok("create base --table '0 64 linear /dev/vdb 0'");
    shell.ok("create mid --table '0 64 linear /dev/mapper/base 0'");
    shell.ok("create top -u U --table '0 8 linear /dev/mapper/mid 0'");
    assert_eq!(
        shell.ok("ls --tree"),
        "top (253:2)\n `-mid (253:1)\n    `-base (253:0)\n       `- (254:16)\n"
    );
    assert_eq!(
        shell.ok("ls --tree -o utf,blkdevname,nodevice"),
        "top <dm-2>\n \u{2514}\u{2500}mid <dm-1>\n    \u{2514}\u{2500}base <dm-0>\n       \
         \u{2514}\u{2500} <vdb>\n"
    );
    assert_eq!(
        shell.ok("ls --tree -o compact"),
        "top (253:2)---mid (253:1)---base (253:0)--- (254:16)\n"
    );
    shell.ok("create side --table '0 8 linear /dev/mapper/base 0'");
    assert_eq!(
        shell.ok("ls --tree -o compact,inverted"),
        " (254:16)---base (253:0)-+-mid (253:1)---top (253:2)\n                         \
         `-side (253:3)\n"
    );
    assert!(shell.ok("ls --tree -o compact,uuid").contains("\ntop (253:2) [U]\n `-mid (253:1)"));
    assert_eq!(
        shell.ok("ls --tree -o inverted,nodevice"),
        " `-base\n    |-mid\n    |  `-top\n    `-side\n"
    );
    let long = "n".repeat(70);
    shell.ok(&format!("create {long} --table '0 8 linear /dev/vdc 0'"));
    let cut = shell.ok("ls --tree -o active,open");
    let cut = cut.lines().find(|line| line.starts_with('n')).expect("the long one");
    assert_eq!(cut, format!("{long} (253:4) ..."));
    assert!(shell.ok("ls --tree -o active,notrunc").contains(&format!("{long} (253:4) [ACTIVE]")));
}

#[test]
fn names_are_mangled_as_asked() {
    let shell = Shell::default();
    shell.ok("create 'a b' --table '0 8 zero'");
    assert_eq!(shell.ok("ls"), "a b\t(253:0)\n");
    assert_eq!(shell.ok("ls --manglename none"), "a\\x20b\t(253:0)\n");
    assert_eq!(shell.ok("info -c --noheadings -o name,mangled_name"), "a b:a\\x20b\n");
    shell.ok("create 'c d' --manglename none --table '0 8 zero'");
    assert_eq!(
        shell.ok("mangle"),
        "a\\x20b: [no UUID]: name already in correct form\nc d: renaming to c\\x20d\n"
    );
    shell.ok("create 'e f' -u 'u v' --manglename none --notable");
    assert_eq!(
        refused(&shell, "mangle 'e f'"),
        "e f: u v: UUID in incorrect form. \nUnable to change device UUID. \
         The device must be deactivated first.\nCommand failed.\n"
    );
    let output = shell.run("mangle --manglename none");
    assert!(
        output.out.ends_with(
            "c\\x20d: renaming to c d\ne f: u v: name and UUID already in \
                                  correct form\n"
        ),
        "{output:?}"
    );
    shell.ok("mangle 'c d'");
    shell.ok("remove 'c d' 'a b' --manglename none".replace("'c d'", "'c\\x20d'").as_str());
    assert_eq!(
        refused(&shell, "rename 'e f' '' --manglename none"),
        "Non empty new name is required.\nCommand failed.\n"
    );
    assert_eq!(
        refused(&shell, "rename 'e f' control --manglename none"),
        "device-mapper: rename ioctl on e f  failed: Invalid argument\n\
         device-mapper: rename: device name \"control\" is reserved\nCommand failed.\n"
    );
    assert!(refused(&shell, "create 'x\\x20y z' --notable").contains("mixed mangled"));
}

#[test]
fn messages_and_events_are_printed() {
    let shell = with("a");
    assert_eq!(shell.ok("message a 0 @echo"), "one\ntwo\n");
    assert_eq!(refused(&shell, "message a x y"), "Invalid sector.\nCommand failed.\n");
    assert_eq!(refused(&shell, "message a 0"), "No message supplied.\nCommand failed.\n");
    let error = refused(&shell, "message a 0 hello");
    assert!(error.starts_with("device-mapper: message ioctl on a  failed: Invalid argument\n"));
    let error = refused(&shell, "wait a 0 --timeout 1");
    assert!(error.contains("waitevent ioctl on a  failed: Operation timed out"), "{error}");
    assert_eq!(shell.ok("wait a 7"), "");
    assert!(shell.ok("wait a 7 -v").starts_with("Name:              a\n"));
}

#[test]
fn geometry_is_numbers() {
    let shell = with("a");
    shell.ok("setgeometry a 1 1 8 0");
    let error = refused(&shell, "setgeometry a 1 x 8 0");
    assert_eq!(
        error,
        "device-mapper: setgeometry ioctl on a  failed: Invalid argument\nCommand failed.\n"
    );
}

#[test]
fn versions_of_targets_are_printed_one_by_one() {
    let shell = Shell::default();
    assert_eq!(shell.ok("target-version linear"), "linear           v1.4.0\n");
    assert!(refused(&shell, "target-version nosuch").contains("No such file or directory"));
}

#[test]
fn udev_is_answered_with_one_sentence() {
    let shell = Shell::default();
    let error = refused(&shell, "udevcomplete_all");
    assert_eq!(
        error,
        "There is no udev on this system, so there are no udev cookies.\nCommand failed.\n"
    );
}

#[test]
fn verbose_adds_the_state() {
    let shell = with("a");
    assert!(shell.ok("table -v a").contains("Number of targets: 1\n\n0 8 zero \n"));
    assert!(shell.ok("deps -v a").ends_with("\n0 dependencies\t:\n"));
    assert!(shell.ok("create b -v --table '0 8 zero'").starts_with("Name:              b\n"));
    shell.ok("remove b");
    assert!(shell.ok("table -v").ends_with("Number of targets: 1\n\n0 8 zero \n\n"));
    assert!(shell.ok("deps -v").ends_with("\n0 dependencies\t:\n\n"));
}
