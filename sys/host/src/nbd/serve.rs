//! Transmission: requests from the socket to the device.

use super::handshake::Export;
use super::link::{Link, SMALL, Task};
use super::wire::{self, Command, REQUEST_BYTES, Request};
use crate::mapped::{Ask, Finish};
use dm::kern::disk::Op;
use dm_protocol::{Errno, SECTOR_SIZE, Sector, Sectors};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Bytes that are read from the socket at once.
const INPUT: usize = 256 << 10;
/// So many replies are gathered before they are sent.
const GATHERED: usize = 16;
/// Bytes of zeroes in one write, where they are to take up room.
const ZEROES: u64 = 1 << 20;

/// One client, from its choice of an export to its end.
struct Client {
    link: Arc<Link>,
    export: Export,
    input: Vec<u8>,
    /// What of `input` is read from the socket and not looked at yet.
    from: usize,
    to: usize,
    /// Long data come: nothing is read beyond a request, so that they go where they belong.
    exact: bool,
}

/// Serves a client until it leaves, breaks the rules, or the socket is shut.
///
/// # Errors
/// When there can be no further descriptor.
pub fn serve(socket: &Arc<UnixStream>, export: Export) -> io::Result<()> {
    let link = Link::new(socket)?;
    link.own();
    let input = vec![0; INPUT];
    let mut client = Client { link, export, input, from: 0, to: 0, exact: false };
    while let ControlFlow::Continue(()) = client.next() {}
    client.link.finish();
    // The device is closed behind the last request, and only then is the link given up.
    let Client { export, link, .. } = client;
    drop(export);
    drop(link);
    Ok(())
}

impl Client {
    /// Reads one request and starts it.
    fn next(&mut self) -> ControlFlow<()> {
        while self.to - self.from < REQUEST_BYTES {
            let missing = REQUEST_BYTES - (self.to - self.from);
            self.more(if self.exact { missing } else { INPUT })?;
        }
        let input = self.input.get(self.from..self.to).unwrap_or_default();
        let Some((head, _)) = input.split_first_chunk() else { return ControlFlow::Break(()) };
        let Some(request) = wire::request(head) else { return ControlFlow::Break(()) };
        self.from += REQUEST_BYTES;
        self.exact = request.data() > SMALL;
        if request.command == Command::Disconnect {
            return ControlFlow::Break(());
        }
        match self.check(&request) {
            Ok(()) => self.start(&request)?,
            Err(errno) => {
                self.skip(request.data())?;
                self.answer(&request, Err(errno))?;
            }
        }
        if self.link.waiting() >= GATHERED || request.length as usize > SMALL {
            self.link.send(true);
        }
        ControlFlow::Continue(())
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
    fn start(&mut self, request: &Request) -> ControlFlow<()> {
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
        let mut task = self.slot(request, bytes)?;
        if op == Op::Write
            && self.take(task.bytes_mut().get_mut(..length).unwrap_or_default()).is_break()
        {
            // The client left in the middle of its data: there is nobody to answer.
            self.link.give_up(task);
            return ControlFlow::Break(());
        }
        self.export.mapped.submit(task, ask);
        ControlFlow::Continue(())
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

    fn slot(&self, request: &Request, bytes: usize) -> ControlFlow<(), Task> {
        self.link.slot(request, bytes).map_or(ControlFlow::Break(()), ControlFlow::Continue)
    }

    /// Answers without asking the device.
    fn answer(&self, request: &Request, result: Result<(), Errno>) -> ControlFlow<()> {
        let task = self.slot(request, 0)?;
        Finish::finish(task, result);
        ControlFlow::Continue(())
    }

    /// Reads up to `bytes` more into the buffer.
    fn more(&mut self, bytes: usize) -> ControlFlow<()> {
        self.input.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let end = self.input.len().min(self.to + bytes);
        let room = self.input.get_mut(self.to..end).unwrap_or_default();
        match self.link.receive(room) {
            Ok(0) | Err(_) => ControlFlow::Break(()),
            Ok(bytes) => {
                self.to += bytes;
                ControlFlow::Continue(())
            }
        }
    }

    /// Takes the data of a write: what is in the buffer, and the rest from the socket.
    fn take(&mut self, data: &mut [u8]) -> ControlFlow<()> {
        // A short rest comes with what follows it, a long one goes where it belongs.
        while data.len() <= SMALL && self.to - self.from < data.len() {
            self.more(INPUT)?;
        }
        let there = data.len().min(self.to - self.from);
        let (first, rest) = data.split_at_mut(there);
        if let Some(input) = self.input.get(self.from..self.from + there) {
            first.copy_from_slice(input);
        }
        self.from += there;
        if self.link.fill(rest) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Passes over the data of a refused write.
    fn skip(&mut self, mut bytes: usize) -> ControlFlow<()> {
        loop {
            let there = bytes.min(self.to - self.from);
            self.from += there;
            bytes -= there;
            if bytes == 0 {
                return ControlFlow::Continue(());
            }
            self.more(INPUT)?;
        }
    }
}
