//! What a disk tells of itself: geometry, wedge information, a disklabel.

use crate::sys::{self, device, disk, disklabel, dkwedge_info};
use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr;
use dm::protocol::{Geometry, Sector};

/// The geometry that the stock driver made up: sectors in a track, tracks in a cylinder.
const SECTORS: u32 = 32;
const TRACKS: u32 = 64;
/// What labels say of boot block and superblock.
const BOOT_BYTES: u32 = 8192;

/// Fills in sizes and geometry.
///
/// # Safety
/// An attached disk whose description the caller holds; thread context.
pub unsafe fn measure(disk: *mut disk, size: u64, sector_size: u32, set: Option<Geometry>) {
    // SAFETY: the caller's contract.
    let described = unsafe { &mut *disk };
    let unit = u64::from(sector_size.max(512)) / 512;
    let count = size / unit;
    let shift = unit.trailing_zeros() as c_int;
    described.dk_blkshift = shift;
    described.dk_byteshift = shift + 9;
    let geometry = &mut described.dk_geom;
    geometry.dg_secperunit = count.cast_signed();
    geometry.dg_secsize = sector_size;
    let shape = shape(count, set);
    geometry.dg_nsectors = shape.sectors;
    geometry.dg_ntracks = shape.heads;
    geometry.dg_ncylinders = shape.cylinders;
}

/// As `measure`, and makes the dictionary that clients get of it.
///
/// # Safety
/// As `measure`; `device` is the disk's.
pub unsafe fn describe(
    disk: *mut disk,
    device: *mut device,
    size: u64,
    sector_size: u32,
    set: Option<Geometry>,
) {
    // SAFETY: the caller's contract.
    unsafe { measure(disk, size, sector_size, set) };
    if size != 0 {
        // SAFETY: an attached disk with a geometry, and its device.
        unsafe { sys::disk_set_info(device, disk, c"ESDI".as_ptr()) };
    }
}

/// The geometry that was set, or one made up.
fn shape(count: u64, set: Option<Geometry>) -> Geometry {
    let made_up = || {
        let cylinders = count / u64::from(SECTORS * TRACKS);
        let cylinders = u32::try_from(cylinders).unwrap_or(u32::MAX).max(1);
        Geometry { cylinders, heads: TRACKS, sectors: SECTORS, start: Sector(0) }
    };
    // Clients divide by these.
    let usable = |set: &Geometry| set.cylinders != 0 && set.heads != 0 && set.sectors != 0;
    set.filter(usable).unwrap_or_else(made_up)
}

/// The name under which a disk and its counters are listed.
///
/// # Safety
/// An attached disk; `name` is a C string that stays until the next one; thread context.
pub unsafe fn rename(disk: *mut disk, name: &str) {
    // SAFETY: the caller's contract.
    unsafe { (*disk).dk_name = name.as_ptr().cast() };
    // SAFETY: the caller's contract; its counters stay as long as it is attached.
    let counters = unsafe { (*disk).dk_stats };
    #[cfg(netbsd10)]
    // SAFETY: as above.
    unsafe {
        sys::iostat_rename(counters, name.as_ptr().cast());
    }
    #[cfg(not(netbsd10))]
    {
        // SAFETY: as above. Who reads the list meanwhile may see a part of each.
        let listed = unsafe { &mut (*counters).io_name };
        listed.fill(0);
        put(listed, name.trim_end_matches('\0'));
    }
}

/// Copies text into a C array, cut and closed with a zero.
fn put(array: &mut [c_char], text: &str) {
    let room = array.len().saturating_sub(1);
    for (place, byte) in array.iter_mut().zip(text.bytes().take(room)) {
        *place = byte as c_char;
    }
}

/// What DIOCGWEDGEINFO tells: the stock driver's answer.
pub fn wedge(name: &str, size: u64, sector_size: u32) -> dkwedge_info {
    // SAFETY: plain data.
    let mut info: dkwedge_info = unsafe { MaybeUninit::zeroed().assume_init() };
    put(&mut info.dkw_devname, name);
    put(&mut info.dkw_parent, name);
    put(&mut info.dkw_ptype, "ffs");
    for (place, byte) in info.dkw_wname.iter_mut().zip(name.bytes().take(127)) {
        *place = byte;
    }
    info.dkw_size = size / (u64::from(sector_size.max(512)) / 512);
    info
}

/// A label that says that the whole device is one partition.
pub fn disklabel(name: &str, size: u64, sector_size: u32, set: Option<Geometry>) -> disklabel {
    // SAFETY: plain data and null pointers.
    let mut label: disklabel = unsafe { MaybeUninit::zeroed().assume_init() };
    let count = size / (u64::from(sector_size.max(512)) / 512);
    let shape = shape(count, set);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    label.d_magic = sys::DM_DISKMAGIC;
    label.d_magic2 = sys::DM_DISKMAGIC;
    put(&mut label.d_typename, "dm");
    // SAFETY: text in a union of texts and pointers.
    put(unsafe { &mut label.d_un.un_d_packname }, name);
    label.d_secsize = sector_size;
    label.d_nsectors = shape.sectors;
    label.d_ntracks = shape.heads;
    label.d_secpercyl = shape.sectors * shape.heads;
    label.d_ncylinders = shape.cylinders;
    label.d_secperunit = count;
    label.d_rpm = 3600;
    label.d_interleave = 1;
    label.d_bbsize = BOOT_BYTES;
    label.d_sbsize = BOOT_BYTES;
    let raw = sys::RAW_PART as usize;
    label.d_npartitions = raw as u16 + 1;
    label.d_partitions[raw].p_size = count;
    label.d_checksum = checksum(&label);
    label
}

/// The exclusive or of the 16-bit words up to the last partition.
fn checksum(label: &disklabel) -> u16 {
    let partitions = core::mem::offset_of!(disklabel, d_partitions);
    let one = size_of_val(&label.d_partitions[0]);
    let words = (partitions + one * usize::from(label.d_npartitions)) / 2;
    let start = ptr::from_ref(label).cast::<u16>();
    // SAFETY: within the label, which is plain data without padding there.
    let words = unsafe { core::slice::from_raw_parts(start, words) };
    words.iter().fold(0, |sum, word| sum ^ word)
}
