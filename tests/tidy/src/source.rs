//! Rules about Rust files as a whole: how long they are, and exceptions with their reasons.

use crate::Finding;
use crate::code::find_word;
use crate::tree::{File, Tree};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// No Rust file is longer than 500 lines.
pub fn file_length(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "split it by noun; tests may move to a file of their own";
    let long = tree.rust("").filter_map(|file| {
        let lines = file.text.lines().count();
        let wrong = format!("{lines} lines, at most {FILE_LINES}");
        (lines > FILE_LINES).then(|| Finding::file(&file.path, wrong, FIX))
    });
    long.collect()
}

/// No function is longer than 70 lines.
pub fn function_length(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "keep the branching here, move the leaves to functions of their own";
    let mut findings = Vec::new();
    for file in tree.rust("") {
        for (first, lines) in functions(file) {
            if lines > FUNCTION_LINES {
                let wrong = format!("function of {lines} lines, at most {FUNCTION_LINES}");
                findings.push(Finding::line(&file.path, first, wrong, FIX));
            }
        }
    }
    findings
}

/// First line and number of lines of every function with a body.
fn functions(file: &File) -> Vec<(usize, usize)> {
    let lines = &file.code.code;
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        for column in find_word(line, "fn") {
            // `fn(` is a type; a name follows the keyword of a function.
            let rest = line[column + 2..].trim_start();
            if rest.starts_with(|char: char| char.is_alphabetic() || char == '_') {
                let body = body_lines(lines, number, column);
                found.extend(body.map(|last| (number, last - number + 1)));
            }
        }
    }
    found
}

/// The last line of the body that follows; none for a declaration.
fn body_lines(lines: &[String], first: usize, column: usize) -> Option<usize> {
    let mut braces = 0usize;
    let mut brackets = 0usize;
    for (number, line) in lines.iter().enumerate().skip(first) {
        let from = if number == first { column } else { 0 };
        for char in line[from..].chars() {
            match char {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                '{' => braces += 1,
                '}' if braces <= 1 => return Some(number),
                '}' => braces -= 1,
                ';' if braces == 0 && brackets == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// Every exception from a lint and every ignored test says why.
pub fn reasons(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "add reason = \"...\" (or = \"...\" after ignore)";
    let mut findings = Vec::new();
    for file in tree.rust("") {
        for (number, attribute) in attributes(file) {
            let exception = ["allow", "expect"].iter().any(|name| {
                find_word(&attribute, name)
                    .iter()
                    .any(|at| attribute[at + name.len()..].starts_with('('))
            });
            let ignored = attribute.contains("[ignore]");
            if (exception && find_word(&attribute, "reason").is_empty()) || ignored {
                findings.push(Finding::line(
                    &file.path,
                    number,
                    "an exception without a reason",
                    FIX,
                ));
            }
        }
    }
    findings
}

/// The attributes of a file with the line they start on; strings are blank.
fn attributes(file: &File) -> Vec<(usize, String)> {
    let lines = &file.code.code;
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, _) in line.match_indices('#') {
            if line[column + 1..].starts_with('[') || line[column + 1..].starts_with("![") {
                found.push((number, bracketed(lines, number, column)));
            }
        }
    }
    found
}

fn bracketed(lines: &[String], first: usize, column: usize) -> String {
    let mut text = String::new();
    let mut depth = 0usize;
    for (number, line) in lines.iter().enumerate().skip(first) {
        for char in line[if number == first { column } else { 0 }..].chars() {
            text.push(char);
            match char {
                '[' => depth += 1,
                ']' if depth == 1 => return text,
                ']' => depth -= 1,
                _ => {}
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "trait T {\n    fn a(x: [u8; 2]);\n}\nfn b() {\n    if x {\n    }\n}\n";

    #[test]
    fn a_function_is_measured_from_its_name_to_its_last_brace() {
        let file = File::new("a.rs", TWO);
        assert_eq!(functions(&file), vec![(3, 4)]);
    }

    #[test]
    fn a_function_of_71_lines_is_too_long() {
        let body = "    a();\n".repeat(69);
        let text = format!("fn b() {{\n{body}}}\n");
        assert_eq!(function_length(&Tree::of(&[("a.rs", &text)])).len(), 1);
        assert_eq!(
            function_length(&Tree::of(&[("a.rs", &text.replacen("    a();\n", "", 1))])).len(),
            0
        );
    }

    #[test]
    fn an_exception_needs_a_reason_on_any_of_its_lines() {
        let good = "#[expect(\n    dead_code,\n    reason = \"x\"\n)]\nfn a() {}\n\
                    #[ignore = \"slow\"]\nfn b() {}";
        let bad = "#[cfg_attr(x, allow(dead_code))]\nfn a() {}\n#[ignore]\nfn b() {}";
        assert_eq!(reasons(&Tree::of(&[("a.rs", good)])), vec![]);
        assert_eq!(reasons(&Tree::of(&[("a.rs", bad)])).len(), 2);
    }

    #[test]
    fn a_call_of_expect_is_no_exception() {
        assert_eq!(reasons(&Tree::of(&[("a.rs", "fn a() { b.expect(\"c\"); }")])), vec![]);
    }
}
