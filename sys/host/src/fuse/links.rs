//! The links from names to files.

use super::file_name;
use crate::front::{Shown, Watch, failure};
use dm_protocol::Failure;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of links.
pub struct Links {
    folder: PathBuf,
}

impl Links {
    /// Links in `folder`; those that another process left there are removed.
    pub fn new(folder: PathBuf) -> Result<Self, String> {
        let wrong = |error: io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if is_ours(&path) {
                fs::remove_file(&path).map_err(wrong)?;
            }
        }
        Ok(Self { folder })
    }

    fn target(minor: u32) -> PathBuf {
        Path::new("../dm").join(file_name(minor))
    }
}

/// Is this a link to a file of ours, of whichever process?
fn is_ours(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target.starts_with("../dm"))
}

impl Watch for Links {
    fn attach(&self, shown: &Arc<Shown>) -> Result<(), Failure> {
        let path = self.folder.join(&shown.name);
        symlink(Self::target(shown.minor), &path)
            .map_err(|error| failure(format!("{}: {error}", path.display())))
    }

    fn change(&self, old: &Arc<Shown>, new: &Arc<Shown>) {
        if old.name == new.name {
            return;
        }
        let (from, to) = (self.folder.join(&old.name), self.folder.join(&new.name));
        if let Err(error) = fs::rename(&from, &to) {
            log::error!("{} to {}: {error}", from.display(), to.display());
        }
    }

    fn detach(&self, shown: &Arc<Shown>) {
        let path = self.folder.join(&shown.name);
        if fs::read_link(&path).is_ok_and(|target| target == Self::target(shown.minor)) {
            let _ = fs::remove_file(&path);
        }
    }
}
