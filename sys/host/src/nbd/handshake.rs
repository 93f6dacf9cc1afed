//! Negotiation: which export a client wants, and what it is told of it.

use super::wire::{self, Abilities, Choice, OptionHead, Wishes};
use crate::front::{Registry, Shown};
use crate::mapped::Mapped;
use dm::driver::Driver;
use dm_protocol::Errno;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a client may negotiate.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many options a client may send.
const OPTIONS_MAX: usize = 256;
/// The size of requests that we like best, in bytes.
const PREFERRED: u32 = 4096;

/// An export that a client has chosen.
pub struct Export {
    /// The device, open as long as the client is there.
    pub mapped: Arc<Mapped>,
    /// What it can do.
    pub abilities: Abilities,
    /// Unit of offsets and lengths, in bytes.
    pub block: u32,
}

/// One negotiation.
pub struct Handshake<'a> {
    socket: &'a UnixStream,
    driver: &'a Arc<Driver>,
    registry: &'a Registry,
    until: Instant,
    /// No zeroes behind the answer to EXPORT_NAME.
    no_zeroes: bool,
}

/// How it goes on after an option.
enum Next {
    Option,
    Transmission(Export),
    End,
}

impl<'a> Handshake<'a> {
    /// Negotiates with a new client. `None` when it did not choose an export.
    ///
    /// # Errors
    /// The socket's.
    pub fn run(
        socket: &'a UnixStream,
        driver: &'a Arc<Driver>,
        registry: &'a Registry,
    ) -> io::Result<Option<Export>> {
        let until = Instant::now() + PATIENCE;
        let mut this = Self { socket, driver, registry, until, no_zeroes: false };
        socket.set_write_timeout(Some(PATIENCE))?;
        let chosen = this.negotiate();
        socket.set_write_timeout(None)?;
        socket.set_read_timeout(None)?;
        chosen
    }

    fn negotiate(&mut self) -> io::Result<Option<Export>> {
        let mut greeting = wire::GREETING.to_be_bytes().to_vec();
        greeting.extend(wire::OPTION.to_be_bytes());
        greeting.extend((wire::FIXED_NEWSTYLE | wire::NO_ZEROES).to_be_bytes());
        self.write(&greeting)?;
        let mut flags = [0; 4];
        self.read(&mut flags)?;
        let flags = u32::from_be_bytes(flags);
        if flags & !u32::from(wire::FIXED_NEWSTYLE | wire::NO_ZEROES) != 0 {
            return Ok(None);
        }
        self.no_zeroes = flags & u32::from(wire::NO_ZEROES) != 0;
        for _ in 0..OPTIONS_MAX {
            let mut head = [0; wire::OPTION_BYTES];
            self.read(&mut head)?;
            let Some(head) = wire::option_head(&head) else { return Ok(None) };
            match self.option(head)? {
                Next::Option => {}
                Next::Transmission(export) => return Ok(Some(export)),
                Next::End => return Ok(None),
            }
        }
        Ok(None)
    }

    fn option(&self, head: OptionHead) -> io::Result<Next> {
        if head.length > wire::OPTION_MAX {
            self.answer(head, wire::ERR_TOO_BIG, b"")?;
            return Ok(Next::End);
        }
        let mut data = vec![0; head.length as usize];
        self.read(&mut data)?;
        match head.choice {
            Choice::ExportName => self.export_name(&data),
            Choice::Abort => self.answer(head, wire::ACK, b"").map(|()| Next::End),
            Choice::List if data.is_empty() => self.list(head),
            Choice::List => self.refuse(head, wire::ERR_INVALID, "LIST has no data"),
            Choice::Info | Choice::Go => match wire::wanted_export(&data) {
                Some((name, wishes)) => self.tell(head, name, wishes),
                None => self.refuse(head, wire::ERR_INVALID, "the lengths do not fit"),
            },
            Choice::Other => self.refuse(head, wire::ERR_UNSUP, "unknown option"),
        }
    }

    fn list(&self, head: OptionHead) -> io::Result<Next> {
        for shown in self.registry.list() {
            let mut data = (shown.name.len() as u32).to_be_bytes().to_vec();
            data.extend(shown.name.as_bytes());
            self.answer(head, wire::SERVER, &data)?;
        }
        self.answer(head, wire::ACK, b"").map(|()| Next::Option)
    }

    /// The old way: there is no answer for what does not work.
    fn export_name(&self, name: &[u8]) -> io::Result<Next> {
        let opened = str::from_utf8(name).ok().and_then(|name| self.open(name).ok());
        let Some((export, _)) = opened else { return Ok(Next::End) };
        let mut answer = export.size().to_be_bytes().to_vec();
        answer.extend(export.abilities.flags().to_be_bytes());
        answer.resize(answer.len() + if self.no_zeroes { 0 } else { 124 }, 0);
        self.write(&answer).map(|()| Next::Transmission(export))
    }

    fn tell(&self, head: OptionHead, name: &str, wishes: Wishes) -> io::Result<Next> {
        let (export, shown) = match self.open(name) {
            Ok(opened) => opened,
            Err(Errno::ENOENT) => return self.refuse(head, wire::ERR_UNKNOWN, "no such device"),
            Err(errno) => return self.refuse(head, wire::ERR_POLICY, &errno.to_string()),
        };
        let mut data = wire::INFO_EXPORT.to_be_bytes().to_vec();
        data.extend(export.size().to_be_bytes());
        data.extend(export.abilities.flags().to_be_bytes());
        self.answer(head, wire::INFO, &data)?;
        if wishes.name {
            let mut data = wire::INFO_NAME.to_be_bytes().to_vec();
            data.extend(shown.name.as_bytes());
            self.answer(head, wire::INFO, &data)?;
        }
        if wishes.block_size {
            let mut data = wire::INFO_BLOCK_SIZE.to_be_bytes().to_vec();
            for size in [export.block, PREFERRED.max(export.block), wire::DATA_MAX] {
                data.extend(size.to_be_bytes());
            }
            self.answer(head, wire::INFO, &data)?;
        }
        self.answer(head, wire::ACK, b"")?;
        Ok(if head.choice == Choice::Go { Next::Transmission(export) } else { Next::Option })
    }

    /// Opens the device of a name; the empty name is that of the only device.
    fn open(&self, name: &str) -> Result<(Export, Arc<Shown>), Errno> {
        let shown = match name {
            "" => {
                let mut all = self.registry.list();
                all.pop().filter(|_| all.is_empty())
            }
            name => self.registry.by_name(name),
        };
        let shown = shown.ok_or(Errno::ENOENT)?;
        let opened = Mapped::open(self.driver, shown.minor, !shown.readonly);
        let mapped = match opened {
            Err(Errno::EROFS | Errno::EACCES) => Mapped::open(self.driver, shown.minor, false)?,
            opened => opened?,
        };
        let readonly = mapped.opened().readonly();
        let abilities = Abilities { readonly, trim: mapped.opened().discards() };
        let block = mapped.opened().sector_size();
        Ok((Export { mapped: Arc::new(mapped), abilities, block }, shown))
    }

    fn refuse(&self, head: OptionHead, answer: u32, why: &str) -> io::Result<Next> {
        self.answer(head, answer, why.as_bytes()).map(|()| Next::Option)
    }

    fn answer(&self, head: OptionHead, answer: u32, data: &[u8]) -> io::Result<()> {
        let mut bytes = wire::option_reply(head.number, answer, data.len() as u32).to_vec();
        bytes.extend(data);
        self.write(&bytes)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut socket = self.socket;
        socket.write_all(bytes)
    }

    /// Reads exactly so many bytes, before the time is over.
    fn read(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        let mut socket = self.socket;
        while !bytes.is_empty() {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            match socket.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => bytes = bytes.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Export {
    /// Its size at this moment, in bytes.
    pub fn size(&self) -> u64 {
        self.mapped.opened().size().bytes().unwrap_or(u64::MAX)
    }
}
