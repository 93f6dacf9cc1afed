//! A small NBD client, which can also be rude.
#![allow(dead_code, reason = "no test uses all of it")]

use dm_host::nbd::wire;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const DISCONNECT: u16 = 2;
pub const FLUSH: u16 = 3;
pub const TRIM: u16 = 4;
pub const WRITE_ZEROES: u16 = 6;
pub const FUA: u16 = 1;
pub const NO_HOLE: u16 = 2;

pub const EPERM: u32 = 1;
pub const EINVAL: u32 = 22;
pub const ENOSPC: u32 = 28;

/// A connection, negotiated or not.
pub struct Client {
    pub socket: UnixStream,
    pub size: u64,
    pub flags: u16,
    pub blocks: [u32; 3],
}

/// An answer to an option.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub kind: u32,
    pub data: Vec<u8>,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(path: &Path) -> Self {
        let socket = UnixStream::connect(path).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let mut client = Self { socket, size: 0, flags: 0, blocks: [0; 3] };
        assert_eq!(client.read(18)[..8], *b"NBDMAGIC");
        client
    }

    /// Says that we speak newstyle; then options may follow.
    pub fn hello(path: &Path, flags: u32) -> Self {
        let mut client = Self::connect(path);
        client.write(&flags.to_be_bytes());
        client
    }

    /// Connects to an export.
    pub fn go(path: &Path, name: &str) -> Self {
        let mut client = Self::hello(path, 3);
        client.option(7, &wanted(name));
        loop {
            let answer = client.answer(7);
            match answer.kind {
                wire::ACK => return client,
                wire::INFO => client.learn(&answer.data),
                other => panic!("{name}: {other:#x} {}", String::from_utf8_lossy(&answer.data)),
            }
        }
    }

    fn learn(&mut self, data: &[u8]) {
        let u32_at = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().expect("four"));
        match u16::from_be_bytes([data[0], data[1]]) {
            wire::INFO_EXPORT => {
                self.size = u64::from(u32_at(2)) << 32 | u64::from(u32_at(6));
                self.flags = u16::from_be_bytes([data[10], data[11]]);
            }
            wire::INFO_BLOCK_SIZE => self.blocks = [u32_at(2), u32_at(6), u32_at(10)],
            _ => {}
        }
    }

    pub fn option(&mut self, number: u32, data: &[u8]) {
        let mut bytes = wire::OPTION.to_be_bytes().to_vec();
        bytes.extend(number.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        self.write(&bytes);
    }

    pub fn answer(&mut self, number: u32) -> Answer {
        let head = self.read(20);
        assert_eq!(head[..8], wire::OPTION_REPLY.to_be_bytes());
        assert_eq!(head[8..12], number.to_be_bytes());
        let u32_at = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four"));
        let data = self.read(u32_at(16) as usize);
        Answer { kind: u32_at(12), data }
    }

    /// Sends a request without waiting for its reply.
    pub fn send(&mut self, command: (u16, u16), cookie: u64, range: (u64, u32), data: &[u8]) {
        let mut bytes = wire::REQUEST.to_be_bytes().to_vec();
        bytes.extend(command.1.to_be_bytes());
        bytes.extend(command.0.to_be_bytes());
        bytes.extend(cookie.to_be_bytes());
        bytes.extend(range.0.to_be_bytes());
        bytes.extend(range.1.to_be_bytes());
        bytes.extend(data);
        self.write(&bytes);
    }

    /// Reads a reply: its cookie, its error, and its data if it has so many bytes and no error.
    pub fn reply(&mut self, bytes: usize) -> (u64, u32, Vec<u8>) {
        let head = self.read(16);
        assert_eq!(head[..4], wire::REPLY.to_be_bytes());
        let error = u32::from_be_bytes(head[4..8].try_into().expect("four"));
        let cookie = u64::from_be_bytes(head[8..16].try_into().expect("eight"));
        let data = if error == 0 { self.read(bytes) } else { Vec::new() };
        (cookie, error, data)
    }

    /// One request and its reply: the data read, or the error.
    pub fn ask(&mut self, command: u16, offset: u64, length: u32) -> Result<Vec<u8>, u32> {
        self.ask_with((command, 0), (offset, length), &[])
    }

    pub fn put(&mut self, offset: u64, data: &[u8]) -> Result<(), u32> {
        self.ask_with((WRITE, FUA), (offset, data.len() as u32), data).map(|_| ())
    }

    pub fn ask_with(
        &mut self,
        command: (u16, u16),
        range: (u64, u32),
        data: &[u8],
    ) -> Result<Vec<u8>, u32> {
        let cookie = 0x1234_5678_9abc_def0 ^ range.0;
        self.send(command, cookie, range, data);
        let wanted = if command.0 == READ { range.1 as usize } else { 0 };
        let (replied, error, data) = self.reply(wanted);
        assert_eq!(replied, cookie);
        if error == 0 { Ok(data) } else { Err(error) }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("it reads");
    }

    pub fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        self.socket.read_exact(&mut buffer).expect("it answers");
        buffer
    }

    /// Does the server close the connection, whatever it says before?
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// The data of GO and INFO, with a wish for the block sizes.
pub fn wanted(name: &str) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend(name.as_bytes());
    data.extend([0, 1, 0, 3]);
    data
}
