//! Block devices below, as vnodes.

use crate::sys::{self, FREAD, FWRITE, check, dev_t, vnode};
use crate::thread::c_string;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use dm::protocol::{DevNo, Errno, SECTOR_SIZE, Sector, Sectors};

/// An open block device.
///
/// # Invariants
/// `vp` is referenced and open, by us, with `mode`; it is the device `dev`.
pub struct Vnode {
    vp: *mut vnode,
    dev: dev_t,
    mode: c_int,
}

// SAFETY: vnodes have their own locks.
unsafe impl Send for Vnode {}
// SAFETY: as above.
unsafe impl Sync for Vnode {}

const LOCK: c_int = (sys::LK_EXCLUSIVE | sys::LK_RETRY) as c_int;

/// Thread context. The number of the block device that a path names.
pub fn block_device(path: &str) -> Result<dev_t, Errno> {
    let path = c_string(path);
    let mut vp: *mut vnode = ptr::null_mut();
    // SAFETY: a constant of the kernel.
    let flags = unsafe { sys::NSM_FOLLOW_NOEMULROOT };
    // SAFETY: a C string, and memory for the answer.
    check(unsafe { sys::namei_simple_kernel(path.as_ptr().cast(), flags, &raw mut vp) })?;
    let mut attributes = MaybeUninit::<sys::vattr>::zeroed();
    // SAFETY: the vnode is referenced; with LK_RETRY this does not fail.
    unsafe { sys::vn_lock(vp, LOCK) };
    // SAFETY: the vnode is locked, and there is memory for the answer.
    let got = unsafe { sys::VOP_GETATTR(vp, attributes.as_mut_ptr(), sys::kauth_cred_get()) };
    // SAFETY: locked and referenced, by us.
    unsafe { sys::vput(vp) };
    check(got)?;
    // SAFETY: filled in, and plain data in any case.
    let attributes = unsafe { attributes.assume_init() };
    match attributes.va_type {
        sys::VBLK => Ok(attributes.va_rdev),
        _ => Err(Errno::ENOTBLK),
    }
}

impl Vnode {
    /// Thread context. Opens a block device, for writing unless it can only be read.
    pub fn open(dev: dev_t, write: bool) -> Result<Self, Errno> {
        let both = (FREAD | FWRITE) as c_int;
        match Self::open_as(dev, both) {
            Err(Errno::EROFS | Errno::EACCES | Errno::EPERM) if !write => {
                Self::open_as(dev, FREAD as c_int)
            }
            other => other,
        }
    }

    fn open_as(dev: dev_t, mode: c_int) -> Result<Self, Errno> {
        let mut vp: *mut vnode = ptr::null_mut();
        // SAFETY: memory for the answer.
        check(unsafe { sys::bdevvp(dev, &raw mut vp) })?;
        // SAFETY: referenced by `bdevvp`; with LK_RETRY this does not fail.
        unsafe { sys::vn_lock(vp, LOCK) };
        // SAFETY: locked and referenced.
        let opened = check(unsafe { sys::VOP_OPEN(vp, mode, sys::NOCRED) });
        match opened {
            Ok(()) => {
                // SAFETY: locked by us; it stays referenced.
                unsafe { sys::VOP_UNLOCK(vp) };
                Ok(Self { vp, dev, mode })
            }
            Err(errno) => {
                // SAFETY: locked and referenced, by us.
                unsafe { sys::vput(vp) };
                Err(errno)
            }
        }
    }

    /// True if it takes writes.
    pub const fn writable(&self) -> bool {
        self.mode & FWRITE as c_int != 0
    }

    /// Thread context. Sectors, and bytes in one.
    pub fn size(&self) -> Result<(u64, u32), Errno> {
        let (mut count, mut bytes) = (0, 0);
        // SAFETY: open (type invariant), and memory for the answers.
        check(unsafe { sys::getdisksize(self.vp, &raw mut count, &raw mut bytes) })?;
        Ok((count, bytes))
    }

    /// Thread context; sleeps. Makes the device's own cache durable.
    pub fn flush(&self) -> Result<(), Errno> {
        let mut force: c_int = 0;
        let argument: *mut c_void = (&raw mut force).cast();
        let mode = FWRITE as c_int;
        // SAFETY: open (type invariant); the ioctl takes an int.
        let error =
            unsafe { sys::VOP_IOCTL(self.vp, sys::DM_CACHESYNC, argument, mode, sys::NOCRED) };
        match check(error) {
            // Nothing to flush.
            Err(Errno::ENOTTY | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(()),
            // What the kernel says of a disk that was pulled out.
            Err(Errno::EBADF) => Err(Errno::ENXIO),
            // EPASSTHROUGH is negative.
            _ if error == sys::EPASSTHROUGH => Ok(()),
            other => other,
        }
    }

    /// Any context. False if the driver has no way to discard.
    pub fn discards(&self) -> bool {
        // SAFETY: of an open device, whose driver stays.
        let switch = unsafe { sys::bdevsw_lookup(self.dev) };
        // SAFETY: as above.
        let switch = unsafe { switch.as_ref() };
        #[cfg(netbsd10)]
        let none = sys::devenodev as *const ();
        #[cfg(not(netbsd10))]
        let none = sys::enodev as *const ();
        switch.and_then(|switch| switch.d_discard).is_some_and(|way| way as *const () != none)
    }

    /// Thread context; sleeps.
    pub fn discard(&self, at: Sector, count: Sectors) -> Result<(), Errno> {
        let bytes = |sectors: u64| (sectors * SECTOR_SIZE).cast_signed();
        // SAFETY: an open device (type invariant).
        let error = unsafe { sys::bdev_discard(self.dev, bytes(at.0), bytes(count.0)) };
        match check(error) {
            Err(Errno::ENOTTY | Errno::ENODEV) => Err(Errno::EOPNOTSUPP),
            other => other,
        }
    }

    /// Strategy context. Starts a transfer.
    ///
    /// # Safety
    /// `bp` is a buffer of ours that lives until its `b_iodone` is called.
    pub unsafe fn strategy(&self, bp: *mut sys::buf) {
        // SAFETY: open (type invariant), and the caller's contract. Errors are in the buffer.
        unsafe { sys::VOP_STRATEGY(self.vp, bp) };
    }
}

impl Drop for Vnode {
    fn drop(&mut self) {
        // SAFETY: referenced (type invariant).
        unsafe { sys::vn_lock(self.vp, LOCK) };
        // SAFETY: locked, and open with this mode.
        unsafe { sys::VOP_CLOSE(self.vp, self.mode, sys::NOCRED) };
        // SAFETY: locked and referenced, by us; not used afterwards.
        unsafe { sys::vput(self.vp) };
    }
}

/// The device number that a path or `major:minor` names.
pub fn device_of(spec: &str) -> Result<dev_t, Errno> {
    match spec.parse::<DevNo>() {
        Ok(devno) => Ok(devno.to_wire()),
        Err(_) => block_device(spec),
    }
}
