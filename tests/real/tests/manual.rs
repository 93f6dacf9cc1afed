//! Every example of the manuals and of the README, done as it stands there: each command works,
//! and what is printed below it is what it prints.

use dm_real::{Host, program, source_tree};
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long what runs in the background may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command of an example, and what it prints.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    command: String,
    printed: Vec<String>,
}

/// The steps of the examples of one section of a manual.
struct Section {
    name: String,
    steps: Vec<Step>,
}

/// Is the command still open at the end of this line?
fn goes_on(command: &str, line: &str) -> bool {
    let document = command.contains("<<EOF") && line != "EOF";
    document || line.ends_with('\\') || line.ends_with('|') || command.matches('"').count() % 2 == 1
}

/// The commands of one display, which begin with `# `.
fn steps(display: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut open = false;
    for line in display {
        match (line.strip_prefix("# "), steps.last_mut()) {
            (None, Some(step)) if open => {
                step.command.extend(["\n", line]);
                open = goes_on(&step.command, line);
            }
            (Some(command), _) => {
                open = goes_on(command, command);
                steps.push(Step { command: command.to_owned(), printed: Vec::new() });
            }
            (None, Some(step)) => step.printed.push((*line).to_owned()),
            (None, None) => {}
        }
    }
    steps
}

/// All examples of a manual.
fn sections(manual: &str) -> Vec<Section> {
    let text = fs::read_to_string(source_tree().join(manual)).expect("a manual");
    let text = text.replace("\\e", "\\");
    let mut sections = vec![Section { name: manual.to_owned(), steps: Vec::new() }];
    let mut display: Option<Vec<&str>> = None;
    for line in text.lines() {
        let section = sections.last_mut().expect("a section");
        if let Some(name) = line.strip_prefix(".Ss ").or(line.strip_prefix(".Sh ")) {
            sections.push(Section { name: name.to_owned(), steps: Vec::new() });
        } else if line.starts_with(".Bd -literal") {
            display = Some(Vec::new());
        } else if line == ".Ed" {
            section.steps.extend(steps(&display.take().expect("a display")));
        } else if let Some(lines) = display.as_mut() {
            lines.push(line);
        }
    }
    sections.retain(|section| !section.steps.is_empty());
    sections
}

/// What depends on the moment, made equal: copies under way.
fn at_any_moment(line: &str) -> String {
    let copies = [" raid ", " mirror "].iter().any(|target| line.contains(target));
    let words = line.split(' ').map(|word| match word.split_once('/') {
        _ if !copies => word.to_owned(),
        Some((done, all)) if done.parse::<u64>().is_ok() => format!("some/{all}"),
        None if word.len() < 3 && word.chars().all(|c| c.eq_ignore_ascii_case(&'a')) => {
            word.to_uppercase()
        }
        None if ["idle", "resync", "check", "recover"].contains(&word) => "action".to_owned(),
        _ => word.to_owned(),
    });
    // Linux ends some lines with a space.
    words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// Where examples are done.
struct Stage {
    host: Host,
}

impl Stage {
    fn new() -> Self {
        let host = Host::new();
        let images = ["a", "b", "c", "d", "log", "am", "bm", "cm", "vol", "wd1d", "wd2d"];
        for name in images {
            let _ = host.image(name, 128);
        }
        let _ = host.image("cow", 16);
        fs::write(host.path("keyfile"), [7; 64]).expect("a key");
        let table = format!("0 2048 linear {} 0", host.path("wd2d").display());
        fs::write(host.path("new-table"), table).expect("a table");
        // The other machine is this one, where the name and the number are taken.
        let ssh = "#!/bin/sh\nshift\nsed 's/^both,,[0-9]*,/there,,,/' | \"$@\"\n";
        fs::write(host.path("ssh"), ssh).expect("a program");
        fs::set_permissions(host.path("ssh"), Permissions::from_mode(0o755)).expect("its mode");
        Self { host }
    }

    /// Names of the examples as they are here.
    fn placed(&self, text: &str) -> String {
        let folder = self.host.path("").display().to_string();
        let text = text.replace("/var/img/", &folder);
        let text = text.replace("/run/dm/mapper/", "/dev/mapper/");
        let text = text.replace("/dev/mapper/", &format!("{folder}dev/mapper/"));
        // Disks of the examples are image files here, which are shown by their paths.
        [("/dev/wd1d", "wd1d"), ("/dev/wd2d", "wd2d"), ("3:11", "wd1d"), ("3:19", "wd2d")]
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, &format!("{folder}{to}")))
    }

    fn shell(&self, command: &str) -> Result<Vec<String>, String> {
        let place = program("dmsetup");
        let mut path = place.parent().expect("a folder").display().to_string();
        path.push_str(":/usr/sbin:/usr/bin:/sbin:/bin");
        path.insert_str(0, &format!("{}:", self.host.path("").display()));
        let mut shell = Command::new("sh");
        shell.args(["-euc", &self.placed(command)]).current_dir(self.host.path(""));
        shell.env("PATH", path).env("DM_DEV_DIR", self.host.path("dev")).stdin(Stdio::null());
        let output = shell.output().map_err(|why| why.to_string())?;
        let printed = String::from_utf8_lossy(&output.stdout);
        match output.status.success() {
            true => Ok(printed.lines().map(str::to_owned).collect()),
            false => Err(format!("{printed}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// True if mapped devices are files here; else the test is skipped.
    fn shows_files(&self) -> bool {
        self.shell("dmsetup create probe --table '0 8 zero'").expect("a device");
        let shown = self.host.shows_files("probe");
        if !shown {
            dm_skip::skip("mapped devices are no files here");
        }
        self.shell("dmsetup remove probe").expect("removed");
        shown
    }

    /// Waits until no set of copies is being compared or copied.
    fn settle(&self) {
        let start = Instant::now();
        let busy = |line: &String| {
            line.contains(" raid ") && !line.contains(" idle ")
                || line.contains(" snapshot-merge ") && !line.contains(" 16/")
        };
        while self.shell("dmsetup status").expect("a status").iter().any(busy) {
            assert!(start.elapsed() < PATIENCE, "copies do not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn play(&self, section: &Section) {
        // A key is set for the next command.
        let mut before = String::new();
        for step in &section.steps {
            let about = format!("{}: {}", section.name, step.command);
            if ["message r ", "reload r "].iter().any(|word| step.command.contains(word))
                || step.command.starts_with("dmsetup status vol")
            {
                self.settle();
            }
            let command = format!("{before}{}", step.command);
            if step.command.starts_with("key=") {
                before = command + "\n";
                continue;
            }
            let printed = self.shell(&command).unwrap_or_else(|why| panic!("{about}\n{why}"));
            if step.printed.is_empty() {
                continue;
            }
            let printed: Vec<_> = printed.iter().map(|line| at_any_moment(line)).collect();
            let promised: Vec<_> =
                step.printed.iter().map(|line| at_any_moment(&self.placed(line))).collect();
            let same = |(promised, printed): (&String, &String)| match promised.split_once("...") {
                Some((start, end)) => printed.starts_with(start) && printed.ends_with(end),
                None => promised == printed,
            };
            let all = promised.len() == printed.len();
            assert!(all && promised.iter().zip(&printed).all(same), "{about}\n{printed:#?}");
        }
    }
}

/// Plays a manual; says how many commands it has.
fn play(manual: &str) -> usize {
    let mut sections = sections(manual);
    // Some go on where the one before ended.
    sections.dedup_by(|section, before| {
        let goes_on = section.steps.first().is_some_and(|step| step.command.contains(" load "));
        if goes_on {
            before.steps.append(&mut section.steps);
        }
        goes_on
    });
    for section in &sections {
        let stage = Stage::new();
        let uses = |what: &str| section.steps.iter().any(|step| step.command.contains(what));
        if uses("/mapper/") && !stage.shows_files() || uses("xxd") && !dm_skip::have("xxd") {
            continue;
        }
        stage.play(section);
    }
    sections.iter().map(|section| section.steps.len()).sum()
}

#[test]
fn examples_of_the_drivers_manual_work_and_print_what_they_say() {
    assert!(play("share/man/man4/dm.4") > 40);
}

#[test]
fn examples_of_the_tools_manual_work_and_print_what_they_say() {
    assert!(play("share/man/man8/dmsetup.8") > 4);
}

#[test]
fn the_example_of_the_host_processs_manual_works() {
    let text = fs::read_to_string(source_tree().join("share/man/man8/dmhost.8")).expect("a manual");
    let (_, text) = text.split_once(".Sh EXAMPLES").expect("examples");
    let (_, text) = text.split_once(".Bd -literal -offset indent\n").expect("a display");
    let (example, _) = text.split_once(".Ed").expect("its end");
    let stage = Stage::new();
    let folder = stage.host.path("").display().to_string();
    let example = example.replace("\\e", "\\").replace("/tmp/dm", &format!("{folder}its"));
    let example = example.replace("--daemon", "--daemon --pid-file its.pid");
    let printed = stage.shell(&example).and_then(|printed| {
        stage.shell("kill $(cat its.pid)")?;
        Ok(printed)
    });
    let half = |start: u64, name: &str| format!("{start} 131072 linear {folder}{name} 0");
    assert_eq!(printed, Ok(vec![half(0, "a.img"), half(131_072, "b.img")]));
}

#[test]
fn the_example_of_linux_programs_makes_a_volume_in_an_image() {
    if !dm_skip::have("lvm") || !dm_skip::have("mkfs.ext4") {
        return;
    }
    let text = fs::read_to_string(source_tree().join("share/man/man8/dmhost.8")).expect("a manual");
    let (_, text) = text.split_once("A volume group on an image file").expect("an example");
    let (_, text) = text.split_once(".Bd -literal -offset indent\n").expect("a display");
    let (example, _) = text.split_once(".Ed").expect("its end");
    let stage = Stage::new();
    let folder = stage.host.path("");
    fs::create_dir(folder.join("locks")).expect("a folder");
    let locks = folder.join("locks").display().to_string();
    let settings = format!(
        "global {{ locking_dir = \"{locks}\" event_activation = 0 }}\n\
         backup {{ backup = 0 archive = 0 }}\nactivation {{ monitoring = 0 }}\n"
    );
    fs::write(folder.join("lvm.conf"), settings).expect("lvm's settings");
    // Others may have a group of that name.
    let group = format!("dmx{}", std::process::id());
    let example = example.replace("vg/", &format!("{group}/"));
    let example = example.replace(" vg ", &format!(" {group} "));
    let before = "exec 2>&1; export LVM_SYSTEM_DIR=$PWD LVM_SUPPRESS_FD_WARNINGS=1
         unset DM_DEV_DIR";
    let printed = stage.shell(&format!("{before}\n{example}"));
    let said = printed.as_ref().map_or_else(Clone::clone, |lines| lines.join("\n"));
    if said.contains("no block devices") {
        return dm_skip::skip("no loop devices, FUSE or device nodes");
    }
    assert!(printed.is_ok(), "{said}");
    let image = fs::File::open(folder.join("disk.img")).expect("an image");
    let mut magic = [[0; 8], [0; 8]];
    for (at, bytes) in [512, (1 << 20) + 1024 + 56].into_iter().zip(&mut magic) {
        image.read_exact_at(bytes, at).expect("its bytes");
    }
    assert!(magic[0] == *b"LABELONE" && magic[1][..2] == [0x53, 0xef], "{said}");
    let used = stage.shell("losetup -j disk.img").expect("a list");
    assert!(used.is_empty(), "{used:?}");
}

#[test]
fn the_commands_of_the_readme_work() {
    if !dm_skip::have("mkfs.ext4") {
        return;
    }
    let text = fs::read_to_string(source_tree().join("README.md")).expect("a README");
    let (_, text) = text.split_once("## Use it\n\n```\n").expect("commands");
    let (commands, _) = text.split_once("```").expect("their end");
    // The process is there already.
    let (_, commands) = commands.split_once(" &\n").expect("a process in the background");
    let (_, manuals) = text.split_once("Manual pages: ").expect("manuals");
    for manual in manuals.split("](").skip(1).take(4) {
        let (path, _) = manual.split_once(')').expect("a link");
        assert!(source_tree().join(path).exists(), "{path}");
    }
    let stage = Stage::new();
    if !stage.shows_files() {
        return;
    }
    stage.shell(commands).unwrap_or_else(|why| panic!("{why}"));
    let status = stage.shell("dmsetup status big");
    assert_eq!(status.map(|lines| lines.len()), Ok(2));
}

#[test]
fn the_readme_lists_the_targets_that_there_are() {
    let text = fs::read_to_string(source_tree().join("README.md")).expect("a README");
    let (_, text) = text.split_once("$ dmsetup targets\n").expect("the command");
    let (listed, _) = text.split_once("\n\n").expect("the end of the list");
    let printed = Stage::new().shell("dmsetup targets").expect("a list");
    assert_eq!(listed.lines().collect::<Vec<_>>(), printed);
}

#[test]
fn steps_of_an_example_are_commands_and_what_they_print() {
    let display = ["# two \\", "  more |", "end"];
    let step = |command: &str, printed: &[&str]| Step {
        command: command.to_owned(),
        printed: printed.iter().map(|line| (*line).to_owned()).collect(),
    };
    let expected = [step("two \\\n  more |\nend", &[])];
    assert_eq!(steps(&display), expected);
    assert_eq!(steps(&["# a", "b", "# c"]), [step("a", &["b"]), step("c", &[])]);
    assert_eq!(steps(&["# one <<EOF", "0 8 zero", "EOF", "said"])[0].printed, ["said"]);
}
