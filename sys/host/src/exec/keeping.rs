//! Our end of the talk with the keeper.

use super::loops::Shape;
use super::place::Place;
use crate::kern::hold;
use rustix::io::Errno;
use std::collections::HashMap;
use std::env;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The word on the command line that makes this program a keeper.
pub const VERB: &str = "keep-loops";

/// Who waits for the answer of which number; none when there will be no more answers.
type Waiting = Mutex<Option<HashMap<u64, SyncSender<Result<(), Errno>>>>>;

/// The loop devices of this process.
pub struct Keeping {
    out: Mutex<(UnixStream, u64)>,
    waiting: Arc<Waiting>,
    base: u32,
    process: Mutex<Child>,
}

impl Keeping {
    /// Starts the keeper, which gets a folder to itself, and holds its lock as we do.
    ///
    /// # Errors
    /// A sentence, where there are no loop devices for us.
    pub fn start(place: &Place) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("loop devices: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(wrong)?;
        let process = Command::new(env::current_exe().map_err(wrong)?)
            .arg(VERB)
            .arg(&place.folder)
            .args(&place.nodes)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(place.lock.try_clone().map_err(wrong)?))
            .spawn()
            .map_err(wrong)?;
        let mut lines = BufReader::new(ours.try_clone().map_err(wrong)?).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let base = match first.strip_prefix("0 base ").map(str::parse) {
            Some(Ok(base)) => base,
            _ => return Err(first.strip_prefix("0 none ").unwrap_or("no keeper").to_owned()),
        };
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        let answered = Arc::clone(&waiting);
        let listen = move || {
            for line in lines.map_while(Result::ok) {
                let Some((number, errno)) = line.split_once(' ') else { continue };
                let (Ok(number), Ok(errno)) = (number.parse(), errno.parse()) else { continue };
                let waiter = hold(&answered).as_mut().and_then(|all| all.remove(&number));
                let result = if errno == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(errno)) };
                waiter.map(|waiter| waiter.send(result));
            }
            // Who waits hears that nobody answers.
            hold(&answered).take();
        };
        thread::Builder::new().name("keeper".into()).spawn(listen).map_err(wrong)?;
        Ok(Self { out: Mutex::new((ours, 0)), waiting, base, process: Mutex::new(process) })
    }

    /// The first number that devices may have.
    #[must_use]
    pub const fn first(&self) -> u32 {
        self.base + 1
    }

    fn ask(&self, request: fmt::Arguments<'_>) -> Result<(), Errno> {
        let (sender, receiver) = sync_channel(1);
        {
            let mut out = hold(&self.out);
            out.1 += 1;
            let (stream, number) = &mut *out;
            hold(&self.waiting).as_mut().ok_or(Errno::IO)?.insert(*number, sender);
            writeln!(stream, "{number} {request}").map_err(|_| Errno::IO)?;
        }
        receiver.recv().unwrap_or(Err(Errno::IO))
    }

    /// Makes the device of a number, or takes one that is there and free.
    ///
    /// # Errors
    /// EEXIST when it is in use.
    pub fn add(&self, index: u32) -> Result<(), Errno> {
        self.ask(format_args!("add {index}"))
    }

    /// Takes away what was made.
    ///
    /// # Errors
    /// EBUSY while it is bound or open.
    pub fn remove(&self, index: u32) -> Result<(), Errno> {
        self.ask(format_args!("remove {index}"))
    }

    /// Binds a device to a file.
    ///
    /// # Errors
    /// EBUSY when it is bound, and those of opening.
    pub fn bind(&self, index: u32, file: &Path, shape: Shape) -> Result<(), Errno> {
        self.with_file("bind", index, file, shape)
    }

    /// Has it take over its file's size, and these properties.
    ///
    /// # Errors
    /// ENXIO when it is not bound.
    pub fn reshape(&self, index: u32, file: &Path, shape: Shape) -> Result<(), Errno> {
        self.with_file("reshape", index, file, shape)
    }

    fn with_file(&self, verb: &str, index: u32, file: &Path, shape: Shape) -> Result<(), Errno> {
        let Shape { sector_size, readonly, discard } = shape;
        let access = if readonly { "ro" } else { "rw" };
        let discard = if discard { "discard" } else { "keep" };
        let file = file.display();
        self.ask(format_args!("{verb} {index} {sector_size} {access} {discard} {file}"))
    }

    /// Unbinds it if nobody has it open.
    ///
    /// # Errors
    /// EBUSY when somebody has.
    pub fn unbind(&self, index: u32) -> Result<(), Errno> {
        self.ask(format_args!("unbind {index}"))
    }

    /// Unbinds it as soon as nobody has it open.
    ///
    /// # Errors
    /// ENXIO when it is not bound.
    pub fn unbind_at_close(&self, index: u32) -> Result<(), Errno> {
        self.ask(format_args!("unbind_at_close {index}"))
    }

    /// Takes that back.
    ///
    /// # Errors
    /// ENXIO when it is not bound any more.
    pub fn stay(&self, index: u32) -> Result<(), Errno> {
        self.ask(format_args!("stay {index}"))
    }

    /// Writes back what is cached above it, and stops the file systems on it.
    ///
    /// # Errors
    /// Those of the writes; file systems are stopped all the same.
    pub fn freeze(&self, index: u32) -> Result<(), Errno> {
        self.ask(format_args!("freeze {index}"))
    }

    /// Lets file systems go on.
    ///
    /// # Errors
    /// EIO without a keeper.
    pub fn thaw(&self, index: u32) -> Result<(), Errno> {
        self.ask(format_args!("thaw {index}"))
    }

    /// Has it take everything away; true if that is done within the time.
    #[must_use]
    pub fn stop(&self, within: Duration) -> bool {
        let _ = hold(&self.out).0.shutdown(Shutdown::Write);
        let end = Instant::now() + within;
        loop {
            match hold(&self.process).try_wait() {
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(2)),
                Ok(None) => return false,
                _ => return true,
            }
        }
    }
}

impl fmt::Debug for Keeping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keeping").field("base", &self.base).finish_non_exhaustive()
    }
}
