//! Reads a log of writes, and does again what it says.
#![forbid(unsafe_code)]

use dm_protocol::write_log::{ENTRY_SIZE, Entry, EntryFlags, Header};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What is copied at once.
const COPY: u64 = 1 << 20;

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// The log is none, or ends too early.
    Log(String),
    /// A file or device fails: what it is, and how.
    Io(&'static str, io::Error),
    /// There is no such mark, or entry.
    Missing(String),
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(why) | Self::Missing(why) => out.write_str(why),
            Self::Io(what, why) => write!(out, "{what}: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// An entry of a log, and where its data are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What it says.
    pub entry: Entry,
    /// The text of a mark.
    pub text: String,
    /// Where in the log its data begin, in bytes.
    pub data: u64,
}

/// A log that was read.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// Bytes in a sector.
    pub sector_size: u64,
    /// Its entries, as many as its header tells.
    pub entries: Vec<Noted>,
}

impl Log {
    /// Reads all entries.
    ///
    /// # Errors
    /// [`Error::Log`] and [`Error::Io`].
    pub fn read(file: File) -> Result<Self, Error> {
        let mut sector = vec![0; 512];
        read_at(&file, &mut sector, 0)?;
        let header = Header::decode(&sector).map_err(|why| Error::Log(why.message))?;
        let sector_size = u64::from(header.sector_size);
        sector.resize(header.sector_size as usize, 0);
        let (mut at, mut entries) = (sector_size, Vec::new());
        for nr in 0..header.entries {
            read_at(&file, &mut sector, at)?;
            let entry = Entry::decode(&sector);
            let wrong = || Error::Log(format!("entry {nr} cannot be one: {entry:?}"));
            let data = at.checked_add(sector_size).ok_or_else(wrong)?;
            let bytes = entry.data_sectors().checked_mul(sector_size).ok_or_else(wrong)?;
            at = data.checked_add(bytes).ok_or_else(wrong)?;
            let text = usize::try_from(entry.text_length)
                .ok()
                .and_then(|length| sector.get(ENTRY_SIZE..)?.get(..length));
            let text = String::from_utf8_lossy(text.ok_or_else(wrong)?).into_owned();
            entries.push(Noted { entry, text, data });
        }
        Ok(Self { file, sector_size, entries })
    }

    /// The number of the entry behind a mark.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn behind_mark(&self, text: &str) -> Result<usize, Error> {
        let is = |noted: &Noted| noted.entry.flags.contains(EntryFlags::MARK) && noted.text == text;
        let found = self.entries.iter().position(is).map(|nr| nr + 1);
        found.ok_or_else(|| Error::Missing(format!("there is no mark \"{text}\"")))
    }

    /// The number of the entry behind the first one from `start` on that has one of these flags,
    /// or of the end.
    #[must_use]
    pub fn behind_next(&self, start: usize, flags: EntryFlags) -> usize {
        let rest = self.entries.iter().skip(start);
        let found = rest.into_iter().position(|noted| noted.entry.flags.intersects(flags));
        found.map_or(self.entries.len(), |nr| start + nr + 1)
    }

    /// Does again what some entries say. Discarded sectors become zeroes, if `discards`.
    ///
    /// # Errors
    /// [`Error::Io`]; what was done until then stays.
    pub fn replay(
        &self,
        entries: Range<usize>,
        device: &File,
        discards: bool,
    ) -> Result<(), Error> {
        for noted in self.entries.get(entries).unwrap_or_default() {
            let too_far = || Error::Log(format!("an entry goes beyond 2^64: {:?}", noted.entry));
            let scaled = |sectors: u64| sectors.checked_mul(self.sector_size).ok_or_else(too_far);
            let (at, bytes) = (scaled(noted.entry.sector)?, scaled(noted.entry.sectors)?);
            if noted.entry.flags.contains(EntryFlags::DISCARD) {
                if discards {
                    copy(bytes, |_, _| Ok(()), |piece, done| write_at(device, piece, at + done))?;
                }
                continue;
            }
            let from = |piece: &mut [u8], done| read_at(&self.file, piece, noted.data + done);
            copy(bytes, from, |piece, done| write_at(device, piece, at + done))?;
        }
        device.sync_all().map_err(|why| Error::Io("the device", why))
    }
}

/// Moves so many bytes in pieces, which are zeroes unless `from` fills them.
fn copy(
    bytes: u64,
    from: impl Fn(&mut [u8], u64) -> Result<(), Error>,
    to: impl Fn(&[u8], u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut memory = vec![0; bytes.min(COPY) as usize];
    let mut done = 0;
    while done < bytes {
        let piece = memory.get_mut(..(bytes - done).min(COPY) as usize).unwrap_or_default();
        from(piece, done)?;
        to(piece, done)?;
        done += piece.len() as u64;
    }
    Ok(())
}

fn read_at(log: &File, bytes: &mut [u8], at: u64) -> Result<(), Error> {
    log.read_exact_at(bytes, at).map_err(|why| Error::Io("the log", why))
}

fn write_at(device: &File, bytes: &[u8], at: u64) -> Result<(), Error> {
    device.write_all_at(bytes, at).map_err(|why| Error::Io("the device", why))
}

/// One line: what was done, and where.
impl fmt::Display for Noted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { sector, sectors, flags, .. } = self.entry;
        let names = [
            (EntryFlags::DISCARD, "discard"),
            (EntryFlags::FLUSH, "flush"),
            (EntryFlags::MARK, "mark"),
        ];
        let name = names.iter().find(|(flag, _)| flags.contains(*flag));
        out.write_str(name.map_or("write", |(_, name)| name))?;
        if flags.contains(EntryFlags::MARK) {
            write!(out, " {}", self.text)?;
        }
        if sectors > 0 {
            write!(out, " {sector}+{sectors}")?;
        }
        for (flag, name) in [(EntryFlags::FUA, " durable"), (EntryFlags::METADATA, " metadata")] {
            if flags.contains(flag) {
                out.write_str(name)?;
            }
        }
        Ok(())
    }
}
