//! The files of the tree, with the code, comments and strings of Rust files told apart.

use crate::code::Code;
use std::fs;
use std::path::Path;

/// Folders that hold no source: build output and what the fuzzer finds.
const SKIPPED: &[&str] =
    &["target", ".git", "tests/fuzz/target", "tests/fuzz/corpus", "tests/fuzz/artifacts"];

/// One text file.
pub struct File {
    /// The path from the top of the tree.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// The text split into code and comments; empty for other languages than Rust.
    pub code: Code,
}

impl File {
    /// A file made from its text.
    pub fn new(path: &str, text: &str) -> Self {
        let rust = path.ends_with(".rs");
        let code = if rust { Code::of(text) } else { Code::default() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// Is this Rust source?
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// All text files, sorted by path.
pub struct Tree {
    /// The files.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads everything below `top`.
    pub fn read(top: &Path) -> Self {
        let mut files = Vec::new();
        read_folder(top, "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    /// A tree made from paths and texts.
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(path, text)).collect() }
    }

    /// The Rust files below a folder; the whole tree for the empty name.
    pub fn rust<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a File> {
        self.below(folder).filter(|file| file.is_rust())
    }

    /// The files below a folder.
    pub fn below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.starts_with(folder))
    }

    /// One file by its path.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Is there anything below this folder?
    pub fn has_folder(&self, folder: &str) -> bool {
        self.below(folder).next().is_some()
    }
}

fn read_folder(top: &Path, folder: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(top.join(folder)).expect("the tree can be read");
    for entry in entries {
        let entry = entry.expect("the tree can be read");
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let kind = entry.file_type().expect("a file has a type");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        if kind.is_dir() {
            read_folder(top, &path, files);
        } else if kind.is_file() {
            // Test data may be binary; the rules are about text.
            if let Ok(text) = fs::read_to_string(top.join(&path)) {
                files.push(File::new(&path, &text));
            }
        }
    }
}
