//! Rules about lines: width, characters, words that do not belong into the tree, leftovers.

use crate::Finding;
use crate::code::find_word;
use crate::tree::{File, Tree};

const LINE_COLUMNS: usize = 100;

/// Endings of files that hold source, where only ASCII may stand.
const SOURCE: &[&str] = &[".rs", ".toml", ".sh", ".h", ".c", ".1", ".3", ".4", ".8", ".9"];

/// What ties a text to the place it was written in. `\u{73}` keeps this list from finding itself.
const FOREIGN: &[(&str, &str)] = &[
    ("i\u{73}sue #", "give the reason here instead of a number elsewhere"),
    ("thi\u{73} machine", "name the property that matters (no root, no network, two cores)"),
];

/// The same, but a fair name in a program or a manual.
const FOREIGN_IN_NOTES: &[(&str, &str)] = &[
    ("se\u{73}sion", "say what was done, not when"),
    ("se\u{73}sions", "say what was done, not when"),
];

/// Endings of files that are neither program nor manual.
const NOTES: &[&str] = &[".md", ".toml", ".sh", ".txt"];

const MACHINE_FOLDERS: &[&str] = &["/wor\u{6b}", "/roo\u{74}"];

/// Marks of unfinished work, in code or comments.
const LEFTOVERS: &[&str] = &["dbg!", "todo!", "unimplemented!"];
const MARKS: &[&str] = &["FIXM\u{45}", "XX\u{58}", "TOD\u{4f}"];

/// File names that say nothing about their content.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "misc", "helpers", "helper"];

/// No Rust line is longer than 100 columns.
pub fn line_width(tree: &Tree) -> Vec<Finding> {
    in_lines(tree.rust(""), |line| {
        let columns = line.chars().count();
        (columns > LINE_COLUMNS)
            .then(|| (format!("{columns} columns, at most {LINE_COLUMNS}"), "break the line"))
    })
}

/// Source is ASCII.
pub fn ascii(tree: &Tree) -> Vec<Finding> {
    let source = |file: &&File| SOURCE.iter().any(|ending| file.path.ends_with(ending));
    in_lines(tree.files.iter().filter(source), |line| {
        let char = line.chars().find(|char| !char.is_ascii())?;
        Some((format!("character {char:?}"), "write it in ASCII, or as an escape"))
    })
}

/// No text names the place or the time in which it was written.
pub fn foreign_words(tree: &Tree) -> Vec<Finding> {
    let notes = |file: &&File| NOTES.iter().any(|ending| file.path.ends_with(ending));
    let mut findings = in_lines(tree.files.iter(), |line| listed_word(line, FOREIGN));
    findings.extend(in_lines(tree.files.iter().filter(notes), |line| {
        listed_word(line, FOREIGN_IN_NOTES)
    }));
    findings.extend(in_lines(tree.files.iter(), |line| {
        let folder = MACHINE_FOLDERS.iter().find(|folder| names_folder(line, folder))?;
        Some((format!("path {folder}"), "use a path in the tree, or a variable"))
    }));
    findings
}

fn listed_word(line: &str, list: &[(&str, &'static str)]) -> Option<(String, &'static str)> {
    let line = line.to_lowercase();
    let (word, fix) = list.iter().find(|(word, _)| !find_word(&line, word).is_empty())?;
    Some((format!("\"{word}\""), fix))
}

fn names_folder(line: &str, folder: &str) -> bool {
    let inside_path = |char: char| char.is_alphanumeric() || "._-/}~".contains(char);
    line.match_indices(folder).any(|(at, _)| {
        let left = line[..at].chars().next_back();
        let right = line[at + folder.len()..].chars().next();
        !left.is_some_and(inside_path)
            && !right.is_some_and(|char| char.is_alphanumeric() || "_-".contains(char))
    })
}

/// No debugging leftovers and no marks of unfinished work.
pub fn leftovers(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "finish it, or write down in docs/ what is missing";
    let mut findings = Vec::new();
    for file in tree.rust("") {
        for (number, (code, comment)) in file.code.code.iter().zip(&file.code.comments).enumerate()
        {
            let made = LEFTOVERS.iter().find(|word| code.contains(**word));
            let mark = MARKS.iter().find(|mark| !find_word(comment, mark).is_empty());
            for word in made.into_iter().chain(mark) {
                findings.push(Finding::line(
                    &file.path,
                    number,
                    format!("{word} left behind"),
                    FIX,
                ));
            }
        }
    }
    findings
}

/// Comments are sentences, not code that was switched off.
pub fn dead_code(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "delete it; or end the sentence differently if it is one";
    let mut findings = Vec::new();
    for file in tree.rust("") {
        for (number, comment) in file.code.comments.iter().enumerate() {
            if looks_like_code(comment.trim()) {
                findings.push(Finding::line(&file.path, number, "commented-out code", FIX));
            }
        }
    }
    findings
}

fn looks_like_code(comment: &str) -> bool {
    // Doc comments hold examples.
    let Some(text) = comment.strip_prefix("//") else { return false };
    if text.starts_with(['/', '!']) {
        return false;
    }
    let text = text.trim();
    let statement = text.ends_with(';')
        && ["(", " = ", "::", "let ", "return"].iter().any(|part| text.contains(part));
    let attribute = text.starts_with("#[") && text.ends_with(']');
    statement || attribute || text.ends_with('{') || matches!(text, "}" | "};" | "})" | "});")
}

/// A file is named after the noun it is about.
pub fn file_names(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "name it after what it is about, or move its parts to where they belong";
    let empty = |path: &str| {
        path.split('/').any(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or(part)))
    };
    let files = tree.files.iter().filter(|file| empty(&file.path));
    files.map(|file| Finding::file(&file.path, "a name that says nothing", FIX)).collect()
}

fn in_lines<'a>(
    files: impl Iterator<Item = &'a File>,
    rule: impl Fn(&str) -> Option<(String, &'static str)>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if let Some((wrong, fix)) = rule(line) {
                findings.push(Finding::line(&file.path, number, wrong, fix));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_in_a_comment_is_dead_code_and_a_sentence_is_not() {
        assert!(looks_like_code("// let a = b(c);"));
        assert!(looks_like_code("// if ready {"));
        assert!(!looks_like_code("// The reader stays; the table goes;"));
        assert!(!looks_like_code("/// let a = b(c);"));
    }

    #[test]
    fn a_machine_path_is_found_and_a_path_that_only_contains_the_word_is_not() {
        assert!(names_folder(&format!("cd {}/x", MACHINE_FOLDERS[0]), MACHINE_FOLDERS[0]));
        assert!(!names_folder("sys/roo\u{74}ed", "/roo\u{74}"));
        assert!(!names_folder("sys/roo\u{74}", "/roo\u{74}"));
    }

    #[test]
    fn unfinished_work_is_found_in_code_but_not_in_strings() {
        let tree = Tree::of(&[("a.rs", "fn a() { todo!() }\nconst B: &str = \"todo!\";")]);
        assert_eq!(leftovers(&tree).len(), 1);
    }

    #[test]
    fn a_folder_without_meaning_is_found() {
        assert_eq!(file_names(&Tree::of(&[("sys/utils/mod.rs", ""), ("a/misc.rs", "")])).len(), 2);
        assert_eq!(file_names(&Tree::of(&[("sys/misc_io.rs", "")])).len(), 0);
    }
}
