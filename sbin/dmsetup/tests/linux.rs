//! What LVM2's dmsetup 1.02.185 printed on a Linux kernel, line for line.
//!
//! `linux.txt` is its transcript without the targets and commands that we do not have. Three
//! things differ on purpose: error numbers are NetBSD's, the driver's sentence follows a refusal,
//! and there is no read ahead.

mod shell;

use shell::Shell;

const TRANSCRIPT: &str = include_str!("linux.txt");

/// A command, its standard input, and what it printed.
struct Step {
    line: String,
    stdin: String,
    expected: String,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = TRANSCRIPT.lines();
    while let Some(line) = lines.next() {
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, stdin) = match command.strip_suffix(" <<EOF") {
                Some(command) => {
                    let table = lines.by_ref().take_while(|line| *line != "EOF");
                    (command, table.map(|line| format!("{line}\n")).collect())
                }
                None => (command, String::new()),
            };
            steps.push(Step { line: command.into(), stdin, expected: String::new() });
        } else if line.starts_with("# ") {
            steps.push(Step { line: line.into(), stdin: String::new(), expected: String::new() });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push_str(line);
            step.expected.push('\n');
        }
    }
    steps
}

/// Linux's words in ours.
fn translated(line: &str) -> Option<String> {
    if line.starts_with("Read Ahead:") || line.starts_with("Library version:") {
        return None;
    }
    if line.starts_with("Driver version:") {
        return Some("Driver version:    4.17.0".into());
    }
    let busy = match line.contains("create ioctl") {
        true => "File exists",
        false => "Device busy",
    };
    Some(
        line.replace("Device or resource busy", busy)
            .replace("No such device or address", "No such file or directory"),
    )
}

fn comparable(line: &str) -> Option<String> {
    let sentence = line.starts_with("device-mapper: ") && !line.contains(" ioctl on ");
    let other = line.starts_with("Read Ahead:") || line.starts_with("Library version:");
    (!sentence && !other).then(|| line.into())
}

#[test]
fn every_line_is_as_linux_prints_it() {
    let shell = Shell::default();
    let mut compared = 0;
    for step in steps() {
        let words: Vec<&str> = step.line.split(' ').collect();
        match words.as_slice() {
            ["#", "open", name] => shell.driver.open(name, 1),
            ["#", "close", name] => shell.driver.close(name),
            ["#", "taken", minor] => shell.driver.take_minor(minor.parse().expect("a number")),
            _ => {
                let output = shell.run_with(&step.line, &step.stdin);
                let mut lines: Vec<String> = output.all.lines().filter_map(comparable).collect();
                if output.status != 0 {
                    lines.push(format!("[exit {}]", output.status));
                }
                let expected: Vec<String> = step.expected.lines().filter_map(translated).collect();
                assert_eq!(lines.join("\n"), expected.join("\n"), "{}", step.line);
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "only {compared} commands were compared");
}
