//! Lets the transfers of disks through that are held, until a test closes a gate.

use crate::disk::Disk;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Completes what [`Mode::Held`](crate::Mode) disks hold, but for those behind closed gates.
pub struct Pump {
    gates: Vec<Arc<AtomicBool>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Opens all gates at the end, however that comes.
pub struct Opens<'a>(&'a Pump);

impl Pump {
    /// Of these disks; all gates are open.
    #[must_use]
    pub fn new(disks: Vec<Arc<Disk>>) -> Self {
        let gates: Vec<_> = disks.iter().map(|_| Arc::new(AtomicBool::new(true))).collect();
        let over = Arc::new(AtomicBool::new(false));
        let (seen, doors) = (Arc::clone(&over), gates.clone());
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::SeqCst) {
                for (disk, gate) in disks.iter().zip(&doors) {
                    while gate.load(Ordering::SeqCst) && disk.complete(0) {}
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { gates, over, thread: Some(thread) }
    }

    /// Opens or closes the gate of a disk, by its number.
    pub fn open(&self, disk: usize, open: bool) {
        self.gates[disk].store(open, Ordering::SeqCst);
    }

    /// Opens all.
    pub fn open_all(&self) {
        self.gates.iter().for_each(|gate| gate.store(true, Ordering::SeqCst));
    }

    /// Whatever happens, all gates are open when this is dropped.
    #[must_use]
    pub const fn opens_at_end(&self) -> Opens<'_> {
        Opens(self)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || crate::sync::panicking(), "the pump panicked");
        }
    }
}

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open_all();
    }
}
