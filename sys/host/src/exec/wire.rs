//! Linux's control requests as bytes: `struct dm_ioctl` and the records behind it, as
//! linux/dm-ioctl.h lays them out for 64-bit programs.
//!
//! Nothing here is trusted: every offset and text of a client is checked against what it sent.

use dm_protocol::DevNo;
use rustix::io::Errno;

/// The version of the interface that is announced and answered.
pub const VERSION: [u32; 3] = [4, 48, 0];

/// Bytes of `struct dm_ioctl` before its `data`: what every request has at least.
pub const HEADER: usize = 305;
/// Where the records of a reply begin.
pub const DATA: usize = 312;
/// Room for a name, with its NUL.
pub const NAME_LEN: usize = 128;
/// Room for a uuid, with its NUL.
pub const UUID_LEN: usize = 129;
/// Room for the name of a target type, with its NUL.
pub const TYPE_LEN: usize = 16;
/// Bytes of `struct dm_target_spec`.
pub const SPEC: usize = 40;

/// The flags that replies add. Bits not named here are sent back as they came.
pub mod flag {
    /// Read-only.
    pub const READONLY: u32 = 1 << 0;
    /// Suspend; is suspended.
    pub const SUSPEND: u32 = 1 << 1;
    /// Create with the minor in `dev`.
    pub const PERSISTENT_DEV: u32 = 1 << 3;
    /// Parameters instead of states.
    pub const STATUS_TABLE: u32 = 1 << 4;
    /// There is a live table.
    pub const ACTIVE_PRESENT: u32 = 1 << 5;
    /// There is an inactive table.
    pub const INACTIVE_PRESENT: u32 = 1 << 6;
    /// The reply did not fit.
    pub const BUFFER_FULL: u32 = 1 << 8;
    /// The client does not ask for the open count.
    pub const SKIP_BDGET: u32 = 1 << 9;
    /// Suspend without freezing the file system.
    pub const SKIP_LOCKFS: u32 = 1 << 10;
    /// Suspend without flushing.
    pub const NOFLUSH: u32 = 1 << 11;
    /// Ask about the inactive table.
    pub const QUERY_INACTIVE: u32 = 1 << 12;
    /// The system was told of the change.
    pub const UEVENT_GENERATED: u32 = 1 << 13;
    /// Rename: a uuid is set. List: uuids are wanted.
    pub const UUID: u32 = 1 << 14;
    /// Wipe the buffers.
    pub const SECURE_DATA: u32 = 1 << 15;
    /// A message was answered.
    pub const DATA_OUT: u32 = 1 << 16;
    /// Remove at the last close.
    pub const DEFERRED_REMOVE: u32 = 1 << 17;
    /// Suspended from within.
    pub const INTERNAL_SUSPEND: u32 = 1 << 18;
    /// Measurements instead of states.
    pub const IMA_MEASUREMENT: u32 = 1 << 19;
    /// An entry of the device list holds a uuid.
    pub const LIST_HAS_UUID: u32 = 1;
    /// It could, but the device has none.
    pub const LIST_NO_UUID: u32 = 2;
}

macro_rules! commands {
    ($($number:literal $name:ident)*) => {
        /// What a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "as linux/dm-ioctl.h names them")]
        pub enum Command {
            $($name,)*
        }

        impl Command {
            /// The command of this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    0 Version
    1 RemoveAll
    2 ListDevices
    3 DevCreate
    4 DevRemove
    5 DevRename
    6 DevSuspend
    7 DevStatus
    8 DevWait
    9 TableLoad
    10 TableClear
    11 TableDeps
    12 TableStatus
    13 ListVersions
    14 TargetMessage
    15 DevSetGeometry
    16 DevArmPoll
    17 GetTargetVersion
}

/// What `struct dm_ioctl` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The version that the client was made for.
    pub version: [u32; 3],
    /// Bytes of the whole buffer; in a reply, of what is written there.
    pub data_size: u32,
    /// Where the records begin.
    pub data_start: u32,
    /// How many targets.
    pub target_count: u32,
    /// How often the device is open.
    pub open_count: u32,
    /// See [`flag`].
    pub flags: u32,
    /// The event number; of a request also a cookie, which means nothing here.
    pub event_nr: u32,
    /// The device's number, packed.
    pub dev: u64,
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
}

/// A 32-bit number at an offset, which is within the bytes by the caller's check.
fn word(bytes: &[u8], at: usize) -> Result<u32, Errno> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Errno::INVAL)?;
    Ok(u32::from_ne_bytes(*four))
}

fn long(bytes: &[u8], at: usize) -> Result<u64, Errno> {
    let eight = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(Errno::INVAL)?;
    Ok(u64::from_ne_bytes(*eight))
}

/// The text of a field of fixed size: up to its NUL, or all but its last byte.
fn field(bytes: &[u8], at: usize, size: usize) -> Result<String, Errno> {
    let field = bytes.get(at..at + size - 1).ok_or(Errno::INVAL)?;
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    utf8(&field[..end])
}

fn utf8(bytes: &[u8]) -> Result<String, Errno> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Errno::INVAL)
}

impl Header {
    /// Reads the first [`HEADER`] bytes of a request.
    ///
    /// # Errors
    /// EINVAL when they are fewer, or a name is not UTF-8.
    pub fn decode(bytes: &[u8]) -> Result<Self, Errno> {
        Ok(Self {
            version: [word(bytes, 0)?, word(bytes, 4)?, word(bytes, 8)?],
            data_size: word(bytes, 12)?,
            data_start: word(bytes, 16)?,
            target_count: word(bytes, 20)?,
            open_count: word(bytes, 24)?,
            flags: word(bytes, 28)?,
            event_nr: word(bytes, 32)?,
            dev: long(bytes, 40)?,
            name: field(bytes, 48, NAME_LEN)?,
            uuid: field(bytes, 176, UUID_LEN)?,
        })
    }

    /// The bytes of a reply: these fields and, if there are any, records from [`DATA`] on.
    #[must_use]
    pub fn encode(&self, records: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DATA + records.len());
        let words = [self.data_size, self.data_start, self.target_count, self.open_count];
        for number in self.version.into_iter().chain(words) {
            bytes.extend(number.to_ne_bytes());
        }
        for number in [self.flags, self.event_nr, 0] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(self.dev.to_ne_bytes());
        put_field(&mut bytes, &self.name, NAME_LEN);
        put_field(&mut bytes, &self.uuid, UUID_LEN);
        if !records.is_empty() {
            bytes.resize(DATA, 0);
            bytes.extend(records);
        }
        bytes
    }

    /// The device's number, if one is given.
    #[must_use]
    pub fn devno(&self) -> Option<DevNo> {
        (self.dev != 0).then(|| unpack(self.dev))
    }
}

/// A text, cut to leave room for its NUL, and zeroes up to `size`.
fn put_field(bytes: &mut Vec<u8>, text: &str, size: usize) {
    let end = bytes.len() + size;
    bytes.extend(text.bytes().take(size - 1));
    bytes.resize(end, 0);
}

/// As Linux packs a device number for this interface.
#[must_use]
pub fn pack(devno: DevNo) -> u64 {
    let (major, minor) = (u64::from(devno.major), u64::from(devno.minor));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The number that [`pack`] packed.
#[must_use]
pub fn unpack(packed: u64) -> DevNo {
    let minor = (packed & 0xff) | ((packed >> 12) & 0xf_ff00);
    let number = |part: u64| u32::try_from(part).unwrap_or(0);
    DevNo { major: number((packed & 0xf_ff00) >> 8), minor: number(minor) }
}

/// A text of the client behind the header, up to its NUL.
///
/// # Errors
/// EINVAL when it begins before [`HEADER`] or does not end in the buffer.
pub fn text(buffer: &[u8], at: usize) -> Result<&str, Errno> {
    let bytes = buffer.get(at..).filter(|_| at >= HEADER).ok_or(Errno::INVAL)?;
    let end = bytes.iter().position(|&byte| byte == 0).ok_or(Errno::INVAL)?;
    std::str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| Errno::INVAL)
}

/// A segment as a client writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec<'a> {
    /// The first sector.
    pub start: u64,
    /// How many.
    pub length: u64,
    /// The target type.
    pub target: String,
    /// Its parameters.
    pub params: &'a str,
}

/// The segments of a request to load a table.
///
/// # Errors
/// EINVAL for none, and for what does not lie in the buffer.
pub fn specs<'a>(buffer: &'a [u8], header: &Header) -> Result<Vec<Spec<'a>>, Errno> {
    if header.target_count == 0 {
        return Err(Errno::INVAL);
    }
    let mut at = header.data_start as usize;
    let mut specs = Vec::new();
    let mut lowest = HEADER;
    for _ in 0..header.target_count {
        // Each lies behind the one before, so that the count is no promise of memory.
        if at < lowest {
            return Err(Errno::INVAL);
        }
        specs.push(Spec {
            start: long(buffer, at)?,
            length: long(buffer, at + 8)?,
            target: field(buffer, at + 24, TYPE_LEN)?,
            params: text(buffer, at + SPEC)?,
        });
        lowest = at + SPEC;
        let next = word(buffer, at + 20)? as usize;
        at = at.checked_add(next).ok_or(Errno::INVAL)?;
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: [4, 0, 0],
            data_size: 400,
            data_start: 312,
            target_count: 1,
            flags: flag::READONLY,
            dev: pack(DevNo { major: 7, minor: 0x1_2345 }),
            name: "a".into(),
            uuid: "u".into(),
            ..Header::default()
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bytes = header().encode(&[]);
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(Header::decode(&bytes), Ok(header()));
        assert_eq!(header().devno(), Some(DevNo { major: 7, minor: 0x1_2345 }));
        assert_eq!(Header::decode(&bytes[..HEADER - 2]), Err(Errno::INVAL));
    }

    #[test]
    fn device_numbers_are_packed_as_linux_does() {
        assert_eq!(pack(DevNo { major: 253, minor: 1 }), 0xfd01);
        assert_eq!(pack(DevNo { major: 7, minor: 65_537 }), 0x1000_0701);
        for minor in [0, 1, 255, 256, 65_537, 0xf_ffff] {
            let devno = DevNo { major: 7, minor };
            assert_eq!(unpack(pack(devno)), devno);
        }
    }

    #[test]
    fn names_without_end_are_cut_and_other_texts_refused() {
        let mut bytes = header().encode(&[]);
        bytes[48..176].fill(b'n');
        assert_eq!(Header::decode(&bytes).unwrap().name.len(), NAME_LEN - 1);
        bytes[48] = 0xff;
        assert_eq!(Header::decode(&bytes), Err(Errno::INVAL));
        assert_eq!(text(b"no end", 0), Err(Errno::INVAL));
        let long = [vec![0; HEADER], b"words\0more".to_vec()].concat();
        assert_eq!(text(&long, HEADER), Ok("words"));
        assert_eq!(text(&long, HEADER - 1), Err(Errno::INVAL));
        assert_eq!(text(&long, HEADER + 6), Err(Errno::INVAL));
        assert_eq!(text(&long, usize::MAX), Err(Errno::INVAL));
    }

    fn load(next: u32, count: u32) -> Result<usize, Errno> {
        let mut record = vec![0; SPEC];
        record[20..24].copy_from_slice(&next.to_ne_bytes());
        record[24..28].copy_from_slice(b"zero");
        record.extend([0; 8]);
        let records = [record.clone(), record].concat();
        let header = Header { target_count: count, ..header() };
        specs(&header.encode(&records), &header).map(|specs| specs.len())
    }

    #[test]
    fn segments_lie_behind_one_another_within_the_buffer() {
        assert_eq!(load(48, 2), Ok(2));
        assert_eq!(load(0, 1), Ok(1));
        for (next, count) in [(48, 0), (48, 3), (0, 2), (47, 9), (u32::MAX, 2), (48, u32::MAX)] {
            assert_eq!(load(next, count), Err(Errno::INVAL), "{next} {count}");
        }
        let header = Header { data_start: u32::MAX, ..header() };
        assert_eq!(specs(&header.encode(&[0; 64]), &header), Err(Errno::INVAL));
    }
}
