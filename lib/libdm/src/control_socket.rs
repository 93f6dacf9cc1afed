//! The channel to a host process: a stream socket.
//!
//! Each message is a 4-byte little-endian length and so many bytes of property list, XML or JSON.
//! The reply comes in the request's format. One connection carries any number of requests, one
//! after another; the server closes it on a malformed frame.

use crate::control::Control;
use crate::{Error, Result};
use dm_protocol::Dict;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

#[derive(Debug)]
pub struct Socket(Mutex<UnixStream>);

impl Socket {
    pub fn connect(control: &Path) -> io::Result<Self> {
        UnixStream::connect(control).map(Mutex::new).map(Self)
    }
}

impl Control for Socket {
    fn command(&self, request: &Dict) -> Result<Dict> {
        let text = Zeroizing::new(dm_plist::to_xml(request));
        // A thread that panicked between request and reply leaves a stream that is out of step,
        // but `exchange` itself does not panic.
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = exchange(&mut *stream, &text).map_err(Error::Channel)?;
        let (dict, _) = dm_plist::from_any(&reply).map_err(|e| Error::Reply(e.to_string()))?;
        Ok(dict)
    }
}

fn exchange(stream: &mut (impl Read + Write), text: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "a request beyond 4 GiB");
    let length = u32::try_from(text.len()).map_err(|_| too_long())?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(text)?;
    stream.flush()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(closed)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    let mut reply = Zeroizing::new(Vec::new());
    reply.try_reserve_exact(length)?;
    reply.resize(length, 0);
    stream.read_exact(&mut reply).map_err(closed)?;
    Ok(reply)
}

fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the driver hung up"),
        _ => error,
    }
}
