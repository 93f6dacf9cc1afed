//! The channel to NetBSD's kernel: an ioctl on `/dev/mapper/control`.
//!
//! The request is property list text in our memory; the reply is mapped into it by the kernel
//! and unmapped here. See `prop_dictionary_sendrecv_ioctl(3)`.

use crate::control::Control;
use crate::{Error, Result};
use dm_protocol::{Command, DevNo, Dict, Errno, Failure, key};
use nix::sys::stat::{Mode, SFlag, mknod};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::{io, ptr, slice};
use zeroize::{Zeroize, Zeroizing};

/// `struct plistref` of <prop/plistref.h>.
#[repr(C)]
#[derive(Debug)]
pub struct PlistRef {
    text: *mut c_void,
    length: usize,
}

// NETBSD_DM_IOCTL of <dev/dm/netbsd-dm.h>: _IOWR(0xfd, 0, struct plistref).
nix::ioctl_readwrite!(netbsd_dm_ioctl, 0xfd, 0, PlistRef);

#[cfg(target_pointer_width = "64")]
const _: () = assert!(nix::request_code_readwrite!(0xfd, 0, size_of::<PlistRef>()) == 0xc010fd00);

/// `struct kinfo_drivers` of <sys/sysctl.h>.
#[repr(C)]
#[derive(Clone, Copy)]
struct Driver {
    char_major: i32,
    block_major: i32,
    name: [u8; 24],
}

/// `modctl_load_t` of <sys/module.h>.
#[repr(C)]
struct ModuleLoad {
    file_name: *const c_char,
    flags: c_int,
    properties: *const c_char,
    properties_length: usize,
}

const MODCTL_LOAD: c_int = 0;

unsafe extern "C" {
    fn modctl(command: c_int, argument: *mut c_void) -> c_int;
}

#[derive(Debug)]
pub struct Node(File);

impl Node {
    pub fn open(control: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(control).map(Self)
    }

    /// Makes the control node, as every client of the stock driver does, and loads the module if
    /// the kernel has no driver.
    pub fn make(control: &Path) -> io::Result<Self> {
        let driver = match driver()? {
            Some(driver) => driver,
            None => {
                load_module(c"dm")?;
                driver()?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
            }
        };
        if let Some(directory) = control.parent() {
            fs::create_dir_all(directory)?;
        }
        let major = u32::try_from(driver.char_major).map_err(io::Error::other)?;
        let devno = DevNo { major, minor: 0 }.to_wire();
        mknod(control, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, devno)?;
        Self::open(control)
    }
}

impl Control for Node {
    fn command(&self, request: &Dict) -> Result<Dict> {
        // The kernel reads a C string.
        let plain = Zeroizing::new(dm_plist::to_xml(request));
        let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + 1));
        text.extend_from_slice(&plain);
        text.push(0);
        drop(plain);
        let mut list = PlistRef { text: text.as_mut_ptr().cast(), length: text.len() };
        // SAFETY: `list` points to `text`, which lives until after the call and which the kernel
        // only reads; it writes `list` itself.
        let done = unsafe { netbsd_dm_ioctl(self.0.as_raw_fd(), &raw mut list) };
        done.map_err(|errno| refused(request, errno))?;
        let reply = Mapped(list);
        dm_plist::from_xml(reply.bytes()).map_err(|error| Error::Reply(error.to_string()))
    }

    fn block_major(&self) -> Result<u32> {
        let driver = driver().map_err(Error::Channel)?;
        Ok(driver.and_then(|driver| u32::try_from(driver.block_major).ok()).unwrap_or(0))
    }
}

/// The error of an ioctl, which brings no dictionary back.
fn refused(request: &Dict, errno: nix::errno::Errno) -> Error {
    let name = request.text(key::COMMAND).ok().flatten().unwrap_or_default();
    match (Command::from_name(name), Errno::from_number(errno as i32)) {
        (Some(command), Some(errno)) => Error::Refused { command, failure: Failure::from(errno) },
        _ => Error::Channel(errno.into()),
    }
}

/// A reply in memory that the kernel mapped for us.
///
/// # Invariants
/// As the kernel returned it: readable and writable memory of that length, ours alone.
struct Mapped(PlistRef);

impl Mapped {
    fn bytes(&self) -> &[u8] {
        if self.0.text.is_null() {
            return &[];
        }
        // SAFETY: the type's invariant, and nobody has a mutable reference while `self` is shared.
        unsafe { slice::from_raw_parts(self.0.text.cast(), self.0.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.0.text.is_null() {
            return;
        }
        // SAFETY: the type's invariant, and `self` is exclusive.
        let bytes = unsafe { slice::from_raw_parts_mut(self.0.text.cast::<u8>(), self.0.length) };
        bytes.zeroize();
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        unsafe { libc::munmap(self.0.text, self.0.length) };
    }
}

/// The kernel's entry for dm in sysctl `kern.drivers`, if it has the driver.
fn driver() -> io::Result<Option<Driver>> {
    let name: &CStr = c"kern.drivers";
    let mut size = 0;
    // SAFETY: without a buffer the call writes only the size.
    let asked = unsafe {
        libc::sysctlbyname(name.as_ptr(), ptr::null_mut(), &raw mut size, ptr::null(), 0)
    };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    // A few more, for drivers that attach meanwhile.
    let empty = Driver { char_major: -1, block_major: -1, name: [0; 24] };
    let mut drivers = vec![empty; size / size_of::<Driver>() + 8];
    size = drivers.len() * size_of::<Driver>();
    // SAFETY: the buffer is `size` bytes long, and every bit pattern is a valid `Driver`.
    let read = unsafe {
        let buffer = drivers.as_mut_ptr().cast();
        libc::sysctlbyname(name.as_ptr(), buffer, &raw mut size, ptr::null(), 0)
    };
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    drivers.truncate(size / size_of::<Driver>());
    Ok(drivers.into_iter().find(|driver| driver.name.starts_with(b"dm\0")))
}

fn load_module(name: &CStr) -> io::Result<()> {
    let mut load = ModuleLoad {
        file_name: name.as_ptr(),
        flags: 0,
        properties: ptr::null(),
        properties_length: 0,
    };
    // SAFETY: `load` and the name it points to live until after the call.
    let loaded = unsafe { modctl(MODCTL_LOAD, (&raw mut load).cast()) };
    match loaded {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
