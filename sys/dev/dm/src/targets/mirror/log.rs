//! The log of a mirror: which regions are clean. On disk, Linux's format: a header in the first
//! sector, and from the third on a bit for each region, set when it is clean.

use super::parse::{Line, LogKind, Word};
use crate::kern::sync::atomic::{AtomicBool, Ordering};
use crate::lower::Lower;
use crate::targets::copies::{self, Action, Core, PAGE, PAGE_SECTORS, Pages, Scribe, Standing};
use alloc::format;
use alloc::sync::Arc;
use dm_protocol::{Errno, Failure, SECTOR_SIZE, Sector, Sectors};

/// How long a region is left alone before it is clean again.
const SLEEP_NS: u64 = 1_000_000_000;

/// What is told of a log.
#[derive(Default)]
pub struct LogState {
    lost: AtomicBool,
}

impl LogState {
    /// True once it could not be read or written.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }
}

/// The first words of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    magic: u32,
    version: u32,
    regions: u64,
}

impl Header {
    /// `MiRr`.
    const MAGIC: u32 = 0x4d69_5272;
    const VERSION: u32 = 2;
    const BYTES: usize = 16;

    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let regions = bytes.get(8..Self::BYTES)?.try_into().ok().map(u64::from_le_bytes)?;
        Some(Self { magic: word(0)?, version: word(4)?, regions })
    }

    fn write(self, bytes: &mut [u8]) {
        let fields = [self.magic.to_le_bytes(), self.version.to_le_bytes()];
        let all = fields.into_iter().flatten().chain(self.regions.to_le_bytes());
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = from;
        }
    }
}

/// A log on a device.
struct DiskLog {
    lower: Lower,
    pages: Pages,
    scribe: Scribe,
}

/// A mirror's record.
pub struct Ledger {
    disk: Option<DiskLog>,
    word: Word,
    regions: u64,
    state: Arc<LogState>,
}

/// Where the bits begin.
const BITS_AT: u64 = 1024;

impl DiskLog {
    fn new(lower: &Lower, regions: u64) -> Result<Self, Failure> {
        if lower.sector_size() as usize > PAGE {
            let size = lower.sector_size();
            let message = format!("a log cannot lie on {lower}, whose sectors have {size} bytes");
            return Err(Failure::new(Errno::EINVAL, message));
        }
        // Linux counts in words of 64 bits.
        let bytes = BITS_AT + regions.div_ceil(64) * 8;
        let length = bytes.next_multiple_of(u64::from(lower.sector_size()));
        let size = lower.size();
        if size.bytes().is_some_and(|size| size < length) {
            let needed = length / SECTOR_SIZE;
            let message =
                format!("a log of {needed} sectors does not fit {lower}, which has {size}");
            return Err(Failure::new(Errno::EINVAL, message));
        }
        let pages = Pages::new(length, BITS_AT as usize)?;
        Ok(Self { lower: lower.clone(), pages, scribe: Scribe::new(1)? })
    }

    fn read(&mut self) -> Result<(), Errno> {
        self.pages.read(&self.lower, Sector(0))
    }

    /// What the log says, as a header that is valid for this table.
    fn header(&self, word: Word) -> Result<Header, Failure> {
        let header = Header::read(self.pages.bytes()).filter(|_| word == Word::None);
        match header {
            Some(header) if header.magic == Header::MAGIC => match header.version {
                1 | Header::VERSION => Ok(header),
                version => {
                    let message =
                        format!("version {version} of the log on {} is unknown", self.lower);
                    Err(Failure::new(Errno::EINVAL, message))
                }
            },
            _ => Ok(Header { magic: Header::MAGIC, version: Header::VERSION, regions: 0 }),
        }
    }
}

impl Ledger {
    /// Thread context. The log of a line.
    pub fn new(line: &Line, length: Sectors, state: &Arc<LogState>) -> Result<Self, Failure> {
        let regions = length.0.div_ceil(line.region_sectors);
        let disk = match &line.log {
            LogKind::Core => None,
            LogKind::Disk(lower) => Some(DiskLog::new(lower, regions)?),
        };
        Ok(Self { disk, word: line.word, regions, state: Arc::clone(state) })
    }

    /// Reads a log on a device, and makes it one for this table.
    fn load_disk(&mut self) -> Result<(), Failure> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let read = disk.read();
        self.state.lost.store(read.is_err(), Ordering::SeqCst);
        if read.is_err() {
            // What cannot be read says nothing: no header, and so no region.
            disk.pages.bytes_mut().fill(0);
        }
        let header = disk.header(self.word)?;
        // Regions that are new to the log.
        for region in header.regions..self.regions {
            disk.pages.set(region, self.word == Word::Nosync);
        }
        // And what is not a region, up to the end of the word.
        for region in self.regions..self.regions.next_multiple_of(64) {
            disk.pages.set(region, false);
        }
        let header = Header { version: Header::VERSION, regions: self.regions, ..header };
        disk.pages.change_head(|bytes| header.write(bytes));
        disk.pages.touch(true);
        Ok(())
    }

    /// The log could not be read or written.
    fn lose(&self, core: &Core) {
        if !self.state.lost.swap(true, Ordering::SeqCst) {
            core.event.raise();
        }
    }
}

impl copies::Ledger for Ledger {
    fn load(&mut self, core: &Core, again: bool) -> Result<(), Failure> {
        if again {
            for member in core.members.iter().filter(|member| member.standing() == Standing::Dead) {
                member.set_standing(Standing::Returning);
            }
            if let Some(disk) = &mut self.disk {
                disk.pages.touch(true);
                self.state.lost.store(false, Ordering::SeqCst);
            }
            return Ok(());
        }
        core.forget();
        self.load_disk()?;
        if self.state.is_lost() {
            core.event.raise();
        }
        let pages = self.disk.as_ref().map(|disk| &disk.pages);
        for region in 0..self.regions {
            let clean = match pages {
                Some(pages) => pages.get(region),
                None => self.word == Word::Nosync,
            };
            if !clean {
                core.regions(|regions| {
                    regions.set_stale(region, true);
                    regions.mark(region);
                });
            }
        }
        Ok(())
    }

    fn mark(&mut self, region: u64, on: bool) {
        if let Some(disk) = &mut self.disk {
            disk.pages.set(region, !on);
        }
    }

    fn commit(&mut self, core: &Core) -> Result<(), Errno> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        while let Some((page, bytes)) = disk.pages.next_changed() {
            let at = Sector(page.saturating_mul(PAGE_SECTORS));
            if disk.scribe.write(bytes, |_| Some((&disk.lower, at))) != 0 {
                self.lose(core);
                return Err(Errno::EIO);
            }
            disk.pages.written(page);
        }
        Ok(())
    }

    fn changed(&mut self, _core: &Core) -> Result<(), Errno> {
        Ok(())
    }

    fn resumed(&mut self, core: &Core) {
        // Linux learns only here that a log says all is well, and tells.
        let told = self.disk.is_some() && self.word == Word::None && !self.state.is_lost();
        if told && core.regions(|regions| regions.unsynced()) == 0 {
            core.event.raise();
        }
    }

    fn passed(&mut self, core: &Core, _action: Action) {
        if core.regions(|regions| regions.unsynced()) == 0 {
            core.event.raise();
        }
    }

    fn sleep_ns(&self) -> u64 {
        SLEEP_NS
    }
}
