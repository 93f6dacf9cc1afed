//! Disks in memory: they complete at once, later from a thread, or when the test says so.

use crate::context::{Call, Context, Thing};
use crate::kern::transfer_done;
use crate::memory::exempt;
use crate::power::{Log, moment};
use crate::random::Random;
use crate::sync::{Condvar, Mutex, lock, thread, wait};
use dm::kern::disk::{DiskInfo, Op, Transfer};
use dm_protocol::{DevNo, Errno, Failure, SECTOR_SIZE, Sectors};
use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Plain, MutexGuard as PlainGuard};

/// When a transfer completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Before submission returns.
    Inline,
    /// Later, from a thread, in an order that the seed chooses.
    Thread(u64),
    /// When the test calls [`Disk::complete`].
    Held,
}

/// What a disk is like.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpec {
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes in one of its own sectors.
    pub sector_size: u32,
    /// It takes discards.
    pub discard: bool,
    /// It has a device number; an image file has none.
    pub number: bool,
    /// When its transfers complete.
    pub mode: Mode,
}

impl DiskSpec {
    /// A disk that completes at once, with sectors of 512 bytes.
    #[must_use]
    pub const fn new(sectors: u64) -> Self {
        Self { sectors, sector_size: 512, discard: true, number: true, mode: Mode::Inline }
    }

    /// With sectors of 4096 bytes.
    #[must_use]
    pub const fn big_sectors(self) -> Self {
        Self { sector_size: 4096, ..self }
    }

    /// With another mode.
    #[must_use]
    pub const fn mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }
}

/// A disk in memory.
pub struct Disk {
    /// What it is like.
    pub spec: DiskSpec,
    number: u64,
    state: Plain<State>,
    queue: Mutex<Queue>,
    more: Condvar,
    /// How often it is open now.
    pub opens: AtomicUsize,
    /// Transfers by kind, as [`Op::index`].
    pub counts: [AtomicU64; 5],
}

/// What a disk holds.
pub(crate) struct State {
    bytes: Vec<u8>,
    bad: Vec<Bad>,
    tear: bool,
    pub(crate) log: Option<Log>,
}

/// Sectors that answer with an error.
struct Bad {
    sectors: Range<u64>,
    errno: Errno,
    writes: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Held>,
    stopped: bool,
}

/// A transfer that waits for its end.
struct Held {
    transfer: NonNull<Transfer>,
    fail: bool,
    submitted: usize,
    begun: u64,
    context: Arc<Context>,
}
// SAFETY: the driver lets any thread complete a transfer.
unsafe impl Send for Held {}

static DISKS: Plain<BTreeMap<u64, Arc<Disk>>> = Plain::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// An open disk.
struct Open {
    disk: Arc<Disk>,
    context: Arc<Context>,
    write: bool,
}

impl Disk {
    /// A disk of zeroes, known as [`Disk::name`] until [`Disk::forget`].
    #[must_use]
    pub fn new(spec: DiskSpec) -> Arc<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let bytes = vec![0; (spec.sectors * SECTOR_SIZE) as usize];
        let disk = Arc::new(Self {
            spec,
            number,
            state: Plain::new(State { bytes, bad: Vec::new(), tear: false, log: None }),
            queue: Mutex::new(Queue::default()),
            more: Condvar::new(),
            opens: AtomicUsize::new(0),
            counts: Default::default(),
        });
        DISKS.lock().expect("not poisoned").insert(number, Arc::clone(&disk));
        disk
    }

    /// The path that a table names.
    #[must_use]
    pub fn name(&self) -> String {
        format!("mem:{}", self.number)
    }

    /// Its device number.
    #[must_use]
    pub fn devno(&self) -> DevNo {
        DevNo { major: 254, minor: (self.number & u64::from(DevNo::MINOR_MAX)) as u32 }
    }

    /// As a table prints it.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.spec.number { self.devno().to_string() } else { self.name() }
    }

    /// It cannot be opened any more.
    pub fn forget(&self) {
        DISKS.lock().expect("not poisoned").remove(&self.number);
    }

    pub(crate) fn state(&self) -> PlainGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Everything it holds.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Changes what it holds.
    pub fn set_bytes(&self, from: usize, bytes: &[u8]) {
        self.state().bytes[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// Transfers that touch these sectors fail.
    pub fn break_sectors(&self, sectors: Range<u64>, errno: Errno) {
        self.state().bad.push(Bad { sectors, errno, writes: true });
    }

    /// Only reads of these sectors fail.
    pub fn break_reads(&self, sectors: Range<u64>, errno: Errno) {
        self.state().bad.push(Bad { sectors, errno, writes: false });
    }

    /// Writes that fail get half-way.
    pub fn tear(&self) {
        self.state().tear = true;
    }

    /// All sectors are well again.
    pub fn mend(&self) {
        let mut state = self.state();
        state.bad.clear();
        state.tear = false;
    }

    /// How many transfers of a kind there were.
    pub fn count(&self, op: Op) -> u64 {
        self.counts[op.index()].load(Ordering::SeqCst)
    }

    /// Begins to record writes and flushes for power cuts.
    pub fn record(&self) {
        let mut state = self.state();
        state.log = Some(Log::new(state.bytes.clone()));
    }

    /// How much is recorded so far.
    #[must_use]
    pub fn recording(&self) -> usize {
        self.state().log.as_ref().map_or(0, Log::len)
    }

    /// What was recorded.
    #[must_use]
    pub fn recorded(&self) -> Log {
        self.state().log.take().expect("record was called")
    }

    /// How many transfers wait for [`Disk::complete`].
    pub fn held(&self) -> usize {
        lock(&self.queue).waiting.len()
    }

    /// What the `nth` waiting transfer is.
    pub fn held_op(&self, nth: usize) -> (Op, u64, u64) {
        let queue = lock(&self.queue);
        // SAFETY: a transfer that waits is the disk's.
        let transfer = unsafe { queue.waiting[nth].transfer.as_ref() };
        (transfer.op, transfer.sector.0, transfer.count.0)
    }

    /// Completes the `nth` of the waiting transfers; false if there are fewer.
    pub fn complete(&self, nth: usize) -> bool {
        let held = {
            let mut queue = lock(&self.queue);
            if nth >= queue.waiting.len() {
                return false;
            }
            queue.waiting.remove(nth)
        };
        self.end(held);
        true
    }

    /// Completes all that wait, and what comes meanwhile, in order.
    pub fn complete_all(&self) {
        while self.complete(0) {}
    }

    /// Does what is asked and gives the transfer back.
    fn end(&self, held: Held) {
        exempt(|| {
            // SAFETY: the transfer is the disk's until given back.
            let transfer = unsafe { held.transfer.as_ref() };
            let errno = if held.fail { Some(Errno::EIO) } else { None };
            let errno = errno.or_else(|| self.state().act(transfer, &held).err());
            held.context.enter();
            held.context.gave(Thing::Transfer);
            transfer_done(held.transfer, errno);
        });
    }

    fn serve(&self, mut random: Random) {
        loop {
            let held = {
                let mut queue = lock(&self.queue);
                while queue.waiting.is_empty() {
                    if queue.stopped {
                        return;
                    }
                    queue = wait(&self.more, queue);
                }
                let nth = random.below(queue.waiting.len() as u64) as usize;
                queue.waiting.swap_remove(nth)
            };
            self.end(held);
        }
    }

    /// Starts the thread of [`Mode::Thread`]; `None` in other modes.
    pub fn start(self: &Arc<Self>) -> Option<thread::JoinHandle<()>> {
        let Mode::Thread(seed) = self.spec.mode else { return None };
        let disk = Arc::clone(self);
        Some(thread::spawn(move || disk.serve(Random::new(seed))))
    }

    /// Ends that thread once nothing waits.
    pub fn stop(&self) {
        lock(&self.queue).stopped = true;
        self.more.notify_all();
    }
}

impl State {
    fn act(&mut self, transfer: &Transfer, held: &Held) -> Result<(), Errno> {
        let (start, end) = (transfer.sector.0, transfer.sector.0 + transfer.count.0);
        let touches = |bad: &&Bad| match transfer.op {
            Op::Flush => bad.writes,
            op => {
                (bad.writes || op == Op::Read) && bad.sectors.start < end && start < bad.sectors.end
            }
        };
        if let Some(errno) = self.bad.iter().find(touches).map(|bad| bad.errno) {
            if self.tear && transfer.op == Op::Write {
                let half = transfer.count.0 / 2 * SECTOR_SIZE;
                self.write(transfer, held, half as usize);
            }
            return Err(errno);
        }
        let range = (start * SECTOR_SIZE) as usize..(end * SECTOR_SIZE) as usize;
        match transfer.op {
            Op::Read => {
                // SAFETY: the memory of the transfer, ours until it is given back.
                let data = unsafe { slice::from_raw_parts_mut(transfer.data, range.len()) };
                data.copy_from_slice(&self.bytes[range]);
            }
            Op::Write => self.write(transfer, held, range.len()),
            Op::Flush => self.log.iter_mut().for_each(|log| log.flush(held.submitted)),
            Op::Discard => {
                // Whoever reads this sees at once that it was discarded.
                self.bytes[range.clone()].fill(0xdd);
                let bytes = &self.bytes[range];
                self.log.iter_mut().for_each(|log| log.write(held.begun, start, bytes, false));
            }
            Op::WriteZeroes => {
                self.bytes[range.clone()].fill(0);
                let bytes = &self.bytes[range];
                self.log
                    .iter_mut()
                    .for_each(|log| log.write(held.begun, start, bytes, transfer.fua));
            }
        }
        Ok(())
    }

    fn write(&mut self, transfer: &Transfer, held: &Held, length: usize) {
        let start = (transfer.sector.0 * SECTOR_SIZE) as usize;
        // SAFETY: the memory of the transfer, at least so long, ours until it is given back.
        let data = unsafe { slice::from_raw_parts(transfer.data, length) };
        self.bytes[start..start + length].copy_from_slice(data);
        let fua = transfer.fua;
        self.log.iter_mut().for_each(|log| log.write(held.begun, transfer.sector.0, data, fua));
    }
}

/// Opens `mem:NUMBER`, or the device number of a disk that has one.
pub(crate) fn open(context: Arc<Context>, spec: &str, write: bool) -> Result<DiskInfo, Failure> {
    let none = || Failure::new(Errno::ENOENT, format!("there is no disk {spec}"));
    let number = match spec.parse::<DevNo>() {
        Ok(devno) if devno.major == 254 => u64::from(devno.minor),
        _ => spec.strip_prefix("mem:").and_then(|n| n.parse().ok()).ok_or_else(none)?,
    };
    let disk = DISKS.lock().expect("not poisoned").get(&number).cloned().ok_or_else(none)?;
    context.took(Thing::Disk);
    disk.opens.fetch_add(1, Ordering::SeqCst);
    let info = (disk.spec, disk.name(), disk.devno());
    let handle = NonNull::from(Box::leak(Box::new(Open { disk, context, write }))).cast();
    let (spec, name, devno) = info;
    Ok(DiskInfo {
        handle,
        identity: [number, 0],
        devno: spec.number.then_some(devno),
        name,
        size: Sectors(spec.sectors),
        sector_size: spec.sector_size,
        discard: spec.discard,
    })
}

/// # Safety
/// `handle` came from `open`, and is not used again.
pub(crate) unsafe fn close(handle: NonNull<()>) {
    // SAFETY: the caller's contract.
    let open = unsafe { Box::from_raw(handle.cast::<Open>().as_ptr()) };
    open.disk.opens.fetch_sub(1, Ordering::SeqCst);
    open.context.gave(Thing::Disk);
}

/// # Safety
/// As `dm_kern_disk_submit`.
pub(crate) unsafe fn submit(handle: NonNull<()>, transfer: NonNull<Transfer>) {
    // SAFETY: the disk is open until its transfers are given back.
    let open = unsafe { handle.cast::<Open>().as_ref() };
    // SAFETY: ours until given back.
    check(open, unsafe { transfer.as_ref() });
    // The open disk may be closed as soon as the transfer is given back.
    let (disk, context) = (Arc::clone(&open.disk), Context::current());
    context.took(Thing::Transfer);
    let fail = !context.faults.allow(Call::Transfer);
    let (submitted, begun) = (disk.recording(), moment());
    let held = Held { transfer, fail, submitted, begun, context };
    match disk.spec.mode {
        Mode::Inline => disk.end(held),
        Mode::Held => lock(&disk.queue).waiting.push(held),
        Mode::Thread(_) => {
            lock(&disk.queue).waiting.push(held);
            disk.more.notify_all();
        }
    }
}

/// What the driver promises of a transfer.
fn check(open: &Open, transfer: &Transfer) {
    let disk = &open.disk;
    disk.counts[transfer.op.index()].fetch_add(1, Ordering::SeqCst);
    assert!(open.write || !transfer.op.writes(), "a write to a disk that is open for reading");
    if transfer.op == Op::Flush {
        assert_eq!((transfer.sector.0, transfer.count.0), (0, 0), "a flush has no range");
        return;
    }
    let unit = u64::from(disk.spec.sector_size) / SECTOR_SIZE;
    let end = transfer.sector.checked_add(transfer.count).expect("in range");
    assert!(end.0 <= disk.spec.sectors, "{transfer:?} is beyond the disk");
    assert!(transfer.count.0 > 0, "{transfer:?} is empty");
    assert_eq!((transfer.sector.0 | transfer.count.0) % unit, 0, "{transfer:?} is not aligned");
    assert!(!transfer.data.is_null() || !transfer.op.has_data(), "{transfer:?} has no memory");
}
