//! What Linux's dmsetup printed beside a Linux kernel it prints under `dmhost exec`, line for line.
//!
//! The transcript is dmsetup's own test's. Other are the numbers of devices, which are put into
//! Linux's here, and the event number after a table was replaced. What has to do with a target that
//! we do not have is left out.

use dm_real::{program, run};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const TRANSCRIPT: &str = include_str!("../../../sbin/dmsetup/tests/linux.txt");

/// The disks of the transcript, and their numbers there.
const DISKS: [(&str, u32); 3] = [("vdb", 16), ("vdc", 32), ("vdd", 48)];

/// A command with its input, or a remark, and what was printed.
struct Step {
    line: String,
    stdin: String,
    expected: String,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = TRANSCRIPT.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("$ ") || line.starts_with("# ") {
            let mut stdin = String::new();
            let command = line.strip_suffix(" <<EOF").unwrap_or(line);
            if command.len() < line.len() {
                for line in lines.by_ref().take_while(|line| *line != "EOF") {
                    stdin.push_str(line);
                    stdin.push('\n');
                }
            }
            let line = command.strip_prefix("$ ").unwrap_or(command).to_owned();
            steps.push(Step { line, stdin, expected: String::new() });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push_str(line);
            step.expected.push('\n');
        }
    }
    steps
}

/// The steps that our targets allow, in order.
fn possible(targets: &BTreeSet<String>) -> Vec<Step> {
    let mut missing = BTreeSet::new();
    let mut kept = Vec::new();
    for step in steps() {
        let words: Vec<&str> = step.line.split(' ').collect();
        let tables = step.stdin.lines().chain(step.line.split('\'').nth(1));
        let lacks = |table: &str| {
            let target = table.split(' ').nth(2).unwrap_or("zero");
            target != "nosuch" && table.starts_with(char::is_numeric) && !targets.contains(target)
        };
        if words.get(1) == Some(&"create") && tables.into_iter().any(lacks) {
            missing.insert(words[2].to_owned());
        }
        let lists = ["ls", "table", "status", "info", "deps"].contains(words.get(1).unwrap_or(&""))
            && words.get(2).is_none_or(|word| word.starts_with('-'))
            && !step.line.contains("-u UU");
        if words.iter().any(|word| missing.contains(*word)) || lists && !missing.is_empty() {
            continue;
        }
        if step.line.ends_with("remove_all --force") {
            missing.clear();
        }
        if words.get(1) != Some(&"targets") {
            kept.push(step);
        }
    }
    kept
}

/// A script that prints what each step prints, behind its number.
fn script(steps: &[Step]) -> String {
    let mut text = String::new();
    for (name, _) in DISKS {
        let _ = writeln!(text, "truncate -s 1M {name}; {name}=$(losetup -f --show {name})");
    }
    text.push_str("trap 'losetup -d $vdb $vdc $vdd' EXIT\necho $vdb $vdc $vdd\n");
    text.push_str("dmsetup create x --notable; dmsetup info -c --noheadings -o minor x\n");
    text.push_str("dmsetup remove x\n");
    for (nr, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "echo '@@@ {nr}'");
        let words: Vec<&str> = step.line.split(' ').collect();
        let _ = match words.as_slice() {
            ["#", "open", name] => writeln!(text, "exec 9</dev/mapper/{name}"),
            ["#", "close", _] => writeln!(text, "exec 9<&-; sleep 0.5"),
            ["#", ..] => Ok(()),
            _ => {
                let line = on_disks(&step.line.replace('\'', "\""));
                let input = on_disks(&step.stdin);
                let run = format!("{{ {line}; }} 2>&1 <<END || echo \"[exit $?]\"\n{input}END");
                writeln!(text, "{run}")
            }
        };
    }
    text
}

/// Shell variables in the place of the disks.
fn on_disks(text: &str) -> String {
    DISKS.iter().fold(text.to_owned(), |text, (name, _)| {
        text.replace(&format!("/dev/{name}"), &format!("${name}"))
    })
}

/// Our numbers.
struct Numbers {
    loops: Vec<u32>,
    first: u32,
}

impl Numbers {
    /// A line with Linux's numbers, and one space where there are many.
    fn line(&self, line: &str) -> String {
        let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        // Longer numbers first, and mapped devices before the loop devices that end like them.
        for nr in (0..64).rev() {
            for between in [":", ", ", " "] {
                let ours = format!("7{between}{}", self.first + nr);
                line = line.replace(&ours, &format!("253{between}{nr}"));
            }
            line = line.replace(&format!("loop{}", self.first + nr), &format!("dm-{nr}"));
        }
        for (number, (name, theirs)) in self.loops.iter().zip(DISKS) {
            for (open, between, close) in [("(", ", ", ")"), ("(", ":", ")"), ("", ":", " ")] {
                let ours = format!("{open}7{between}{number}{close}");
                line = line.replace(&ours, &format!("{open}254{between}{theirs}{close}"));
            }
            line = line.replace(&format!("(loop{number})"), &format!("({name})"));
            // Disks of our own major number have a name and a state in trees.
            let ours = format!("loop{number} (254:{theirs})");
            if let Some((before, _)) = line.split_once(&ours) {
                line = format!("{before} (254:{theirs})").trim_start().to_owned();
            }
        }
        line
    }
}

/// The lines that are to be the same.
fn comparable<'a>(text: &'a str, step: &Step) -> impl Iterator<Item = &'a str> {
    let replaced = step.line == "dmsetup info ev";
    text.lines().filter(move |line| {
        let loop_devices_have_it_without_table = line.starts_with("Read Ahead:");
        let version = line.starts_with("Library version:");
        let event = replaced && line.starts_with("Event number:");
        !loop_devices_have_it_without_table && !version && !event
    })
}

fn exec(folder: &TempDir, text: &str) -> Option<String> {
    let text = format!("cd {}\n{text}", folder.path().display());
    let mut command = Command::new(program("dmhost"));
    command.args(["exec", "sh", "-c", &text]).env_remove("DM_DEV_DIR");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if errors.contains("no block devices") {
        dm_skip::skip("no loop devices, FUSE or device nodes");
        return None;
    }
    assert!(output.status.success(), "{errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_line_is_as_beside_a_linux_kernel() {
    if !dm_skip::have("dmsetup") || !dm_skip::have("losetup") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let Some(targets) = exec(&folder, "dmsetup targets") else { return };
    let version =
        run(Command::new("sh")
            .args(["-c", "PATH=$PATH:/sbin:/usr/sbin; dmsetup --version || true"]));
    if !version.contains("1.02.185 ") {
        return dm_skip::skip("the transcript is that of dmsetup 1.02.185");
    }
    let targets = targets.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let steps = possible(&targets.collect());
    let Some(printed) = exec(&folder, &script(&steps)) else { return };
    let mut parts = printed.split("@@@ ");
    let mut head = parts.next().expect("numbers").split_whitespace();
    let mut number =
        || head.next().and_then(|word| word.trim_start_matches("/dev/loop").parse().ok());
    let loops = DISKS.map(|_| number().expect("a loop device")).to_vec();
    let mut numbers = Numbers { loops, first: number().expect("a minor number") };
    let mut compared = 0;
    for (step, part) in steps.iter().zip(parts) {
        if step.line.starts_with("# taken") {
            // Linux gave that number to another device.
            numbers.first -= 1;
        } else if !step.line.starts_with('#') {
            let (_, said) = part.split_once('\n').expect("a number");
            let said: Vec<String> = comparable(said, step).map(|line| numbers.line(line)).collect();
            let expected: Vec<String> = comparable(&step.expected, step).map(plain).collect();
            assert_eq!(said, expected, "{}", step.line);
            compared += 1;
        }
    }
    assert!(compared > 90, "only {compared} commands were compared");
}

fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
