//! Threads that wait for one transfer or one request.

use super::cell::{IoCell, IoRef, IoRequest};
use super::child::{Child, Piece};
use super::sync::{Condition, SpinMutex};
use crate::device::Device;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use dm_protocol::Errno;

/// A thread that waits for one end.
pub(super) struct Waiter {
    result: SpinMutex<Option<Option<Errno>>>,
    over: Condition,
}

impl Waiter {
    fn new() -> Self {
        Self { result: SpinMutex::new(None), over: Condition::new() }
    }

    /// Any context. Tells the thread.
    ///
    /// # Safety
    /// `waiter` is waited for by a thread that is not told yet.
    pub(super) unsafe fn wake(waiter: NonNull<Self>, errno: Option<Errno>) {
        // SAFETY: the thread keeps it until it has seen the result, under the lock.
        let waiter = unsafe { waiter.as_ref() };
        let mut result = waiter.result.lock();
        *result = Some(errno);
        waiter.over.broadcast();
    }

    fn wait(&self) -> Result<(), Errno> {
        let mut result = self.result.lock();
        loop {
            match *result {
                Some(errno) => return errno.map_or(Ok(()), Err),
                None => self.over.wait(&mut result),
            }
        }
    }
}

/// Thread context; sleeps. Makes a child of nobody, lets `send` submit it, and waits for its
/// end. `data` is the memory transferred, of the piece's length, if there is some.
pub(crate) fn transfer(
    piece: Piece,
    data: Option<&mut [u8]>,
    send: impl FnOnce(Child),
) -> Result<(), Errno> {
    let waiter = Waiter::new();
    let mut memory = MaybeUninit::uninit();
    let data = data.map_or(ptr::null_mut(), <[u8]>::as_mut_ptr);
    // SAFETY: both stay on this stack until the child is over, which `wait` sees.
    send(unsafe { Child::waited_for(&mut memory, NonNull::from(&waiter), piece, data) });
    waiter.wait()
}

/// Thread context; sleeps. Makes a request to `device`, lets `begin` start it, and waits for
/// its end.
///
/// # Safety
/// `data` is null or memory for the request that is nobody else's meanwhile.
pub(crate) unsafe fn request(
    device: &Device,
    piece: Piece,
    data: *mut u8,
    begin: impl FnOnce(IoRef),
) -> Result<(), Errno> {
    let waiter = Waiter::new();
    let cell = IoCell::new(IoRequest {
        op: piece.op,
        fua: piece.fua,
        sector: piece.at,
        count: piece.count,
        data,
        done: request_done,
        context: ptr::from_ref(&waiter).cast_mut().cast(),
    });
    // SAFETY: the cell is new and stays on this stack until `done`, as does the borrow of
    // the device; the data is as the caller promised.
    begin(unsafe { IoRef::take(NonNull::from(&cell), device) });
    waiter.wait()
}

/// # Safety
/// The request was made by `request`.
unsafe fn request_done(cell: NonNull<IoCell>, errno: Option<Errno>) {
    // SAFETY: given back by the driver.
    let context = unsafe { cell.as_ref() }.request().context;
    // SAFETY: `request` put a pointer to its waiter there.
    let waiter = unsafe { NonNull::new_unchecked(context.cast()) };
    // SAFETY: it waits, and is told once.
    unsafe { Waiter::wake(waiter, errno) };
}

/// Thread context; sleeps. A flush of `device` that `begin` starts.
pub(crate) fn flush(device: &Device, piece: Piece, begin: impl FnOnce(IoRef)) -> Result<(), Errno> {
    // SAFETY: a flush has no data.
    unsafe { request(device, piece, ptr::null_mut(), begin) }
}
