//! Starts the program with the filter in place.

use super::filter::program;
use super::notify::{Listener, install};
use super::place::Place;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Room for one descriptor on its way.
const ROOM: usize = rustix::cmsg_space!(ScmRights(1));

/// Starts a command; where its calls are reported.
///
/// # Errors
/// A sentence.
pub fn start(command: &[OsString], place: &Place) -> Result<(Child, Listener), String> {
    let (name, arguments) = command.split_first().ok_or("there is no command")?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let filter = program(place.needs);
    let mut command = Command::new(name);
    // Nobody answers for udev here, so libdevmapper makes its nodes itself.
    command.args(arguments).env("DM_DISABLE_UDEV", "1");
    if let Some(dir) = &place.dev_dir {
        command.env("DM_DEV_DIR", dir);
    }
    let filtered = move || {
        // Without us it has no devices, and would go on beside what it was to work on.
        set_parent_process_death_signal(Some(Signal::HUP))?;
        send(&theirs, &install(&filter)?)
    };
    // SAFETY: it makes system calls only, with memory that is there.
    unsafe { command.pre_exec(filtered) };
    let child = command.spawn().map_err(|error| format!("{}: {error}", name.display()))?;
    let listener = receive(&ours).map_err(|error| format!("system calls: {error}"))?;
    Ok((child, Listener::new(listener)))
}

fn send(stream: &UnixStream, fd: &OwnedFd) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let fds = [fd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut room = [MaybeUninit::uninit(); ROOM];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let fds = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
