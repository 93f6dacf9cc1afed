//! Where `unsafe` may stand, and that each use says who guarantees it.

use crate::Finding;
use crate::code::find_word;
use crate::tree::{File, Tree};

/// Beginnings of the paths that may hold `unsafe`.
const ALLOWED: &[&str] = &[
    "sys/dev/dm/src/kern.rs",
    "sys/dev/dm/src/kern/",
    "sys/dev/dm/src/entry.rs",
    "sys/dev/dm/netbsd/",
    "sys/host/src/kern.rs",
    "sys/host/src/kern/",
    // The system calls of `dmhost exec`, behind safe faces.
    "sys/host/src/exec/loops.rs",
    "sys/host/src/exec/notify.rs",
    "sys/host/src/exec/place.rs",
    "sys/host/src/exec/start.rs",
    "sys/host/src/mapped.rs",
    "sys/host/tests/allocations.rs",
    "lib/libdm/src/c_api",
    "lib/libdm/src/control",
    "tests/",
];

/// `unsafe` stands only where the seams are.
pub fn places(tree: &Tree) -> Vec<Finding> {
    const FIX: &str =
        "use a safe face of src/kern, or add one there; a new place is a decision of its own";
    let mut findings = Vec::new();
    for file in tree.rust("").filter(|file| !is_allowed(&file.path)) {
        for (number, _) in uses(file) {
            findings.push(Finding::line(&file.path, number, "unsafe outside the seams", FIX));
        }
    }
    findings
}

fn is_allowed(path: &str) -> bool {
    ALLOWED.iter().any(|allowed| path.starts_with(allowed))
}

/// Every unsafe block and unsafe impl has a comment that begins with SAFETY.
pub fn comments(tree: &Tree) -> Vec<Finding> {
    const FIX: &str =
        "say above it, after SAFETY:, which invariant, caller or contract makes it sound";
    let mut findings = Vec::new();
    for file in tree.rust("") {
        for (number, after) in uses(file) {
            let wanted = after.starts_with('{') || after.starts_with("impl");
            if wanted && !explained(file, number) {
                findings.push(Finding::line(&file.path, number, "unsafe without SAFETY", FIX));
            }
        }
    }
    findings
}

/// The lines with the keyword `unsafe`, and what follows it.
fn uses(file: &File) -> Vec<(usize, String)> {
    let lines = &file.code.code;
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        for column in find_word(line, "unsafe") {
            let next = lines.get(number + 1).map_or("", |line| line.trim());
            let rest = line[column + "unsafe".len()..].trim();
            found.push((number, if rest.is_empty() { next } else { rest }.to_owned()));
        }
    }
    found
}

/// Is there a SAFETY comment on this line, or above it before the previous statement ends?
fn explained(file: &File, number: usize) -> bool {
    let code = &file.code.code;
    let comments = &file.code.comments;
    if comments[number].contains("SAFETY:") {
        return true;
    }
    for above in (0..number).rev() {
        if comments[above].contains("SAFETY:") {
            return true;
        }
        let before = code[above].trim_end();
        let comment = !comments[above].trim().is_empty();
        let blank = before.is_empty() && !comment;
        if blank || before.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "fn a() {\n    let b =\n        unsafe { c() };\n}\n";

    #[test]
    fn unsafe_in_a_target_is_found_and_in_the_seam_is_not() {
        assert_eq!(places(&Tree::of(&[("sys/dev/dm/src/targets/zero.rs", BLOCK)])).len(), 1);
        assert_eq!(places(&Tree::of(&[("sys/dev/dm/src/kern/lock.rs", BLOCK)])), vec![]);
    }

    #[test]
    fn a_block_needs_a_safety_comment_above_its_statement() {
        let good = BLOCK.replace("    let b", "    // SAFETY: c has no needs.\n    let b");
        assert_eq!(comments(&Tree::of(&[("a.rs", BLOCK)])).len(), 1);
        assert_eq!(comments(&Tree::of(&[("a.rs", &good)])), vec![]);
    }

    #[test]
    fn a_comment_of_the_statement_before_does_not_count() {
        let text =
            "fn a() {\n    // SAFETY: b is fine.\n    unsafe { b() };\n    unsafe { c() };\n}\n";
        assert_eq!(comments(&Tree::of(&[("a.rs", text)])).len(), 1);
    }

    #[test]
    fn the_name_of_a_lint_is_no_use() {
        assert_eq!(places(&Tree::of(&[("a.rs", "#![forbid(unsafe_code)]")])), vec![]);
    }
}
