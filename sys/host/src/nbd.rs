//! Mapped devices over NBD: every device is an export of its name, on a Unix socket.
//!
//! A connection has the device open: it cannot be removed meanwhile. The size told is that at the
//! time of connecting; requests are held against the size of the moment, so a client of a device
//! that grew connects again to see it. Who may connect is a matter of the socket's file mode.
//!
//! Each client has a thread, which reads its requests, starts them, and answers those that end at
//! once; [`link`] says how the others are answered. While long ones follow each other a [`second`]
//! helps. Structured replies are not offered.

mod eager;
mod handshake;
mod input;
mod link;
mod second;
mod serve;
pub mod wire;

use crate::front::Registry;
use dm::driver::Driver;
use handshake::Handshake;
use rustix::event::{PollFd, PollFlags, poll};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// How many clients there may be; further ones are closed at once.
pub const CLIENTS_MAX: usize = 128;
/// What a socket may hold of replies, in bytes.
const SEND_BUFFER: usize = 2 << 20;

/// A client: its socket, to end it, and its thread.
struct Served {
    socket: UnixStream,
    thread: JoinHandle<()>,
}

struct Shared {
    driver: Arc<Driver>,
    registry: Arc<Registry>,
    stopping: AtomicBool,
    clients: Mutex<Vec<Served>>,
}

/// The running server. Dropping it ends it.
pub struct Nbd {
    shared: Arc<Shared>,
    wake: UnixStream,
    acceptor: Option<JoinHandle<()>>,
}

impl Nbd {
    /// Serves clients that connect to `listener`.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn start(
        listener: UnixListener,
        driver: &Arc<Driver>,
        registry: &Arc<Registry>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            driver: Arc::clone(driver),
            registry: Arc::clone(registry),
            stopping: AtomicBool::new(false),
            clients: Mutex::default(),
        });
        let (wake, woken) = UnixStream::pair()?;
        listener.set_nonblocking(true)?;
        let accepting = Arc::clone(&shared);
        let accept = move || accepting.accept(&listener, &woken);
        let acceptor = thread::Builder::new().name("nbd".into()).spawn(accept)?;
        Ok(Self { shared, wake, acceptor: Some(acceptor) })
    }

    /// Takes no more clients, and ends those that are there behind their requests under way.
    pub fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = self.wake.shutdown(Shutdown::Both);
        let Some(acceptor) = self.acceptor.take() else { return };
        let _ = acceptor.join();
        let clients = std::mem::take(&mut *self.shared.clients());
        for client in &clients {
            let _ = client.socket.shutdown(Shutdown::Both);
        }
        for client in clients {
            let _ = client.thread.join();
        }
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Nbd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Nbd").finish_non_exhaustive()
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Vec<Served>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &UnixListener, woken: &UnixStream) {
        while !self.stopping.load(Ordering::SeqCst) {
            let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
            let _ = poll(&mut fds, None);
            match listener.accept() {
                Ok((socket, _)) => self.admit(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    log::warn!("nbd: no connection: {error}");
                    // Descriptors come back when clients go.
                    thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: UnixStream) {
        let mut clients = self.clients();
        clients.retain(|client| !client.thread.is_finished());
        if clients.len() >= CLIENTS_MAX {
            log::warn!("nbd: a client is turned away, there are {CLIENTS_MAX}");
            return;
        }
        let started = (|| {
            socket.set_nonblocking(false)?;
            let ours = socket.try_clone()?;
            let shared = Arc::clone(self);
            let body = move || shared.client(socket);
            let thread = thread::Builder::new().name("nbd client".into()).spawn(body)?;
            io::Result::Ok(Served { socket: ours, thread })
        })();
        match started {
            Ok(client) => clients.push(client),
            Err(error) => log::warn!("nbd: no client: {error}"),
        }
    }

    fn client(&self, socket: UnixStream) {
        // Only the speed depends on it.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
        let socket = Arc::new(socket);
        let served = match Handshake::run(&socket, &self.driver, &self.registry) {
            Ok(Some(export)) => serve::serve(&socket, export),
            other => other.map(|_| ()),
        };
        // The client sees the end at once, although `clients` has the socket, too.
        let _ = socket.shutdown(Shutdown::Both);
        if let Err(error) = served {
            log::debug!("nbd: a client ended: {error}");
        }
    }
}
