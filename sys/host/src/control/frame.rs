//! Messages on a stream: a length and so many bytes, each with an end to the waiting.

use dm_protocol::Zeroizing;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A message of this length may take a second longer: slow clients are no stalled ones.
const BYTES_PER_SECOND: usize = 1 << 20;

/// The bytes of a length.
const LENGTH: usize = 4;

/// How long to wait for a message.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For its first byte; without end if not given.
    pub idle: Option<Duration>,
    /// For the rest, beyond what its length excuses.
    pub stall: Duration,
}

/// Reads a message of at most `max` bytes; `None` when the client is done.
///
/// The bytes are wiped when they are dropped, for they may hold a key.
pub fn read(
    mut stream: &UnixStream,
    max: usize,
    patience: Patience,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut length = [0; LENGTH];
    stream.set_read_timeout(patience.idle)?;
    let first = loop {
        match stream.read(&mut length) {
            Ok(0) => return Ok(None),
            Ok(bytes) => break bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    let end = Instant::now() + patience.stall;
    fill(stream, length.get_mut(first..).unwrap_or_default(), end)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > max {
        let why = format!("a request of {length} bytes, at most {max} are taken");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let mut text = Zeroizing::new(Vec::new());
    text.try_reserve_exact(length)?;
    text.resize(length, 0);
    fill(stream, &mut text, deadline(length, patience.stall))?;
    Ok(Some(text))
}

/// Writes a message.
pub fn write(mut stream: &UnixStream, text: &[u8], stall: Duration) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| ErrorKind::FileTooLarge)?;
    let end = deadline(text.len(), stall);
    for mut part in [&length.to_le_bytes()[..], text] {
        while !part.is_empty() {
            stream.set_write_timeout(Some(left(end)?))?;
            match stream.write(part) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => part = part.get(bytes..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn deadline(length: usize, stall: Duration) -> Instant {
    let excuse = Duration::from_secs((length / BYTES_PER_SECOND) as u64);
    Instant::now() + stall + excuse
}

/// What is left until then; an error when nothing is.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn fill(mut stream: &UnixStream, mut data: &mut [u8], end: Instant) -> io::Result<()> {
    while !data.is_empty() {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(data) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => data = data.get_mut(bytes..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
