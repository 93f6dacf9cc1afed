//! The usage is LVM2's but for what is not there and what is more; files made from it are current.

mod shell;

use shell::Shell;

#[test]
fn the_usage_is_pinned() {
    let shell = Shell::default();
    let usage = include_str!("usage.txt");
    for (line, status) in [("help", 0), ("--help", 0), ("-h nosuch", 0), ("", 1)] {
        let output = shell.run(line);
        assert_eq!((output.err.as_str(), output.status), (usage, status), "{line}");
        assert_eq!(output.out, "");
    }
    let output = shell.run("nosuch");
    assert_eq!((output.err, output.status), (format!("Unknown command.\n{usage}"), 1));
    for line in ["create a b c", "remove_all x", "rename", "message a", "splitname", "ls x"] {
        let output = shell.run(line);
        let expected = format!("Incorrect number of arguments.\n{usage}");
        assert_eq!((output.err, output.status), (expected, 1), "{line}");
    }
}

#[test]
fn help_with_columns_explains_the_fields() {
    let output = Shell::default().run("help -c");
    assert_eq!(output.status, 0);
    let fields = output.err.strip_prefix(include_str!("usage.txt")).expect("the usage first");
    assert!(fields.starts_with("Mapped Device Name Fields\n-------------------------\n"));
    assert!(fields.contains("\n  attr                  - (L)ive, (I)nactive, (s)uspended,"));
}

#[test]
fn completions_are_current() {
    let shell = Shell::default();
    for (name, file) in [
        ("bash", include_str!("../completions/dmsetup.bash")),
        ("fish", include_str!("../completions/dmsetup.fish")),
        ("zsh", include_str!("../completions/_dmsetup")),
    ] {
        let made = shell.ok(&format!("completion {name}"));
        assert!(made == file, "run dmsetup completion {name} into sbin/dmsetup/completions");
    }
    assert_eq!(shell.run("completion tcsh").status, 1);
}

#[test]
fn every_option_is_in_the_manual() {
    let manual = include_str!("../../../share/man/man8/dmsetup.8");
    let words: Vec<&str> = manual.split_whitespace().collect();
    let described = |option: &str| {
        words.windows(2).any(|pair| {
            matches!(pair, [before, word]
            if before.ends_with("Fl") && word.strip_prefix('-') == Some(option))
        })
    };
    let completions = include_str!("../completions/dmsetup.fish");
    let mut options = 0;
    for line in completions.lines() {
        if let Some((_, option)) = line.split_once(" -l ") {
            let option = option.split(' ').next().expect("a word");
            assert!(described(&format!("-{option}")) || described(option), "--{option}");
            options += 1;
        }
    }
    assert!(options > 40, "only {options} options");
}

#[test]
fn options_are_taken_as_getopt_long_takes_them() {
    let shell = Shell::default();
    for line in [
        "splitname a-b --noheadings",
        "--nohead splitname a-b",
        "splitname --separator=: --nohead a-b",
        "splitname --sep : --nohead -- a-b",
    ] {
        assert_eq!(shell.ok(line), "a:b:\n", "{line}");
    }
    assert_eq!(shell.ok("splitname -cosubsystem a-b"), "Subsys\nLVM   \n");
    for (line, why) in [
        ("--nosuch", "dmsetup: unrecognized option '--nosuch'"),
        ("-b", "dmsetup: invalid option -- 'b'"),
        ("info -u", "dmsetup: option requires an argument -- 'u'"),
        ("info --uuid", "dmsetup: option '--uuid' requires an argument"),
        ("ls --tree=x", "dmsetup: option '--tree' doesn't allow an argument"),
        ("ls --ta", "dmsetup: option '--ta' is ambiguous; possibilities: '--table' '--target'"),
        ("info -j 1", "Please specify both major number and minor number."),
        ("info -j 1 -m x", "Invalid argument for --minor: x. "),
        ("create x -M 9", "Invalid argument for --mode: 9. "),
        ("ls --manglename never", "Unknown name mangling mode."),
        ("ls -o bogus", "Option not recognised: bogus."),
        ("ls --tree -o bogus", "Tree options not recognised: bogus."),
        ("deps -o devno,bogus", "Option not recognised: devno,bogus."),
        ("info a -o name", "Option not recognised: name."),
    ] {
        let output = shell.run(line);
        let expected = format!("{why}\nCouldn't process command line.\n");
        assert_eq!((output.err, output.status), (expected, 1), "{line}");
    }
}
