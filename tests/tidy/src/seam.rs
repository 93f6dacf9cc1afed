//! The seam: what the driver asks for is what each platform defines, and is asked for in one place.

use crate::Finding;
use crate::tree::Tree;
use std::collections::BTreeSet;

const DECLARED: &str = "sys/dev/dm/src/kern/raw.rs";
const PLATFORMS: &[&str] = &["sys/host/src/", "sys/dev/dm/netbsd/"];
const PREFIX: &str = "fn dm_kern_";

/// Every platform defines every function of the seam and no other.
pub fn platforms(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "declare it in kern/raw.rs and define it on every platform";
    let declared = names(tree, DECLARED);
    let mut findings = Vec::new();
    for platform in PLATFORMS.iter().filter(|platform| tree.has_folder(platform)) {
        let defined = names(tree, platform);
        for name in declared.symmetric_difference(&defined) {
            let what = if declared.contains(name) { "not defined" } else { "not in the seam" };
            findings.push(Finding::file(platform, format!("{name} is {what}"), FIX));
        }
    }
    findings
}

/// The driver declares foreign functions in one file.
pub fn one_door(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "add it to the seam in kern/raw.rs, with its contract";
    let mut findings = Vec::new();
    for file in tree.rust("sys/dev/dm/src/").filter(|file| file.path != DECLARED) {
        for (number, line) in file.code.code.iter().enumerate() {
            if line.contains("extern \"") && line.trim_end().ends_with('{') && !line.contains("fn ")
            {
                findings.push(Finding::line(&file.path, number, "a second door", FIX));
            }
        }
    }
    findings
}

fn names(tree: &Tree, folder: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in tree.rust(folder).flat_map(|file| &file.code.code) {
        for (at, _) in line.match_indices(PREFIX) {
            let name =
                line[at + "fn ".len()..].split(|char: char| !char.is_alphanumeric() && char != '_');
            names.extend(name.take(1).map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_only_one_side_knows_is_found() {
        let tree = Tree::of(&[
            (
                DECLARED,
                "unsafe extern \"Rust\" {\n    safe fn dm_kern_a();\n    fn dm_kern_b();\n}",
            ),
            ("sys/host/src/kern/seam.rs", "extern \"Rust\" fn dm_kern_a() {}\nfn dm_kern_c() {}"),
        ]);
        let wrong: Vec<String> = platforms(&tree).into_iter().map(|found| found.wrong).collect();
        assert_eq!(wrong, ["dm_kern_b is not defined", "dm_kern_c is not in the seam"]);
    }

    #[test]
    fn a_second_block_of_foreign_functions_is_found() {
        let text = "unsafe extern \"C\" {\n    fn panic();\n}\nextern \"C\" fn ours() {\n}";
        assert_eq!(one_door(&Tree::of(&[("sys/dev/dm/src/io.rs", text)])).len(), 1);
        assert_eq!(one_door(&Tree::of(&[(DECLARED, text)])), vec![]);
    }
}
