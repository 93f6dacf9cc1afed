//! The end of a request: an answer to the kernel, from whichever thread.

use crate::errno::to_system;
use crate::mapped::{Finish, Io};
use dm_protocol::Errno;
use fuser::{ReplyData, ReplyEmpty, ReplyWrite};
use std::sync::{Mutex, PoisonError};

/// What the kernel waits for.
#[derive(Default)]
pub enum Answer {
    /// Nothing.
    #[default]
    None,
    /// Bytes of the buffer: from, to.
    Data(ReplyData, usize, usize),
    /// A number of bytes written.
    Written(ReplyWrite, u32),
    /// Success.
    Empty(ReplyEmpty),
}

/// A request of this front end.
pub type FuseIo = Io<Answer>;

/// Requests that were used and can be used again, with their buffers.
#[expect(clippy::vec_box, reason = "requests live in boxes that the driver points to")]
static SPARE: Mutex<Vec<Box<FuseIo>>> = Mutex::new(Vec::new());

/// How many are kept: each may hold a buffer of 1 MiB.
const SPARE_MAX: usize = 32;

/// A request to use.
pub fn request() -> Box<FuseIo> {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    spare.unwrap_or_else(|| Io::new(Answer::None))
}

impl Finish for Answer {
    fn finish(mut io: Box<FuseIo>, result: Result<(), Errno>) {
        let answer = std::mem::take(&mut io.own);
        answer.send(result, io.bytes());
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX {
            spare.push(io);
        }
    }
}

impl Answer {
    /// Tells the kernel.
    pub fn send(self, result: Result<(), Errno>, bytes: &[u8]) {
        match (self, result) {
            (Self::None, _) => {}
            (Self::Data(reply, from, to), Ok(())) => match bytes.get(from..to) {
                Some(data) => reply.data(data),
                None => reply.error(fuser::Errno::EIO),
            },
            (Self::Written(reply, count), Ok(())) => reply.written(count),
            (Self::Empty(reply), Ok(())) => reply.ok(),
            (Self::Data(reply, ..), Err(errno)) => reply.error(system(errno)),
            (Self::Written(reply, _), Err(errno)) => reply.error(system(errno)),
            (Self::Empty(reply), Err(errno)) => reply.error(system(errno)),
        }
    }
}

/// The kernel's number for an error of the driver.
pub fn system(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(to_system(errno).raw_os_error())
}
