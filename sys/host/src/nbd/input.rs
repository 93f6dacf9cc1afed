//! What a client sends: requests, and the data of writes.

use super::eager::Eager;
use super::link::{Link, SMALL};
use super::wire::{self, REQUEST_BYTES, Request};
use std::io::IoSliceMut;
use std::sync::Arc;

/// Bytes that are read from the socket at once.
const INPUT: usize = 256 << 10;

/// A client's input.
pub struct Input {
    link: Arc<Link>,
    eager: Eager,
    bytes: Vec<u8>,
    /// What of `bytes` is read from the socket and not looked at yet.
    from: usize,
    to: usize,
    /// Long data come: nothing is read beyond a request, so that they go where they belong.
    exact: bool,
}

impl Input {
    /// The input of a connection.
    pub fn new(link: Arc<Link>) -> Self {
        let bytes = vec![0; INPUT];
        Self { link, eager: Eager::new(), bytes, from: 0, to: 0, exact: false }
    }

    /// The next request; `None` when the client left or breaks the rules.
    pub fn request(&mut self) -> Option<Request> {
        while self.there() < REQUEST_BYTES {
            let missing = REQUEST_BYTES - self.there();
            self.more(if self.exact { missing } else { INPUT })?;
        }
        let (head, _) = self.bytes.get(self.from..self.to)?.split_first_chunk()?;
        let request = wire::request(head)?;
        self.from += REQUEST_BYTES;
        self.exact = request.data() > SMALL;
        Some(request)
    }

    /// Takes the data of a write: what was read already, and the rest from the socket. `None`
    /// when the client left in the middle.
    pub fn take(&mut self, data: &mut [u8]) -> Option<()> {
        // A short rest comes with what follows it, a long one goes where it belongs.
        while data.len() <= SMALL && self.there() < data.len() {
            self.more(INPUT)?;
        }
        let there = data.len().min(self.there());
        let (first, mut rest) = data.split_at_mut(there);
        first.copy_from_slice(self.bytes.get(self.from..self.from + there)?);
        self.from += there;
        while !rest.is_empty() {
            // The next request comes along if it is there.
            (self.from, self.to) = (0, 0);
            let length = rest.len();
            let head = self.bytes.get_mut(..REQUEST_BYTES)?;
            let pieces = &mut [IoSliceMut::new(rest), IoSliceMut::new(head)];
            let read = self.link.receive(pieces, true, &mut self.eager)?;
            self.to = read.saturating_sub(length);
            rest = rest.get_mut(read.min(length)..).unwrap_or_default();
        }
        Some(())
    }

    /// Passes over the data of a refused write.
    pub fn skip(&mut self, mut bytes: usize) -> Option<()> {
        loop {
            let there = bytes.min(self.there());
            self.from += there;
            bytes -= there;
            if bytes == 0 {
                return Some(());
            }
            self.more(INPUT)?;
        }
    }

    /// How much is there already.
    pub const fn there(&self) -> usize {
        self.to - self.from
    }

    /// Reads up to `bytes` more into the buffer.
    fn more(&mut self, bytes: usize) -> Option<()> {
        self.bytes.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let end = self.bytes.len().min(self.to + bytes);
        let room = self.bytes.get_mut(self.to..end).unwrap_or_default();
        let within = self.to != 0;
        self.to += self.link.receive(&mut [IoSliceMut::new(room)], within, &mut self.eager)?;
        Some(())
    }
}
