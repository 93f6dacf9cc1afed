//! What stands on an NBD socket, as pure functions between bytes and values.
//!
//! Fixed newstyle negotiation and simple replies, as in the protocol's `proto.md`. Nothing here
//! reads, writes or allocates by what a client says.

use dm_protocol::Errno;

/// Opens the greeting.
pub const GREETING: u64 = 0x4e42_444d_4147_4943;
/// Follows it, and opens each option of a client.
pub const OPTION: u64 = 0x4948_4156_454f_5054;
/// Opens each reply to an option.
pub const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
/// Opens each request.
pub const REQUEST: u32 = 0x2560_9513;
/// Opens each simple reply.
pub const REPLY: u32 = 0x6744_6698;

/// Server and client: newstyle as it was fixed.
pub const FIXED_NEWSTYLE: u16 = 1;
/// Server and client: no zeroes behind the answer to EXPORT_NAME.
pub const NO_ZEROES: u16 = 2;

/// Answer: done.
pub const ACK: u32 = 1;
/// Answer: one export's name.
pub const SERVER: u32 = 2;
/// Answer: something of an export.
pub const INFO: u32 = 3;
/// Answer: unknown option.
pub const ERR_UNSUP: u32 = 0x8000_0001;
/// Answer: the export cannot be opened.
pub const ERR_POLICY: u32 = 0x8000_0002;
/// Answer: the option makes no sense.
pub const ERR_INVALID: u32 = 0x8000_0003;
/// Answer: no such export.
pub const ERR_UNKNOWN: u32 = 0x8000_0006;
/// Answer: too long.
pub const ERR_TOO_BIG: u32 = 0x8000_0009;

/// Information: size and flags.
pub const INFO_EXPORT: u16 = 0;
/// Information: the name.
pub const INFO_NAME: u16 = 1;
/// Information: sizes of requests.
pub const INFO_BLOCK_SIZE: u16 = 3;

/// Bytes of a request without its data.
pub const REQUEST_BYTES: usize = 28;
/// Bytes of a simple reply without its data.
pub const REPLY_BYTES: usize = 16;
/// Bytes of an option without its data.
pub const OPTION_BYTES: usize = 16;
/// Longest data of one request, in bytes.
pub const DATA_MAX: u32 = 32 << 20;
/// Longest option that is looked at, in bytes; names have 4096 at most.
pub const OPTION_MAX: u32 = 8 << 10;

/// What a client wants in negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Begin with this export, the old way: no answer but success.
    ExportName,
    /// End.
    Abort,
    /// Which exports are there?
    List,
    /// Tell of an export.
    Info,
    /// Begin with an export.
    Go,
    /// Something else.
    Other,
}

/// An option without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionHead {
    /// Its number, to be repeated in answers.
    pub number: u32,
    /// What it means.
    pub choice: Choice,
    /// Bytes of data that follow.
    pub length: u32,
}

/// Reads the head of an option; `None` if it is none.
#[must_use]
pub fn option_head(bytes: &[u8; OPTION_BYTES]) -> Option<OptionHead> {
    let mut bytes = bytes.as_slice();
    let magic = take_u64(&mut bytes)?;
    let (number, length) = (take_u32(&mut bytes)?, take_u32(&mut bytes)?);
    let choice = match number {
        1 => Choice::ExportName,
        2 => Choice::Abort,
        3 => Choice::List,
        6 => Choice::Info,
        7 => Choice::Go,
        _ => Choice::Other,
    };
    (magic == OPTION).then_some(OptionHead { number, choice, length })
}

/// Reads the data of INFO and GO: the export's name, and whether its name and its sizes of
/// requests are asked for, too. `None` if it is none.
#[must_use]
pub fn wanted_export(mut data: &[u8]) -> Option<(&str, Wishes)> {
    let length = take_u32(&mut data)? as usize;
    let (name, mut rest) = data.split_at_checked(length)?;
    let count = take_u16(&mut rest)?;
    if rest.len() != usize::from(count) * 2 {
        return None;
    }
    let mut wishes = Wishes::default();
    while let Some(wish) = take_u16(&mut rest) {
        wishes.name |= wish == INFO_NAME;
        wishes.block_size |= wish == INFO_BLOCK_SIZE;
    }
    Some((str::from_utf8(name).ok()?, wishes))
}

/// What a client asks to be told beyond size and flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The export's name.
    pub name: bool,
    /// The sizes of requests.
    pub block_size: bool,
}

/// The head of an answer to option `number`, `length` bytes of data following.
#[must_use]
pub fn option_reply(number: u32, answer: u32, length: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    put(&mut bytes, 0, &OPTION_REPLY.to_be_bytes());
    put(&mut bytes, 8, &number.to_be_bytes());
    put(&mut bytes, 12, &answer.to_be_bytes());
    put(&mut bytes, 16, &length.to_be_bytes());
    bytes
}

/// What an export can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Writes are refused.
    pub readonly: bool,
    /// Trims reach a disk.
    pub trim: bool,
}

impl Abilities {
    /// As the protocol's transmission flags.
    #[must_use]
    pub const fn flags(self) -> u16 {
        const HAS_FLAGS: u16 = 1;
        const READ_ONLY: u16 = 1 << 1;
        const SEND_FLUSH: u16 = 1 << 2;
        const SEND_FUA: u16 = 1 << 3;
        const SEND_TRIM: u16 = 1 << 5;
        const SEND_WRITE_ZEROES: u16 = 1 << 6;
        const CAN_MULTI_CONN: u16 = 1 << 8;
        let mut flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | CAN_MULTI_CONN;
        if self.readonly {
            return flags | READ_ONLY;
        }
        if self.trim {
            flags |= SEND_TRIM;
        }
        flags | SEND_WRITE_ZEROES
    }
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Data to the client.
    Read,
    /// Data from the client.
    Write,
    /// The end; no reply.
    Disconnect,
    /// Make durable what was written.
    Flush,
    /// Forget a range.
    Trim,
    /// Zero a range.
    WriteZeroes,
    /// Something else.
    Other,
}

/// One request, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// Durable when answered.
    pub fua: bool,
    /// Zeroes are to take up room.
    pub no_hole: bool,
    /// The flags have no unknown bit, nor one that the command does not know.
    pub flags_known: bool,
    /// The client's own, repeated in the reply.
    pub cookie: [u8; 8],
    /// Where, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub length: u32,
}

impl Request {
    /// Bytes of data that follow in the stream.
    #[must_use]
    pub const fn data(&self) -> usize {
        match self.command {
            Command::Write => self.length as usize,
            _ => 0,
        }
    }
}

/// Reads a request; `None` if it is none, and then nothing that follows can be understood.
#[must_use]
pub fn request(bytes: &[u8; REQUEST_BYTES]) -> Option<Request> {
    const FUA: u16 = 1;
    const NO_HOLE: u16 = 2;
    let mut bytes = bytes.as_slice();
    let magic = take_u32(&mut bytes)?;
    let (flags, number) = (take_u16(&mut bytes)?, take_u16(&mut bytes)?);
    let cookie = take_u64(&mut bytes)?.to_be_bytes();
    let (offset, length) = (take_u64(&mut bytes)?, take_u32(&mut bytes)?);
    let (command, known) = match number {
        // FUA means nothing to reads and flushes, but clients may set it.
        0 => (Command::Read, FUA),
        1 => (Command::Write, FUA),
        2 => (Command::Disconnect, u16::MAX),
        3 => (Command::Flush, FUA),
        4 => (Command::Trim, FUA),
        6 => (Command::WriteZeroes, FUA | NO_HOLE),
        _ => (Command::Other, 0),
    };
    (magic == REQUEST).then_some(Request {
        command,
        fua: flags & FUA != 0,
        no_hole: flags & NO_HOLE != 0,
        flags_known: flags & !known == 0,
        cookie,
        offset,
        length,
    })
}

/// The head of a simple reply.
#[must_use]
pub fn reply(cookie: [u8; 8], result: Result<(), Errno>) -> [u8; REPLY_BYTES] {
    let mut bytes = [0; REPLY_BYTES];
    put(&mut bytes, 0, &REPLY.to_be_bytes());
    put(&mut bytes, 4, &result.map_or_else(error, |()| 0).to_be_bytes());
    put(&mut bytes, 8, &cookie);
    bytes
}

/// The protocol's number of an error.
#[must_use]
pub const fn error(errno: Errno) -> u32 {
    match errno {
        Errno::EPERM | Errno::EACCES | Errno::EROFS => 1,
        Errno::ENOMEM => 12,
        Errno::EINVAL => 22,
        Errno::ENOSPC => 28,
        Errno::EOVERFLOW => 75,
        Errno::EOPNOTSUPP => 95,
        Errno::ENXIO | Errno::ENODEV => 108,
        _ => 5,
    }
}

/// Writes `from` at `at`; what does not fit is cut off.
fn put(bytes: &mut [u8], at: usize, from: &[u8]) {
    for (to, byte) in bytes.iter_mut().skip(at).zip(from) {
        *to = *byte;
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(u16::from_be_bytes)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_be_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(magic: u32, flags: u16, number: u16) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        put(&mut bytes, 0, &magic.to_be_bytes());
        put(&mut bytes, 4, &flags.to_be_bytes());
        put(&mut bytes, 6, &number.to_be_bytes());
        put(&mut bytes, 8, &7_u64.to_be_bytes());
        put(&mut bytes, 16, &4096_u64.to_be_bytes());
        put(&mut bytes, 24, &512_u32.to_be_bytes());
        bytes
    }

    #[test]
    fn a_request_is_read_field_by_field() {
        let read = request(&raw(REQUEST, 3, 6)).unwrap();
        assert_eq!(read.command, Command::WriteZeroes);
        assert!(read.fua && read.no_hole && read.flags_known);
        assert_eq!((read.cookie, read.offset, read.length), (7_u64.to_be_bytes(), 4096, 512));
        assert_eq!(read.data(), 0);
        assert_eq!(request(&raw(REQUEST, 0, 1)).unwrap().data(), 512);
        assert!(!request(&raw(REQUEST, 2, 1)).unwrap().flags_known);
        assert_eq!(request(&raw(REQUEST, 0, 77)).unwrap().command, Command::Other);
        assert_eq!(request(&raw(REQUEST + 1, 0, 0)), None);
    }

    #[test]
    fn the_data_of_go_is_checked_against_its_own_lengths() {
        let data = b"\0\0\0\x03vol\0\x02\0\x03\0\0";
        let wishes = Wishes { name: false, block_size: true };
        assert_eq!(wanted_export(data), Some(("vol", wishes)));
        for length in 0..data.len() {
            assert_eq!(wanted_export(&data[..length]), None, "{length}");
        }
        assert_eq!(wanted_export(b"\xff\xff\xff\xffvol\0\0"), None);
        assert_eq!(wanted_export(b"\0\0\0\x01\xff\0\0"), None);
    }

    #[test]
    fn a_reply_carries_the_cookie_and_the_protocols_own_error_number() {
        let bytes = reply(*b"abcdefgh", Err(Errno::EROFS));
        assert_eq!(&bytes[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 1]);
        assert_eq!(&bytes[8..], b"abcdefgh");
        assert_eq!(reply([0; 8], Ok(()))[4..8], [0; 4]);
        assert_eq!(error(Errno::EBUSY), 5);
    }
}
