//! The way to the driver.

use crate::control_socket::Socket;
use crate::{Error, Result};
use dm_protocol::Dict;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Carries dictionaries to a driver. Tests plug in a driver of their own here.
pub trait Control {
    /// Sends a request, waits, and returns the reply. Blocks as long as the command takes.
    ///
    /// # Errors
    /// [`Error::Channel`] or [`Error::Reply`]. A refusal that the driver put into its reply is no
    /// error here; [`Error::Refused`] is for a channel that brings nothing but a number.
    fn command(&self, request: &Dict) -> Result<Dict>;

    /// The block major number of mapped devices, for drivers that do not say it in their replies.
    ///
    /// # Errors
    /// [`Error::Channel`]
    fn block_major(&self) -> Result<u32> {
        Ok(0)
    }

    /// True when the driver leaves it to its clients to make the nodes of its devices.
    fn needs_nodes(&self) -> bool {
        false
    }
}

macro_rules! control_through {
    ($($pointer:ty)*) => {
        $(impl<C: Control + ?Sized> Control for $pointer {
            fn command(&self, request: &Dict) -> Result<Dict> {
                (**self).command(request)
            }

            fn block_major(&self) -> Result<u32> {
                (**self).block_major()
            }

            fn needs_nodes(&self) -> bool {
                (**self).needs_nodes()
            }
        })*
    };
}
control_through! { &C Box<C> }

/// A channel to whichever driver is there.
///
/// Commands of several threads are carried one after another; who waits for an event should do so
/// on a channel of its own.
#[derive(Debug)]
pub struct Channel(Kind);

#[derive(Debug)]
enum Kind {
    #[cfg(target_os = "netbsd")]
    Ioctl(crate::control_ioctl::Node),
    Socket(Socket),
}

/// The directory that holds `mapper/`: `$DM_DEV_DIR` if that is an absolute path, else `/dev`.
#[must_use]
pub fn dev_dir() -> PathBuf {
    let named = env::var_os("DM_DEV_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    named.unwrap_or_else(|| "/dev".into())
}

impl Channel {
    /// Opens `mapper/control` below `dev_dir`: a character device is the kernel's, a socket a
    /// host process's.
    ///
    /// # Errors
    /// [`Error::NoDriver`]
    pub fn open(dev_dir: &Path) -> Result<Self> {
        let control = dev_dir.join("mapper/control");
        Self::open_control(&control).map_err(|source| Error::NoDriver { control, source })
    }

    fn open_control(control: &Path) -> io::Result<Self> {
        let kind = match fs::metadata(control) {
            Ok(metadata) => metadata.file_type(),
            #[cfg(target_os = "netbsd")]
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return crate::control_ioctl::Node::make(control).map(Kind::Ioctl).map(Self);
            }
            Err(error) => return Err(error),
        };
        if kind.is_socket() {
            return Socket::connect(control).map(Kind::Socket).map(Self);
        }
        #[cfg(target_os = "netbsd")]
        if kind.is_char_device() {
            return crate::control_ioctl::Node::open(control).map(Kind::Ioctl).map(Self);
        }
        let what = match kind.is_char_device() {
            true => "this is another system's device mapper",
            false => "neither a character device nor a socket",
        };
        Err(io::Error::other(what))
    }
}

impl Control for Channel {
    fn command(&self, request: &Dict) -> Result<Dict> {
        match &self.0 {
            #[cfg(target_os = "netbsd")]
            Kind::Ioctl(node) => node.command(request),
            Kind::Socket(socket) => socket.command(request),
        }
    }

    fn block_major(&self) -> Result<u32> {
        match &self.0 {
            #[cfg(target_os = "netbsd")]
            Kind::Ioctl(node) => node.block_major(),
            Kind::Socket(socket) => socket.block_major(),
        }
    }

    fn needs_nodes(&self) -> bool {
        match &self.0 {
            #[cfg(target_os = "netbsd")]
            Kind::Ioctl(_) => true,
            Kind::Socket(_) => false,
        }
    }
}
