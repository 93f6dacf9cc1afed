//! The kernel's queue of transfers: io_uring.
//!
//! Transfers are queued from whichever thread submits them; one thread takes back what is done.

use super::{Running, hold};
use crate::disk::file::FileDisk;
use crate::errno;
use dm::kern::disk::{Op, Transfer};
use dm_protocol::Errno;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

/// Places in the queue; the kernel empties it with every submission.
const ENTRIES: u32 = 256;
/// Longest piece of one transfer: the kernel's own limit is just below 2 GiB.
const PIECE: usize = 1 << 30;
/// `RWF_DSYNC`: a write is durable when it is done.
const DSYNC: i32 = 2;

thread_local! {
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// The queue of the process.
///
/// # Invariants
/// Entries are pushed only with `pushing` held, and completions taken only by one thread. Every
/// entry's user data is a transfer whose word is a counted `FileDisk`.
pub struct Uring {
    ring: IoUring,
    pushing: Mutex<()>,
}

impl Uring {
    /// The queue, if this kernel has one.
    pub fn process() -> Option<&'static Self> {
        static RING: OnceLock<Option<Uring>> = OnceLock::new();
        static TAKER: OnceLock<bool> = OnceLock::new();
        let ring = RING.get_or_init(|| Self::new().ok()).as_ref()?;
        let takes = || thread::Builder::new().name("uring".into()).spawn(|| ring.take()).is_ok();
        TAKER.get_or_init(takes).then_some(ring)
    }

    fn new() -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [opcode::Read::CODE, opcode::Write::CODE];
        // Without it completions could get lost when many come at once.
        if !ring.params().is_feature_nodrop() || !needed.iter().all(|&op| probe.is_supported(op)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring, pushing: Mutex::new(()) })
    }

    /// Queues a read or a write whose memory suits the disk.
    pub fn submit(&self, disk: Arc<FileDisk>, mut running: Running) {
        let Some(entry) = entry(&disk, &mut running) else {
            return running.finish(Err(Errno::EINVAL));
        };
        *running.word() = Arc::into_raw(disk).expose_provenance();
        let transfer = running.into_raw();
        let entry = entry.user_data(transfer.as_ptr().expose_provenance() as u64);
        if !self.push(&entry) {
            // SAFETY: given up above, and the kernel never saw it.
            let (disk, running) = unsafe { taken_back(transfer) };
            FileDisk::later(disk, running);
        }
    }

    /// False when the kernel does not take what is in the queue already.
    fn push(&self, entry: &Entry) -> bool {
        let _pushing = hold(&self.pushing);
        for _ in 0..2 {
            // SAFETY: `pushing` is held, so this is the only view of the queue.
            let mut queue = unsafe { self.ring.submission_shared() };
            // SAFETY: the transfer's memory and the disk stay until `take` sees its end.
            let pushed = unsafe { queue.push(entry) }.is_ok();
            drop(queue);
            // What the kernel does not take now, `take` submits again.
            let _ = self.ring.submit();
            if pushed {
                return true;
            }
        }
        false
    }

    /// Is the calling thread the one that takes completions?
    pub fn is_own_thread() -> bool {
        OWN_THREAD.get()
    }

    /// Takes completions for ever.
    fn take(&self) {
        OWN_THREAD.set(true);
        loop {
            // Without room the kernel takes what was queued before and answers later.
            let _ = self.ring.submitter().submit_and_wait(1);
            loop {
                // SAFETY: only this thread looks at completions.
                let mut done = unsafe { self.ring.completion_shared() };
                let Some(entry) = done.next() else { break };
                drop(done);
                let address = usize::try_from(entry.user_data()).unwrap_or(0);
                let transfer = std::ptr::with_exposed_provenance_mut::<Transfer>(address);
                let Some(transfer) = NonNull::new(transfer) else { continue };
                // SAFETY: given up by `submit`, and the kernel tells its end once.
                let (disk, running) = unsafe { taken_back(transfer) };
                self.ended(disk, running, entry.result());
            }
        }
    }

    /// The kernel is done with a piece: `result` is its bytes, or a negative error number.
    fn ended(&self, disk: Arc<FileDisk>, mut running: Running, result: i32) {
        match usize::try_from(result) {
            Ok(0) => finish(disk, running, Err(Errno::EIO)),
            Ok(bytes) => {
                running.advance(bytes);
                match running.length() {
                    0 => finish(disk, running, Ok(())),
                    _ => self.submit(disk, running),
                }
            }
            Err(_) => {
                let error = io::Error::from_raw_os_error(result.wrapping_neg());
                match errno::from_io(&error) {
                    Errno::EINTR | Errno::EAGAIN => self.submit(disk, running),
                    // A file system that does not know the flags; a thread finds another way.
                    Errno::EOPNOTSUPP | Errno::EINVAL => FileDisk::later(disk, running),
                    errno => finish(disk, running, Err(errno)),
                }
            }
        }
    }
}

/// # Safety
/// `Uring::submit` gave the transfer up, and it is taken back once.
unsafe fn taken_back(transfer: NonNull<Transfer>) -> (Arc<FileDisk>, Running) {
    // SAFETY: the caller's contract.
    let mut running = unsafe { Running::from_raw(transfer) };
    let disk = std::ptr::with_exposed_provenance::<FileDisk>(*running.word());
    // SAFETY: `submit` counted it.
    let disk = unsafe { Arc::from_raw(disk) };
    (disk, running)
}

/// The end of the last transfer may be the end of the disk, which is closed then.
fn finish(disk: Arc<FileDisk>, running: Running, result: Result<(), Errno>) {
    drop(disk);
    running.finish(result);
}

fn entry(disk: &FileDisk, running: &mut Running) -> Option<Entry> {
    let (fd, offset) = (Fd(disk.as_fd().as_raw_fd()), running.offset());
    let flags = if running.fua() { DSYNC } else { 0 };
    let op = running.op();
    let data = running.data();
    let length = u32::try_from(data.len().min(PIECE)).ok()?;
    Some(match op {
        Op::Read => opcode::Read::new(fd, data.as_mut_ptr(), length).offset(offset).build(),
        Op::Write => {
            opcode::Write::new(fd, data.as_ptr(), length).offset(offset).rw_flags(flags).build()
        }

        Op::Flush | Op::Discard | Op::WriteZeroes => return None,
    })
}
