//! Lists that could drift: targets, commands, decisions, and what belongs to each.

use crate::Finding;
use crate::tree::Tree;
use std::collections::BTreeMap;

const TARGET_LIST: &str = "sys/dev/dm/src/targets/mod.rs";
const TARGET_TESTS: &str = "tests/host/tests";
const TARGET_MANUAL: &str = "share/man/man4/dm.4";
const COMMAND_LIST: &str = "sbin/dmsetup/src/commands/mod.rs";
const COMMAND_MANUAL: &str = "share/man/man8/dmsetup.8";
const DECISIONS: &str = "docs/decisions/";

/// Every target in the list has a test file and a manual section.
pub fn targets(tree: &Tree) -> Vec<Finding> {
    let Some(list) = tree.file(TARGET_LIST) else { return Vec::new() };
    let modules = listed_modules(&list.code.code.join("\n"));
    if modules.is_empty() {
        return vec![Finding::file(TARGET_LIST, "no list TARGETS", "teach tidy where it is")];
    }
    let mut findings = Vec::new();
    for module in modules {
        let test = format!("{TARGET_TESTS}/{module}.rs");
        if tree.has_folder(TARGET_TESTS) && tree.file(&test).is_none() {
            let wrong = format!("target {module} has no test file {test}");
            findings.push(Finding::file(TARGET_LIST, wrong, "write the test file"));
        }
        for name in target_names(tree, &module) {
            findings.extend(missing_section(tree, &name));
        }
    }
    findings
}

/// The section of a target is missing, or has no example.
fn missing_section(tree: &Tree, target: &str) -> Option<Finding> {
    let manual = match tree.file(TARGET_MANUAL) {
        Some(file) => file.text.as_str(),
        None if tree.has_folder("share/man/") => "",
        None => return None,
    };
    let named = |line: &str| line.split_whitespace().any(|word| word.trim_matches('"') == target);
    let mut lines = manual.lines();
    if !lines.any(|line| line.strip_prefix(".Ss ").is_some_and(named)) {
        let wrong = format!("target {target} has no section in {TARGET_MANUAL}");
        return Some(Finding::file(TARGET_LIST, wrong, "add a .Ss with the target's name"));
    }
    let mut section = lines.take_while(|line| !line.starts_with(".S"));
    let wrong = format!("target {target} has no example in {TARGET_MANUAL}");
    let example = section.any(|line| line.starts_with(".Bd -literal"));
    (!example).then(|| Finding::file(TARGET_LIST, wrong, "add one; a test plays it"))
}

/// The modules named in the TARGETS list: `&linear::LINEAR` is in `linear`.
fn listed_modules(code: &str) -> Vec<String> {
    let Some((_, after)) = code.split_once("TARGETS:") else { return Vec::new() };
    let Some((_, list)) = after.split_once('=') else { return Vec::new() };
    let list = list.split(';').next().unwrap_or("");
    let mut modules: Vec<String> = list
        .split(['[', ']', ','])
        .filter_map(|entry| entry.trim().trim_start_matches('&').split_once("::"))
        .map(|(module, _)| module.to_owned())
        .collect();
    modules.dedup();
    modules
}

/// The wire names a target module defines.
fn target_names(tree: &Tree, module: &str) -> Vec<String> {
    let folder = format!("sys/dev/dm/src/targets/{module}");
    let mut names = Vec::new();
    for file in tree.rust(&folder) {
        let own = file.path.strip_prefix(&folder).is_some_and(|rest| rest.starts_with(['.', '/']));
        if own && !file.path.ends_with("tests.rs") {
            names.extend(file.text.split("TargetType {").skip(1).filter_map(wire_name));
        }
    }
    names
}

/// The string after `name:` in the fields of a `TargetType`.
fn wire_name(fields: &str) -> Option<String> {
    let (_, value) = fields.split('}').next()?.split_once("name:")?;
    Some(value.split('"').nth(1)?.to_owned())
}

/// Every command of dmsetup is described in its manual.
pub fn commands(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "describe it there, with .It Ic and its name";
    let (Some(list), Some(manual)) = (tree.file(COMMAND_LIST), tree.file(COMMAND_MANUAL)) else {
        return Vec::new();
    };
    let names = command_names(&list.text);
    if names.is_empty() {
        return vec![Finding::file(COMMAND_LIST, "no commands! list", "teach tidy where it is")];
    }
    let missing =
        names.into_iter().filter(|name| !manual.text.lines().any(|line| names_it(line, name)));
    let wrong = |name: &str| format!("command {name} is not in {COMMAND_MANUAL}");
    missing.map(|name| Finding::file(COMMAND_LIST, wrong(name), FIX)).collect()
}

/// The rows of `commands! { "name" ... }`: each begins a line, indented once.
fn command_names(text: &str) -> Vec<&str> {
    let rows = text.split("commands! {").nth(1).unwrap_or("").lines();
    let rows = rows.take_while(|line| *line != "}");
    rows.filter_map(|line| line.strip_prefix("    \"")?.split('"').next()).collect()
}

fn names_it(line: &str, name: &str) -> bool {
    let macros = [".It Ic ", ".It Cm ", ".It Xo Ic ", ".Ic ", ".Cm ", ".Ss "];
    let rest = macros.iter().find_map(|start| line.strip_prefix(start));
    rest.is_some_and(|rest| rest.split_whitespace().next() == Some(name))
}

/// Decisions are numbered from 0001 without a gap.
pub fn decisions(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "take the next free number; docs/decisions/NNNN-name.md";
    let mut findings = Vec::new();
    let mut numbers: BTreeMap<usize, &str> = BTreeMap::new();
    for file in tree.below(DECISIONS) {
        let name = &file.path[DECISIONS.len()..];
        let number = name.split('-').next().filter(|digits| digits.len() == 4);
        match number.and_then(|digits| digits.parse().ok()) {
            None => findings.push(Finding::file(&file.path, "a decision without a number", FIX)),
            Some(number) => {
                if let Some(other) = numbers.insert(number, &file.path) {
                    findings.push(Finding::file(
                        &file.path,
                        format!("same number as {other}"),
                        FIX,
                    ));
                }
            }
        }
    }
    let gap = numbers.keys().zip(1..).find(|(number, expected)| *number != expected);
    if let Some((number, expected)) = gap {
        let wrong = format!("{number:04} follows, but {expected:04} is missing");
        findings.push(Finding::file(DECISIONS, wrong, FIX));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "pub static TARGETS: &[&TargetType] = &[&linear::LINEAR, &snapshot::ORIGIN];";
    const LINEAR: &str = "pub static LINEAR: TargetType = TargetType { name: \"linear\", parse };";
    const ORIGIN: &str =
        "pub static ORIGIN: TargetType = TargetType { name: \"snapshot-origin\" };";

    #[test]
    fn a_target_without_test_section_or_example_is_found() {
        let tree = Tree::of(&[
            (TARGET_LIST, LIST),
            ("sys/dev/dm/src/targets/snapshot/mod.rs", ORIGIN),
            ("tests/host/tests/linear.rs", ""),
            ("sys/dev/dm/src/targets/linear.rs", LINEAR),
            (TARGET_MANUAL, ".Ss linear\n.Ss other\n.Bd -literal\n"),
        ]);
        let wrong: Vec<String> = targets(&tree).into_iter().map(|finding| finding.wrong).collect();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].contains("linear has no example"));
        assert!(wrong[2].contains("snapshot-origin has no section"));
    }

    #[test]
    fn a_command_without_a_word_in_the_manual_is_found() {
        let list =
            "commands! {\n    \"create\" \"usage\",\n        create;\n    \"remove\" \"\";\n}";
        let tree = Tree::of(&[(COMMAND_LIST, list), (COMMAND_MANUAL, ".It Ic create Ar name\n")]);
        assert_eq!(commands(&tree).len(), 1);
    }

    #[test]
    fn a_gap_and_a_double_number_are_found() {
        let paths =
            ["docs/decisions/0001-a.md", "docs/decisions/0003-b.md", "docs/decisions/0003-c.md"];
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (*path, "")).collect();
        assert_eq!(decisions(&Tree::of(&files)).len(), 2);
        assert_eq!(decisions(&Tree::of(&files[..1])), vec![]);
    }
}
