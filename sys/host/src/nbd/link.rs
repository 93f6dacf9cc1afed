//! One client's socket: request slots, and replies on their way out.
//!
//! A reply is a slot whose request is over. The connection's thread and threads in which requests
//! end append to one queue; whoever finds nobody sending sends, never waiting. What the socket
//! does not take is left to the connection's thread, the only one that may wait for the client.

use super::eager::Eager;
use super::wire::{self, REPLY_BYTES, Request};
use crate::mapped::{Finish, Io};
use dm_protocol::{Errno, Sectors};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno as System;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, send, sendmsg,
};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests of one client under way, and not answered yet.
const SLOTS: usize = 128;
/// Bytes of buffers in use by one client's requests; one request of the largest size fits.
const BYTES_IN_USE: usize = 40 << 20;
/// Bytes of buffers kept for later requests of one client.
const BYTES_KEPT: usize = 16 << 20;
/// Requests up to this length, in bytes, share buffers of this length.
pub const SMALL: usize = 64 << 10;
/// Pieces of memory in one send.
const PIECES: usize = 64;

/// What belongs to the server in a request.
pub struct Slot {
    /// Set while the request is under way.
    link: Option<Arc<Link>>,
    cookie: [u8; 8],
    /// What it counts for among the bytes in use.
    size: usize,
    /// Bytes of data in the reply if all is well.
    answer: usize,
    head: [u8; REPLY_BYTES],
    /// Bytes of data in the reply.
    data: usize,
}

/// A slot with its buffer.
pub type Task = Box<Io<Slot>>;

#[derive(Default)]
struct State {
    small: Vec<Task>,
    large: Vec<Task>,
    kept: usize,
    slots: usize,
    bytes: usize,
    replies: VecDeque<Task>,
    /// Not here while somebody sends.
    outbox: Option<Outbox>,
    /// The socket took no more: the connection's thread goes on.
    stalled: bool,
    /// The connection's thread waits for a slot.
    wanted: bool,
    broken: bool,
}

/// Replies of which a part may be sent.
#[derive(Default)]
struct Outbox {
    replies: VecDeque<Task>,
    /// Bytes of the first that are gone.
    sent: usize,
}

/// A client's socket and what is shared by those who answer.
pub struct Link {
    socket: Arc<UnixStream>,
    /// A byte on `waker` ends a wait of the connection's thread at `woken`.
    waker: UnixStream,
    woken: UnixStream,
    state: Mutex<State>,
}

thread_local! {
    /// The address of the link whose connection's thread it is; that thread sends replies when it
    /// has read what was there.
    static OWNED: Cell<usize> = const { Cell::new(0) };
}

impl Finish for Slot {
    fn finish(mut io: Task, result: Result<(), Errno>) {
        let Some(link) = io.own.link.take() else { return };
        io.own.data = if result.is_ok() { io.own.answer } else { 0 };
        io.own.head = wire::reply(io.own.cookie, result);
        if link.queue(io) && OWNED.get() != Arc::as_ptr(&link).addr() {
            link.send(false);
        }
    }
}

impl Link {
    /// Takes a socket over.
    ///
    /// # Errors
    /// When there can be no further descriptor.
    pub fn new(socket: &Arc<UnixStream>) -> io::Result<Arc<Self>> {
        let (waker, woken) = UnixStream::pair()?;
        // Requests end where nothing may be allocated, so there is room for all of them.
        let outbox = Outbox { replies: VecDeque::with_capacity(SLOTS), sent: 0 };
        let state = State {
            small: Vec::with_capacity(SLOTS),
            large: Vec::with_capacity(SLOTS),
            replies: VecDeque::with_capacity(SLOTS),
            outbox: Some(outbox),
            ..State::default()
        };
        let state = Mutex::new(state);
        Ok(Arc::new(Self { socket: Arc::clone(socket), waker, woken, state }))
    }

    /// Makes the calling thread the connection's.
    pub fn own(self: &Arc<Self>) {
        OWNED.set(Arc::as_ptr(self).addr());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a request, with a buffer of `bytes` at least. Waits until replies to earlier
    /// ones are gone when there are too many. `None` when the client is gone, or no memory.
    pub fn slot(self: &Arc<Self>, request: &Request, bytes: usize) -> Option<Task> {
        let size = if bytes == 0 { 0 } else { bytes.next_multiple_of(SMALL) };
        let mut task = loop {
            let mut state = self.state();
            if state.broken {
                return None;
            }
            let room = state.bytes + size <= BYTES_IN_USE && state.slots < SLOTS;
            if room || state.slots == 0 {
                state.slots += 1;
                state.bytes += size;
                break state.take(size);
            }
            drop(state);
            self.make_room();
        };
        let whole = Sectors(size.div_ceil(512) as u64);
        if size != 0 && task.reserve(whole).is_err() {
            let mut state = self.state();
            state.slots -= 1;
            state.bytes -= size;
            return None;
        }
        task.own.link = Some(Arc::clone(self));
        task.own.cookie = request.cookie;
        task.own.size = size;
        task.own.answer = if request.data() == 0 { bytes } else { 0 };
        Some(task)
    }

    /// Takes a slot back whose request was never sent and is not answered.
    pub fn give_up(&self, mut task: Task) {
        task.own.link = None;
        let mut state = self.state();
        state.slots -= 1;
        state.bytes -= task.own.size;
    }

    /// Appends a reply. True if nobody sends now and the socket took all so far.
    fn queue(&self, task: Task) -> bool {
        let mut state = self.state();
        state.replies.push_back(task);
        state.outbox.is_some() && !state.stalled
    }

    /// Sends replies until there are none, or the socket takes no more. If `owner`, for the
    /// connection's thread.
    pub fn send(&self, owner: bool) {
        let mut state = self.state();
        if state.stalled && !owner {
            return;
        }
        let Some(mut outbox) = state.outbox.take() else { return };
        loop {
            outbox.replies.append(&mut state.replies);
            if outbox.replies.is_empty() || state.broken {
                state.discard(&mut outbox);
                state.stalled = false;
                break;
            }
            drop(state);
            let sent = outbox.send(&self.socket);
            state = self.state();
            match sent {
                Ok(bytes) => state.gone(&mut outbox, bytes),
                Err(System::INTR) => {}
                Err(System::AGAIN) => {
                    state.stalled = true;
                    break;
                }
                Err(_) => state.broken = true,
            }
        }
        state.outbox = Some(outbox);
        let wake = !owner && (state.stalled || state.broken || mem::take(&mut state.wanted));
        drop(state);
        if wake {
            let _ = send(&self.waker, &[1], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// Sends what there is; if that answers nothing, waits until something may.
    fn make_room(&self) {
        let mut state = self.state();
        state.wanted = true;
        let before = state.slots;
        drop(state);
        self.send(true);
        if self.state().slots == before {
            self.wait(false);
        }
    }

    /// Waits until something can be sent, replies made room, or, if `read`, there is input.
    fn wait(&self, read: bool) {
        let state = self.state();
        let mut flags = if read { PollFlags::IN } else { PollFlags::empty() };
        if state.stalled {
            flags |= PollFlags::OUT;
        }
        drop(state);
        let mut fds = [PollFd::new(&self.socket, flags), PollFd::new(&self.woken, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            return;
        }
        let [socket, woken] = fds.map(|fd| fd.revents());
        if woken.contains(PollFlags::IN) {
            let mut bytes = [0; 64];
            let _ = recv(&self.woken, bytes.as_mut_slice(), RecvFlags::DONTWAIT);
        }
        if socket.intersects(PollFlags::ERR | PollFlags::HUP) && !read {
            self.break_off();
        }
    }

    /// Reads into `pieces`, sending replies meanwhile; how many bytes. `within` a request they
    /// come soon. `None` at the end of the stream.
    pub fn receive(
        &self,
        pieces: &mut [IoSliceMut<'_>],
        within: bool,
        eager: &mut Eager,
    ) -> Option<usize> {
        let mut receive = |flags| {
            let received =
                recvmsg(&self.socket, pieces, &mut RecvAncillaryBuffer::default(), flags);
            received.map(|received| received.bytes)
        };
        loop {
            self.send(true);
            // Without a request under way there is nothing else to wait for.
            let idle = self.state().slots == 0;
            let look = || match receive(RecvFlags::DONTWAIT) {
                Err(System::AGAIN) => None,
                result => Some(result),
            };
            let found = if idle || within { eager.look(look) } else { None };
            let received = match found {
                Some(found) => found,
                None if idle => eager.sleep(|| receive(RecvFlags::empty())),
                None => receive(RecvFlags::DONTWAIT),
            };
            match received {
                Ok(bytes) => return Some(bytes).filter(|bytes| *bytes != 0),
                Err(System::INTR) => {}
                Err(System::AGAIN) => eager.sleep(|| self.wait(true)),
                Err(_) => return None,
            }
        }
    }

    /// How many replies wait to be sent.
    pub fn waiting(&self) -> usize {
        self.state().replies.len()
    }

    /// Waits until all requests are over and answered, or the client is gone.
    pub fn finish(&self) {
        loop {
            let state = self.state();
            if state.slots == 0 || state.broken {
                return;
            }
            drop(state);
            self.make_room();
        }
    }

    /// Nothing is to be sent any more.
    pub fn break_off(&self) {
        self.state().broken = true;
    }
}

impl State {
    fn take(&mut self, size: usize) -> Task {
        let shelf = if size > SMALL { &mut self.large } else { &mut self.small };
        match shelf.pop() {
            Some(task) => {
                self.kept -= task.bytes().len();
                task
            }
            None => Io::new(Slot {
                link: None,
                cookie: [0; 8],
                size: 0,
                answer: 0,
                head: [0; REPLY_BYTES],
                data: 0,
            }),
        }
    }

    /// So many bytes are sent: what is answered becomes free.
    fn gone(&mut self, outbox: &mut Outbox, bytes: usize) {
        outbox.sent += bytes;
        while let Some(length) = outbox.replies.front().map(|task| REPLY_BYTES + task.own.data) {
            if outbox.sent < length {
                return;
            }
            outbox.sent -= length;
            if let Some(task) = outbox.replies.pop_front() {
                self.put(task);
            }
        }
    }

    fn discard(&mut self, outbox: &mut Outbox) {
        outbox.sent = 0;
        while let Some(task) = outbox.replies.pop_front() {
            self.put(task);
        }
    }

    fn put(&mut self, task: Task) {
        let size = task.own.size;
        self.slots -= 1;
        self.bytes -= size;
        let there = task.bytes().len();
        if self.kept + there > BYTES_KEPT {
            return;
        }
        self.kept += there;
        if there > SMALL { self.large.push(task) } else { self.small.push(task) }
    }
}

impl Outbox {
    fn send(&self, socket: &UnixStream) -> rustix::io::Result<usize> {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut used = 0;
        let mut skip = self.sent;
        for task in self.replies.iter().take(PIECES / 2) {
            let data = task.bytes().get(..task.own.data).unwrap_or_default();
            for part in [task.own.head.as_slice(), data] {
                let left = part.get(skip..).unwrap_or_default();
                skip = skip.saturating_sub(part.len());
                if let Some(piece) = pieces.get_mut(used).filter(|_| !left.is_empty()) {
                    *piece = IoSlice::new(left);
                    used += 1;
                }
            }
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let pieces = pieces.get(..used).unwrap_or_default();
        sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags)
    }
}
