//! The control channel: a Unix socket that takes dictionaries and gives them to the driver.
//!
//! A message is a 4-byte little-endian length and so many bytes of property list, XML or JSON;
//! the reply has the same form. Who may connect is a matter of the socket's file mode; who may
//! give which command is the driver's. Here clients are kept from harming each other: each has
//! its own thread, and their number, their requests and their pauses are bounded.

mod connection;
mod frame;
mod peers;

use crate::front::Registry;
use crate::kern::peer_user;
use connection::Connection;
use dm::driver::Driver;
use peers::Peers;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::Shutdown;
use std::fmt;
use std::io;
use std::net;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in a request of a plain user.
    pub request_bytes: usize,
    /// Bytes in a request of the superuser.
    pub request_bytes_privileged: usize,
    /// Connections of all plain users together.
    pub connections: usize,
    /// Connections of one plain user.
    pub connections_per_user: usize,
    /// Connections of the superuser.
    pub connections_privileged: usize,
    /// How long a plain user may keep a connection without asking anything.
    pub idle: Duration,
    /// How long a message may take beyond what its length excuses.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: 128 << 10,
            request_bytes_privileged: 512 << 20,
            connections: 64,
            connections_per_user: 16,
            connections_privileged: 256,
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(10),
        }
    }
}

/// Who is asked, and within which bounds.
struct Shared {
    driver: Arc<Driver>,
    registry: Arc<Registry>,
    limits: Limits,
    peers: Arc<Peers>,
    stopping: AtomicBool,
    open: Mutex<Vec<Weak<UnixStream>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    clients: AtomicU64,
}

/// The running control channel. Dropping it is stopping it.
pub struct Control {
    shared: Arc<Shared>,
    wake: UnixStream,
    acceptor: Option<JoinHandle<()>>,
}

impl Control {
    /// Serves clients that connect to `listener`.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn start(
        listener: UnixListener,
        driver: &Arc<Driver>,
        registry: &Arc<Registry>,
        limits: Limits,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            driver: Arc::clone(driver),
            registry: Arc::clone(registry),
            limits,
            peers: Peers::new(limits),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
            threads: Mutex::default(),
            clients: AtomicU64::new(1),
        });
        let (wake, woken) = UnixStream::pair()?;
        listener.set_nonblocking(true)?;
        let accepting = Arc::clone(&shared);
        let accept = move || accepting.accept(&listener, &woken);
        let acceptor = thread::Builder::new().name("control".into()).spawn(accept)?;
        Ok(Self { shared, wake, acceptor: Some(acceptor) })
    }

    /// Takes no more clients, ends the waits of those that are there, and lets the commands
    /// under way end.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = rustix::net::shutdown(&self.wake, Shutdown::Both);
        let Some(acceptor) = self.acceptor.take() else { return };
        let _ = acceptor.join();
        for stream in held(&self.shared.open).drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(net::Shutdown::Read);
        }
        let threads = std::mem::take(&mut *held(&self.shared.threads));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Control").finish_non_exhaustive()
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &UnixListener, woken: &UnixStream) {
        while !self.stopping.load(Ordering::SeqCst) {
            let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
            let _ = poll(&mut fds, None);
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    log::warn!("control: no connection: {error}");
                    // Without file descriptors it would fail again at once.
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Serves a client in a thread of its own, if there is room for one more.
    fn admit(self: &Arc<Self>, stream: UnixStream) {
        let Ok(user) = peer_user(&stream) else { return };
        let Some(ticket) = self.peers.admit(user) else {
            log::debug!("control: too many connections of user {}", user.as_raw());
            return;
        };
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let stream = Arc::new(stream);
        let mut open = held(&self.open);
        open.retain(|stream| stream.strong_count() != 0);
        open.push(Arc::downgrade(&stream));
        drop(open);
        let client = self.clients.fetch_add(1, Ordering::Relaxed);
        let connection = Connection { stream, shared: Arc::clone(self), ticket, client };
        let serve = move || connection.serve();
        let mut threads = held(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        if let Ok(thread) = thread::Builder::new().name("client".into()).spawn(serve) {
            threads.push(thread);
        }
    }
}
