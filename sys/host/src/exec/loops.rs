//! Loop devices: the kernel's block devices over files.
//!
//! No descriptor of one is kept: the kernel writes back what is cached above a disk when its last
//! opener closes it, and that must be a program, not us.

use libc::{c_int, c_ulong};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The block major number of loop devices.
pub const MAJOR: u32 = 7;
/// The number of /dev/loop-control.
const CONTROL: (u32, u32) = (10, 237);

const LOOP_CLR_FD: c_ulong = 0x4c01;
const LOOP_SET_STATUS64: c_ulong = 0x4c04;
const LOOP_GET_STATUS64: c_ulong = 0x4c05;
const LOOP_SET_CAPACITY: c_ulong = 0x4c07;
const LOOP_SET_BLOCK_SIZE: c_ulong = 0x4c09;
const LOOP_CONFIGURE: c_ulong = 0x4c0a;
const LOOP_CTL_ADD: c_ulong = 0x4c80;
const LOOP_CTL_REMOVE: c_ulong = 0x4c81;
const BLKROSET: c_ulong = 0x125d;
const FIFREEZE: c_ulong = 0xc004_5877;
const FITHAW: c_ulong = 0xc004_5878;

const FLAG_READ_ONLY: u32 = 1;
const FLAG_AUTOCLEAR: u32 = 4;
const FLAG_DIRECT_IO: u32 = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

/// Makes loop devices and takes them away.
#[derive(Debug)]
pub struct Loops {
    control: File,
    /// Where their nodes are: the system's may be missing.
    folder: PathBuf,
}

/// How a loop device is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes in a sector.
    pub sector_size: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// It takes discards.
    pub discard: bool,
}

/// An ioctl whose argument is a number.
fn number(file: &File, request: c_ulong, argument: c_ulong) -> Result<c_int, Errno> {
    // SAFETY: these requests take a number, or ignore it.
    result(unsafe { libc::ioctl(file.as_raw_fd(), request, argument) })
}

fn result(done: c_int) -> Result<c_int, Errno> {
    match done {
        0.. => Ok(done),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// An ioctl whose argument is one 32-bit number in memory.
fn with_int(file: &File, request: c_ulong, mut value: c_int) -> Result<(), Errno> {
    let at: *mut c_int = &raw mut value;
    // SAFETY: these requests read, or write, one int.
    result(unsafe { libc::ioctl(file.as_raw_fd(), request, at) }).map(drop)
}

fn with_info(file: &File, request: c_ulong, info: &mut Info) -> Result<(), Errno> {
    let at: *mut Info = info;
    // SAFETY: these requests read, or write, a `loop_info64`.
    result(unsafe { libc::ioctl(file.as_raw_fd(), request, at) }).map(drop)
}

fn empty_info() -> Info {
    // SAFETY: plain numbers.
    unsafe { zeroed() }
}

impl Loops {
    /// Nodes are made in `folder`.
    ///
    /// # Errors
    /// EPERM and the like where loop devices are not for us.
    pub fn new(folder: &Path) -> Result<Self, Errno> {
        let node = folder.join("loop-control");
        make_node(&node, FileType::CharacterDevice, CONTROL)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let control = open(&node, flags, Mode::empty())?;
        Ok(Self { control: control.into(), folder: folder.to_owned() })
    }

    /// Makes the device of a number.
    ///
    /// # Errors
    /// EEXIST when it is there.
    pub fn add(&self, index: u32) -> Result<(), Errno> {
        number(&self.control, LOOP_CTL_ADD, index.into()).map(drop)
    }

    /// Takes it away.
    ///
    /// # Errors
    /// EBUSY when it is bound or open, ENODEV when there is none.
    pub fn remove(&self, index: u32) -> Result<(), Errno> {
        number(&self.control, LOOP_CTL_REMOVE, index.into())?;
        let _ = fs::remove_file(self.node(index));
        Ok(())
    }

    /// The path of our own node of it.
    fn node(&self, index: u32) -> PathBuf {
        self.folder.join(format!("loop{index}"))
    }

    /// Opens it for a moment.
    fn open(&self, index: u32, flags: OFlags) -> Result<File, Errno> {
        let node = self.node(index);
        make_node(&node, FileType::BlockDevice, (MAJOR, index))?;
        open(&node, flags | OFlags::CLOEXEC, Mode::empty()).map(File::from)
    }

    /// Binds it to a file. With `hold`, it is unbound when the descriptor is closed that this
    /// gives.
    ///
    /// # Errors
    /// EBUSY when it is bound.
    pub fn bind(&self, index: u32, file: &File, shape: Shape, hold: bool) -> Result<File, Errno> {
        let device = self.open(index, OFlags::RDWR)?;
        let mut info = empty_info();
        info.flags = FLAG_DIRECT_IO;
        info.flags |= if shape.readonly { FLAG_READ_ONLY } else { 0 };
        info.flags |= if hold { FLAG_AUTOCLEAR } else { 0 };
        let mut config = Config {
            fd: file.as_raw_fd() as u32,
            block_size: shape.sector_size,
            info,
            reserved: [0; 8],
        };
        let at: *mut Config = &raw mut config;
        // SAFETY: it reads a `loop_config`.
        result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, at) })?;
        limit_discards(index, shape);
        Ok(device)
    }

    /// Unbinds it if nobody has it open.
    ///
    /// # Errors
    /// EBUSY when somebody has; it stays as it was.
    pub fn unbind(&self, index: u32) -> Result<(), Errno> {
        let device = match self.unbind_at_close(index) {
            Err(Errno::NXIO) => return Ok(()),
            device => device?,
        };
        // Asked to let go, it tells no more of itself, unless somebody else has it open.
        let mut info = empty_info();
        if with_info(&device, LOOP_GET_STATUS64, &mut info).is_err() {
            return Ok(());
        }
        self.stay(index)?;
        Err(Errno::BUSY)
    }

    /// Unbinds it as soon as nobody has it open: at the earliest when what this gives is closed.
    ///
    /// # Errors
    /// ENXIO when it is not bound.
    pub fn unbind_at_close(&self, index: u32) -> Result<File, Errno> {
        let device = self.open(index, OFlags::RDONLY)?;
        number(&device, LOOP_CLR_FD, 0)?;
        Ok(device)
    }

    /// Takes a promise to unbind it back.
    ///
    /// # Errors
    /// ENXIO when it is not bound any more.
    pub fn stay(&self, index: u32) -> Result<(), Errno> {
        let device = self.open(index, OFlags::RDONLY)?;
        let mut info = empty_info();
        with_info(&device, LOOP_GET_STATUS64, &mut info)?;
        info.flags &= !FLAG_AUTOCLEAR;
        with_info(&device, LOOP_SET_STATUS64, &mut info)
    }

    /// Has it take over its file's size, and these properties.
    ///
    /// # Errors
    /// ENXIO when it is not bound.
    pub fn reshape(&self, index: u32, file: &Path, shape: Shape) -> Result<(), Errno> {
        // The kernel remembers sizes until it asks for them again.
        let _ = fs::metadata(file);
        let device = self.open(index, OFlags::RDONLY)?;
        number(&device, LOOP_SET_CAPACITY, 0)?;
        // Set only where it differs, since that empties the cache.
        if rustix::fs::ioctl_blksszget(&device)? != shape.sector_size {
            number(&device, LOOP_SET_BLOCK_SIZE, shape.sector_size.into())?;
        }
        limit_discards(index, shape);
        with_int(&device, BLKROSET, shape.readonly.into())
    }

    /// Writes back what is cached above it.
    ///
    /// # Errors
    /// Those of the writes.
    pub fn sync(&self, index: u32) -> Result<(), Errno> {
        let device = self.open(index, OFlags::RDONLY)?;
        rustix::fs::fsync(&device)
    }
}

/// A loop device takes discards for its file. Those of a table that takes none must not come:
/// they would be writes of zeroes, which fill up a snapshot.
fn limit_discards(index: u32, shape: Shape) {
    let folder = PathBuf::from(format!("/sys/block/loop{index}/queue"));
    let most = fs::read_to_string(folder.join("discard_max_hw_bytes")).unwrap_or_default();
    let limit = if shape.discard { most.trim() } else { "0" };
    // Without the right to set it, too much is asked of the device, which does it right.
    let _ = fs::write(folder.join("discard_max_bytes"), limit);
}

/// Makes a device node, or leaves the one that is there.
fn make_node(path: &Path, kind: FileType, (major, minor): (u32, u32)) -> Result<(), Errno> {
    match mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), makedev(major, minor)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Stops or goes on with the writing of the file system mounted at a place.
///
/// # Errors
/// EOPNOTSUPP and the like; EBUSY when it is stopped already.
pub fn freeze(place: &Path, frozen: bool) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let folder = File::from(open(place, flags, Mode::empty())?);
    with_int(&folder, if frozen { FIFREEZE } else { FITHAW }, 0)
}

/// The loop device's number of bytes, if it is there and bound.
#[must_use]
pub fn bound(index: u32) -> Option<u64> {
    let folder = PathBuf::from(format!("/sys/block/loop{index}"));
    fs::metadata(folder.join("loop/backing_file")).ok()?;
    let sectors = fs::read_to_string(folder.join("size")).ok()?;
    sectors.trim().parse::<u64>().ok()?.checked_mul(512)
}
