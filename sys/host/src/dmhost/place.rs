//! The directory that a dmhost serves, and its claim to be the only one there.

use crate::options::Options;
use rustix::fs::{FlockOperation, Gid, Mode, flock};
use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The directory, locked.
pub struct Place {
    control: PathBuf,
    nbd: PathBuf,
    // Closing it, in whatever way the process ends, gives the lock up.
    _lock: File,
}

fn named(path: &Path, error: impl Display) -> String {
    format!("{}: {error}", path.display())
}

impl Place {
    /// Makes the directory if it is not there, and locks it.
    pub fn claim(dev_dir: &Path) -> Result<Self, String> {
        let mapper = dev_dir.join("mapper");
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&mapper);
        made.map_err(|error| named(&mapper, error))?;
        let path = dev_dir.join("dmhost.lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&path).map_err(|error| named(&path, error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let whose = fs::read_to_string(&path).unwrap_or_default();
            let whose = whose.trim();
            return Err(named(dev_dir, format!("another dmhost serves it (process {whose})")));
        }
        // Only for that sentence.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let nbd = dev_dir.join("nbd.sock");
        Ok(Self { control: mapper.join("control"), nbd, _lock: lock })
    }

    /// Makes the control socket; one that a killed dmhost left behind is removed first.
    pub fn listen(&self, options: &Options) -> Result<UnixListener, String> {
        listen(&self.control, options)
    }

    /// Makes the socket for NBD, if there is to be one.
    pub fn listen_nbd(&self, options: &Options) -> Result<Option<UnixListener>, String> {
        let path = options.nbd_socket.as_ref().unwrap_or(&self.nbd);
        (!options.no_nbd).then(|| listen(path, options)).transpose()
    }

    /// Takes the sockets away.
    pub fn leave(&self, options: &Options) {
        let nbd = options.nbd_socket.as_ref().unwrap_or(&self.nbd);
        for path in [Some(&self.control), (!options.no_nbd).then_some(nbd)].into_iter().flatten() {
            if let Err(error) = fs::remove_file(path) {
                log::warn!("{}", named(path, error));
            }
        }
    }
}

/// Makes a socket that those whom the options name may connect to.
fn listen(path: &Path, options: &Options) -> Result<UnixListener, String> {
    let wrong = |error: io::Error| named(path, error);
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path).map_err(wrong)?,
        Ok(_) => return Err(named(path, "it is in the way and no socket")),
        Err(_) => {}
    }
    let group = options.group.as_deref().map(group_number).transpose()?;
    // Nobody gets in before the mode is right.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path).map_err(wrong);
    rustix::process::umask(before);
    let listener = listener?;
    if let Some(group) = group {
        rustix::fs::chown(path, None, Some(group)).map_err(|error| wrong(error.into()))?;
    }
    fs::set_permissions(path, Permissions::from_mode(options.mode)).map_err(wrong)?;
    Ok(listener)
}

/// The number of a group, which may be its name.
fn group_number(group: &str) -> Result<Gid, String> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let groups =
        fs::read_to_string("/etc/group").map_err(|error| format!("/etc/group: {error}"))?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    number.map(Gid::from_raw).ok_or_else(|| format!("there is no group \"{group}\""))
}
