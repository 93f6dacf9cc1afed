//! What this system offers for files and block devices, each with what to do where it does not.

#[cfg_attr(target_os = "linux", path = "system/linux.rs")]
#[cfg_attr(target_os = "netbsd", path = "system/netbsd.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "netbsd")), path = "system/portable.rs")]
mod here;
#[cfg(not(target_os = "linux"))]
mod lacking;

pub use here::{
    device_path, discard, in_memory, punch, read_now, sector_size, write_durably, zero,
};
#[cfg(target_os = "netbsd")]
pub use here::{flush, size};

use rustix::io::Result;
use std::fs::File;
use std::io::{Seek, SeekFrom};

/// Reads; fewer bytes than asked for at the end of the file.
pub fn read(file: &File, data: &mut [u8], offset: u64) -> Result<usize> {
    rustix::io::pread(file, data, offset)
}

/// Writes; if `durable`, what is written is when this returns.
pub fn write(file: &File, data: &[u8], offset: u64, durable: bool) -> Result<usize> {
    if durable { write_durably(file, data, offset) } else { rustix::io::pwrite(file, data, offset) }
}

/// Writes, and makes what was written durable, for systems that do not do both at once.
fn write_and_flush(file: &File, data: &[u8], offset: u64) -> Result<usize> {
    let written = rustix::io::pwrite(file, data, offset)?;
    flush(file).map(|()| written)
}

/// Makes what was written durable.
#[cfg(not(target_os = "netbsd"))]
pub fn flush(file: &File) -> Result<()> {
    rustix::fs::fdatasync(file)
}

/// The bytes of a file or block device.
#[cfg(not(target_os = "netbsd"))]
pub fn size(file: &File) -> std::io::Result<u64> {
    end(file)
}

/// The bytes of what tells them by its end.
fn end(mut file: &File) -> std::io::Result<u64> {
    file.seek(SeekFrom::End(0))
}
