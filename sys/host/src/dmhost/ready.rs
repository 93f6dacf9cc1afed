//! Telling whoever started us that we are ready.

use crate::options::Options;
use dm_host::kern::inherited;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;

/// Says so in every way asked for.
pub fn tell(options: &Options) -> Result<(), String> {
    if let Some(path) = &options.pid_file {
        let written = fs::write(path, format!("{}\n", process::id()));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(number) = options.ready_fd {
        tell_fd(number).map_err(|error| format!("--ready-fd: {error}"))?;
    }
    notify("READY=1\n");
    Ok(())
}

/// A line to an inherited file, which is closed then. Standard ones stay open, since the next
/// file that is opened would take their place, and what is logged would go there.
fn tell_fd(number: u32) -> io::Result<()> {
    // Whoever waited may have gone; that is no reason to stop.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    match number {
        0 => return Err(io::ErrorKind::InvalidInput.into()),
        1 => {
            let _ = rustix::io::write(rustix::stdio::stdout(), b"\n");
            rustix::stdio::dup2_stdout(&null)?;
        }
        2 => {
            let _ = rustix::io::write(rustix::stdio::stderr(), b"\n");
        }
        _ => {
            let _ = inherited(number)?.write_all(b"\n");
        }
    }
    Ok(())
}

/// Says that we are about to go.
pub fn stopping() {
    notify("STOPPING=1\n");
}

/// Says that we are as good as gone.
pub fn stopped(options: &Options) {
    if let Some(path) = &options.pid_file {
        let _ = fs::remove_file(path);
    }
}

/// To the socket of sd_notify(3), if there is one.
fn notify(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return };
    let send = || -> io::Result<()> {
        #[cfg(target_os = "linux")]
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&path)?,
        };
        #[cfg(not(target_os = "linux"))]
        let address = SocketAddr::from_pathname(&path)?;
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
    };
    if let Err(error) = send() {
        log::warn!("NOTIFY_SOCKET: {error}");
    }
}
