//! Mapped devices as files.
//!
//! A FUSE file system on `dm` in the directory that stands for /dev holds a file `dm-MINOR` for
//! each device, and `mapper/NAME` is a link to it, as on systems with a kernel's device mapper.
//! So a device that is renamed stays open, and the control socket needs no file system of ours.

mod answer;
mod file;
mod links;
mod tree;

use crate::front::{Registry, Watch};
use crate::paths;
use dm::driver::Driver;
use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use links::Links;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

/// The mounted file system and the links to it. Dropping it unmounts.
pub struct Fuse {
    registry: Arc<Registry>,
    watch: Arc<dyn Watch>,
    session: Option<BackgroundSession>,
    place: PathBuf,
    st_dev: u64,
}

impl Fuse {
    /// Mounts, and shows every device that there is and will be.
    ///
    /// # Errors
    /// A sentence, where the process may not mount or cannot make the links.
    pub fn start(
        dev_dir: &Path,
        driver: &Arc<Driver>,
        registry: &Arc<Registry>,
    ) -> Result<Self, String> {
        let place = paths::files_dir_in(dev_dir);
        clean(&place);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&place);
        made.map_err(|error| format!("{}: {error}", place.display()))?;
        let outside = fs::metadata(&place).map_err(|error| error.to_string())?.dev();
        let tree = tree::Tree::new(Arc::clone(driver), Arc::clone(registry));
        let mounted = Session::new(tree, &place, &config()).and_then(Session::spawn);
        let session = mounted.map_err(|error| format!("no files: FUSE: {error}"))?;
        let st_dev = fs::metadata(&place).map_err(|error| error.to_string())?.dev();
        if st_dev == outside {
            return Err(format!("no files: {} is not mounted", place.display()));
        }
        paths::add_own(st_dev);
        let watch: Arc<dyn Watch> = Arc::new(Links::new(dev_dir.join("mapper"))?);
        let fuse = Self {
            registry: Arc::clone(registry),
            watch: Arc::clone(&watch),
            session: Some(session),
            place,
            st_dev,
        };
        registry.subscribe(watch).map_err(|why| why.to_string())?;
        Ok(fuse)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.registry.unsubscribe(&self.watch);
        for shown in self.registry.list() {
            self.watch.detach(&shown);
        }
        if let Some(Err(_)) = self.session.take().map(BackgroundSession::umount_and_join)
            && !detach(&self.place)
        {
            log::warn!("{} is in use and stays mounted", self.place.display());
        }
        paths::remove_own(self.st_dev);
    }
}

impl fmt::Debug for Fuse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fuse").finish_non_exhaustive()
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("dm".to_owned()),
        MountOption::Subtype("dmhost".to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoExec,
    ];
    // Others may use the files, as far as their modes allow, when the superuser serves them.
    if rustix::process::geteuid().is_root() {
        config.acl = SessionACL::All;
    }
    // Requests do not wait in these threads, so few are enough.
    config.n_threads = Some(thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)));
    config.clone_fd = true;
    config
}

/// Unmounts what a killed process left behind: such a mount answers every question with an error.
fn clean(place: &Path) {
    let dead = |error: &std::io::Error| {
        error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error())
    };
    if !fs::metadata(place).is_err_and(|error| dead(&error)) {
        return;
    }
    log::info!("unmounting what another process left at {}", place.display());
    detach(place);
}

/// Unmounts also what is in use: who has a file open there gets errors from now on.
fn detach(place: &Path) -> bool {
    let programs: [(&str, &[&str]); 2] = [("umount", &["-l"]), ("fusermount3", &["-u", "-z"])];
    programs.iter().any(|(program, options)| {
        let mut command = Command::new(program);
        command.args(*options).arg(place).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// The file of a device, without the folder.
fn file_name(minor: u32) -> PathBuf {
    PathBuf::from(format!("dm-{minor}"))
}
