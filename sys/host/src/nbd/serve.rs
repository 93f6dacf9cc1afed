//! Transmission: requests from the socket to the device.

use super::handshake::Export;
use super::input::Input;
use super::link::{Link, SMALL};
use super::second::Second;
use super::wire::{self, Command, Request};
use crate::mapped::{Ask, Finish};
use dm::kern::disk::Op;
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// So many replies are gathered before they are sent.
const GATHERED: usize = 16;
/// Bytes of zeroes in one write, where they are to take up room.
const ZEROES: u64 = 1 << 20;

/// One client, from its choice of an export to its end.
struct Client {
    input: Input,
    link: Arc<Link>,
    second: Second,
    export: Export,
}

/// Serves a client until it leaves, breaks the rules, or the socket is shut.
///
/// # Errors
/// When there can be no further descriptor.
pub fn serve(socket: &Arc<UnixStream>, export: Export) -> io::Result<()> {
    let link = Link::new(socket)?;
    link.own();
    let (input, second) = (Input::new(Arc::clone(&link)), Second::new(&export.mapped));
    let mut client = Client { input, link, second, export };
    while client.next().is_some() {}
    client.link.finish();
    // The device is closed behind the last request, and only then is the link given up.
    let Client { input, link, second, export } = client;
    drop(second);
    drop(export);
    drop((input, link));
    Ok(())
}

impl Client {
    /// Reads one request and starts it; `None` at the end.
    fn next(&mut self) -> Option<()> {
        let request = self.input.request()?;
        if request.command == Command::Disconnect {
            return None;
        }
        match self.check(&request) {
            Ok(()) => self.start(&request)?,
            Err(errno) => {
                self.input.skip(request.data())?;
                self.answer(&request, Err(errno))?;
            }
        }
        if self.link.waiting() >= GATHERED || request.length as usize > SMALL {
            self.link.send(true);
        }
        Some(())
    }

    /// May it be done? What is wrong is answered, and the stream goes on behind its data.
    fn check(&self, request: &Request) -> Result<(), Errno> {
        let Request { command, offset, length, .. } = *request;
        if !request.flags_known || command == Command::Other {
            return Err(Errno::EINVAL);
        }
        if command == Command::Flush {
            return if offset == 0 && length == 0 { Ok(()) } else { Err(Errno::EINVAL) };
        }
        if command != Command::Read && self.export.abilities.readonly {
            return Err(Errno::EPERM);
        }
        if command == Command::Trim && !self.export.abilities.trim {
            return Err(Errno::EINVAL);
        }
        let block = u64::from(self.export.block);
        if !offset.is_multiple_of(block) || !u64::from(length).is_multiple_of(block) {
            return Err(Errno::EINVAL);
        }
        if matches!(command, Command::Read | Command::Write) && length > wire::DATA_MAX {
            return Err(Errno::EOVERFLOW);
        }
        match offset.checked_add(u64::from(length)) {
            Some(end) if end <= self.export.size() => Ok(()),
            _ if matches!(command, Command::Write | Command::WriteZeroes) => Err(Errno::ENOSPC),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Starts what was checked.
    fn start(&mut self, request: &Request) -> Option<()> {
        let length = request.length as usize;
        let (op, bytes) = match request.command {
            _ if length == 0 && request.command != Command::Flush => {
                return self.answer(request, Ok(()));
            }
            Command::Read => (Op::Read, length),
            Command::Write => (Op::Write, length),
            Command::Flush => (Op::Flush, 0),
            Command::Trim => (Op::Discard, 0),
            _ => (Op::WriteZeroes, 0),
        };
        let ask = Ask {
            op,
            fua: request.fua,
            sector: Sector(request.offset / SECTOR_SIZE),
            count: Sectors(u64::from(request.length) / SECTOR_SIZE),
        };
        if request.fua && op == Op::Discard || request.no_hole {
            let result = self.at_once(ask, request.no_hole);
            return self.answer(request, result);
        }
        let mut task = self.link.slot(request, bytes)?;
        if op == Op::Write {
            let data = task.bytes_mut().get_mut(..length).unwrap_or_default();
            if self.input.take(data).is_none() {
                // The client left in the middle of its data: there is nobody to answer.
                self.link.give_up(task);
                return None;
            }
        }
        // Others wait behind a long one.
        if bytes > SMALL && self.input.there() != 0 {
            self.second.submit(task, ask);
        } else {
            self.export.mapped.submit(task, ask);
        }
        Some(())
    }

    /// What takes more than one request is rare, and waited for.
    fn at_once(&self, ask: Ask, no_hole: bool) -> Result<(), Errno> {
        let mapped = &self.export.mapped;
        if !no_hole {
            mapped.act(Ask { fua: false, ..ask })?;
            return mapped.flush();
        }
        let bytes = ask.count.bytes().ok_or(Errno::EINVAL)?;
        let zeroes = vec![0; bytes.min(ZEROES) as usize];
        let mut done = 0;
        while done < bytes {
            let piece = (bytes - done).min(ZEROES);
            let sector = Sector(ask.sector.0 + done / SECTOR_SIZE);
            let data = zeroes.get(..piece as usize).unwrap_or_default();
            mapped.write(sector, data, ask.fua)?;
            done += piece;
        }
        Ok(())
    }

    /// Answers without asking the device.
    fn answer(&self, request: &Request, result: Result<(), Errno>) -> Option<()> {
        let task = self.link.slot(request, 0)?;
        Finish::finish(task, result);
        Some(())
    }
}
