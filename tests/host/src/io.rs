//! I/O to a mapped device, as a platform makes it.

use crate::context::{Context, Thing};
use crate::memory::{exempt, strategy};
use crate::sync::{self, Condvar, Mutex, panicking};
use dm::driver::Opened;
use dm::kern::cell::{IoCell, IoRequest};
use dm::kern::disk::Op;
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// An open mapped device.
#[derive(Clone)]
pub struct Device {
    opened: Arc<Opened>,
    context: Arc<Context>,
}

/// A request of ours: the driver's cell comes first.
#[repr(C)]
struct Request {
    cell: IoCell,
    shared: Arc<Shared>,
    context: Arc<Context>,
}

struct Shared {
    result: Mutex<Option<Option<Errno>>>,
    over: Condvar,
}

/// A request under way.
#[must_use]
pub struct Pending {
    shared: Arc<Shared>,
    data: *mut u8,
    length: usize,
    device: Device,
    waited: bool,
}
// SAFETY: the memory is ours, and touched only when the request is over.
unsafe impl Send for Pending {}

impl Device {
    /// A device that was opened; its requests belong to this world.
    #[must_use]
    pub fn new(opened: Opened, context: Arc<Context>) -> Self {
        Self { opened: Arc::new(opened), context }
    }

    /// The driver's side.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Begins a request. For a write `data` is what is written; for a read its length says how
    /// much.
    pub fn begin(&self, op: Op, fua: bool, sector: u64, count: u64, data: Vec<u8>) -> Pending {
        exempt(|| {
            assert!(!op.has_data() || data.len() as u64 == count.wrapping_mul(SECTOR_SIZE));
            let length = data.len();
            let data = Box::into_raw(data.into_boxed_slice()).cast::<u8>();
            let shared = Arc::new(Shared { result: Mutex::new(None), over: Condvar::new() });
            let request = Box::into_raw(Box::new(Request {
                cell: IoCell::new(IoRequest {
                    op,
                    fua,
                    sector: Sector(sector),
                    count: Sectors(count),
                    data: if op.has_data() { data } else { ptr::null_mut() },
                    done,
                    context: ptr::null_mut(),
                }),
                shared: Arc::clone(&shared),
                context: Arc::clone(&self.context),
            }));
            self.context.enter();
            self.context.took(Thing::Request);
            let cell = NonNull::new(request.cast::<IoCell>()).expect("not null");
            let device = self.clone();
            // SAFETY: new memory that stays until `done`, and so does `device`.
            strategy(|| unsafe { self.opened.strategy(cell) });
            Pending { shared, data, length, device, waited: false }
        })
    }

    /// Reads.
    ///
    /// # Errors
    /// The driver's.
    pub fn read(&self, sector: u64, count: u64) -> Result<Vec<u8>, Errno> {
        let memory = vec![0xa5; (count * SECTOR_SIZE) as usize];
        self.begin(Op::Read, false, sector, count, memory).wait()
    }

    /// Writes whole sectors.
    ///
    /// # Errors
    /// The driver's.
    pub fn write(&self, sector: u64, data: &[u8]) -> Result<(), Errno> {
        let count = data.len() as u64 / SECTOR_SIZE;
        self.begin(Op::Write, false, sector, count, data.to_vec()).wait().map(drop)
    }

    /// Writes through caches.
    ///
    /// # Errors
    /// The driver's.
    pub fn write_fua(&self, sector: u64, data: &[u8]) -> Result<(), Errno> {
        let count = data.len() as u64 / SECTOR_SIZE;
        self.begin(Op::Write, true, sector, count, data.to_vec()).wait().map(drop)
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// The driver's.
    pub fn flush(&self) -> Result<(), Errno> {
        self.begin(Op::Flush, false, 0, 0, Vec::new()).wait().map(drop)
    }

    /// A request without data.
    ///
    /// # Errors
    /// The driver's.
    pub fn command(&self, op: Op, sector: u64, count: u64) -> Result<(), Errno> {
        self.begin(op, false, sector, count, Vec::new()).wait().map(drop)
    }
}

/// # Safety
/// Called by the driver, once for each request.
unsafe fn done(cell: NonNull<IoCell>, errno: Option<Errno>) {
    exempt(|| {
        // SAFETY: made by `begin`, and given back once.
        let request = unsafe { Box::from_raw(cell.cast::<Request>().as_ptr()) };
        request.context.gave(Thing::Request);
        let mut result = sync::lock(&request.shared.result);
        assert!(result.is_none(), "a request ended twice");
        *result = Some(errno);
        request.shared.over.notify_all();
        drop(result);
    });
}

impl Pending {
    /// Is it over?
    #[must_use]
    pub fn is_over(&self) -> bool {
        sync::lock(&self.shared.result).is_some()
    }

    /// Waits for the end. Gives the memory: what was read, or what was written.
    ///
    /// # Errors
    /// The driver's.
    pub fn wait(mut self) -> Result<Vec<u8>, Errno> {
        let mut result = sync::lock(&self.shared.result);
        while result.is_none() {
            result = sync::wait(&self.shared.over, result);
        }
        let errno = result.flatten();
        drop(result);
        self.waited = true;
        let slice = ptr::slice_from_raw_parts_mut(self.data, self.length);
        // SAFETY: made by `begin`; the request is over, so it is ours again.
        let data = unsafe { Box::from_raw(slice) }.into_vec();
        errno.map_or(Ok(data), Err)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        assert!(
            self.waited || panicking(),
            "a request to {} was not waited for",
            self.device.opened().minor()
        );
    }
}
