//! One client: its requests, one after the other.

use super::Shared;
use super::frame::{self, Patience};
use super::peers::Ticket;
use crate::kern::cancel;
use dm::command::Caller;
use dm_plist::Format;
use dm_protocol::{Dict, Errno, Failure, Reply, VERSION, Zeroizing};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A client's connection.
pub struct Connection {
    pub stream: Arc<UnixStream>,
    pub shared: Arc<Shared>,
    pub ticket: Ticket,
    /// Tells clients apart.
    pub client: u64,
}

impl Connection {
    /// Answers until the client goes, misbehaves or everything stops.
    pub fn serve(self) {
        let _registry = self.shared.registry.enter();
        while !self.stopping() {
            match self.exchange() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log::debug!("control: client {}: {error}", self.client);
                    break;
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::SeqCst)
    }

    /// Takes one request and answers it; false when there is none.
    fn exchange(&self) -> io::Result<bool> {
        let limits = &self.shared.limits;
        let (idle, max) = match self.ticket.privileged() {
            true => (None, limits.request_bytes_privileged),
            false => (Some(limits.idle), limits.request_bytes),
        };
        let patience = Patience { idle, stall: limits.stall };
        let Some(text) = frame::read(&self.stream, max, patience)? else { return Ok(false) };
        let reply = match dm_plist::from_any(&text) {
            Ok((mut dict, format)) => {
                drop(text);
                self.obey(&mut dict);
                // Written before it is wiped, and wiped whatever it held: it costs little.
                let reply = Zeroizing::new(dm_plist::to_format(&dict, format));
                dict.wipe();
                reply
            }
            Err(error) => refusal(&text, &error),
        };
        frame::write(&self.stream, &reply, limits.stall)?;
        Ok(true)
    }

    /// Gives a request to the driver; a wait ends when the client hangs up.
    fn obey(&self, dict: &mut Dict) {
        let caller = Caller { privileged: self.ticket.privileged(), client: self.client };
        let (stream, shared) = (Arc::clone(&self.stream), Arc::clone(&self.shared));
        let gone = move || shared.stopping.load(Ordering::SeqCst) || hung_up(&stream);
        cancel::with(gone, || self.shared.driver.command(&caller, dict));
    }
}

/// Did the client close its end? One that only says it will send no more has not.
fn hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0);
    ready && fds.iter().any(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// The answer to text that is no dictionary.
fn refusal(text: &[u8], error: &dm_plist::Error) -> Zeroizing<Vec<u8>> {
    let failure = Failure::new(Errno::EINVAL, error.to_string());
    let mut dict = Dict::new();
    Reply { failure: Some(failure), ..Reply::default() }.encode(VERSION, &mut dict);
    let json = text.trim_ascii_start().starts_with(b"{");
    let format = if json { Format::Json } else { Format::Xml };
    Zeroizing::new(dm_plist::to_format(&dict, format))
}
