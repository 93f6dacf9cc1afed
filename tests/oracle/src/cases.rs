//! The files in `tests/oracle/cases`.

use dm_play::case::{Case, Script, parse, print};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of cases.
#[derive(Clone, Debug)]
pub struct Cases {
    /// Its path.
    pub path: PathBuf,
    /// Its name without an ending.
    pub name: String,
    /// What is in it.
    pub script: Script,
}

impl Cases {
    /// `file: case`.
    #[must_use]
    pub fn title(&self, case: &Case) -> String {
        format!("{}: {}", self.name, case.name)
    }

    /// Writes the file anew.
    ///
    /// # Panics
    /// When that fails.
    pub fn store(&self) {
        fs::write(&self.path, print(&self.script)).expect("the file is written");
    }
}

/// All files, in the order of their names.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn all() -> Vec<Cases> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let entries = fs::read_dir(folder).expect("the folder of the cases");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "txt")).collect();
    paths.sort();
    paths.into_iter().map(load).collect()
}

fn load(path: PathBuf) -> Cases {
    let text = fs::read_to_string(&path).expect("a file of cases");
    let script = parse(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Cases { path, name, script }
}
