//! Commands: from the dictionary to a handler and back.

mod device;
mod report;
mod table;

use crate::device::Device;
use crate::driver::Driver;
use crate::kern::{clock, node};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use dm_protocol::{
    Action, Command, DevNo, Dict, Errno, Failure, Flags, Privilege, Reply, Request, STOCK_VERSION,
    Selector, reads_errors,
};

/// Who gives a command.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// May give commands of [`Privilege::Superuser`], and sees keys.
    pub privileged: bool,
    /// A number for the client: the same for all its commands, another's for no other now.
    pub client: u64,
}

/// Devices that a stock client believes to have created. See [`Driver::run`].
#[derive(Default)]
pub(crate) struct Refusals(VecDeque<Refusal>);

struct Refusal {
    client: u64,
    name: String,
    /// When, by the clock.
    at_ns: u64,
}

/// How many refusals are remembered.
const REFUSALS_MAX: usize = 64;
/// How long: a client goes on at once, and later its number may be another's.
const REFUSAL_NS: u64 = 30_000_000_000;

impl Driver {
    /// Thread context; may sleep. Reads a request from `dict`, obeys, and writes the reply
    /// into it. A refused request leaves everything as it was, and says why in the reply.
    pub fn command(&self, caller: &Caller, dict: &mut Dict) {
        let version = Request::client_version(dict).unwrap_or(STOCK_VERSION);
        let mut reply = match self.admit(caller, dict) {
            Ok(request) => self.run(caller, &request),
            Err(failure) => refused(echoed_flags(dict), failure),
        };
        reply.major = node::major();
        reply.encode(version, dict);
    }

    /// Checks the right to give a command before the rest is read.
    fn admit(&self, caller: &Caller, dict: &Dict) -> Result<Request, Failure> {
        let command = Request::command(dict)?;
        if command.privilege() == Privilege::Superuser && !caller.privileged {
            let message = format!("{} is for the superuser", command.name());
            return Err(Failure::new(Errno::EPERM, message));
        }
        Request::decode(dict)
    }

    /// Thread context; may sleep. Obeys a request.
    ///
    /// Stock clients never learn that a command failed. One that was refused to create a
    /// device goes on to load and resume a table under that name, and so would replace the
    /// table of the device that has the name already: what it does next with that name is
    /// refused too.
    pub fn run(&self, caller: &Caller, request: &Request) -> Reply {
        let stock = !reads_errors(request.version);
        if stock && self.refusals.lock().concerns(caller, request) {
            let why = "this client was refused to create the device";
            return refused(request.flags, Failure::new(Errno::EEXIST, why));
        }
        let result = self.dispatch(caller, request);
        if let (true, Action::Create { name, .. }) = (stock, &request.action) {
            self.refusals.lock().created(caller, name, result.is_ok());
        }
        match result {
            Ok(reply) => reply,
            Err(failure) => self.explain(request, failure),
        }
    }

    fn dispatch(&self, caller: &Caller, request: &Request) -> Result<Reply, Failure> {
        let flags = request.flags;
        match &request.action {
            Action::Version => Ok(plain(flags)),
            Action::Targets => Ok(self.report_targets(flags)),
            Action::TargetVersion { target } => self.report_target(flags, target),
            Action::Names => Ok(self.report_names(flags)),
            Action::Create { name, uuid, minor } => {
                let readonly = flags.contains(Flags::READONLY);
                let device = self.create(name.clone(), uuid.clone(), *minor, readonly)?;
                Ok(self.describe(&device))
            }
            Action::RemoveAll => Ok(self.remove_all(flags)),
            other => {
                let device = self.find(&request.device)?;
                self.on_device(caller, request, other, &device)
            }
        }
    }

    fn on_device(
        &self,
        caller: &Caller,
        request: &Request,
        action: &Action,
        device: &Arc<Device>,
    ) -> Result<Reply, Failure> {
        let flags = request.flags;
        match action {
            Action::Info | Action::Mknodes => Ok(self.describe_asked(device, flags)),
            Action::Deps => Ok(self.report_deps(device, flags)),
            Action::Status | Action::Table => Ok(self.report_table(caller, device, request)),
            Action::Reload { table, dry_run } => self.reload(device, flags, table, *dry_run),
            Action::Clear => Ok(self.clear(device)),
            Action::Suspend => {
                device.suspend(flags.contains(Flags::NOFLUSH))?;
                Ok(self.describe(device))
            }
            Action::Resume => {
                device.resume(flags.contains(Flags::NOFLUSH))?;
                Ok(self.describe(device))
            }
            Action::Remove => {
                let mut reply = self.describe(device);
                let at_close = flags.contains(Flags::DEFERRED_REMOVE);
                self.remove(device, Some(&request.device), at_close)?;
                reply.flags |= device_flags(device) & Flags::DEFERRED_REMOVE;
                Ok(reply)
            }
            Action::Rename(change) => self.change(device, &request.device, change),
            Action::WaitEvent { event_nr, timeout_ms } => {
                device.event.wait(*event_nr, *timeout_ms)?;
                Ok(self.describe(device))
            }
            Action::Message { sector, text } => self.message(device, *sector, text),
            Action::SetGeometry(geometry) => self.set_geometry(device, *geometry),
            // These need no device and were obeyed before.
            Action::Version
            | Action::Targets
            | Action::Names
            | Action::Create { .. }
            | Action::RemoveAll
            | Action::TargetVersion { .. } => Err(Errno::EINVAL.into()),
        }
    }

    /// The reply to a refused request: with the state of the device it meant, if there is one.
    fn explain(&self, request: &Request, failure: Failure) -> Reply {
        let by_name = match &request.action {
            Action::Create { name, .. } => {
                Selector { name: Some(name.to_string()), ..Selector::default() }
            }
            _ => request.device.clone(),
        };
        match self.find(&by_name) {
            Ok(device) => Reply { failure: Some(failure), ..self.describe(&device) },
            Err(_) => refused(request.flags, failure),
        }
    }

    /// The reply that tells of a device, and nothing more.
    pub(crate) fn describe(&self, device: &Device) -> Reply {
        self.describe_asked(device, Flags::empty())
    }

    fn describe_asked(&self, device: &Device, asked: Flags) -> Reply {
        let state = device.state();
        let table = match asked.contains(Flags::QUERY_INACTIVE_TABLE) {
            true => state.inactive.as_ref(),
            false => state.live.as_ref(),
        };
        let targets = table.map_or(0, |table| table.segments().len());
        Reply {
            open_count: state.opens,
            target_count: u32::try_from(targets).unwrap_or(u32::MAX),
            event_nr: device.event.number(),
            minor: device.minor(),
            name: state.name.to_string(),
            uuid: state.uuid.as_ref().map(|uuid| uuid.to_string()).unwrap_or_default(),
            flags: flags_of(device, &state),
            ..Reply::default()
        }
    }
}

fn device_flags(device: &Device) -> Flags {
    flags_of(device, &device.state())
}

fn flags_of(device: &Device, state: &crate::device::State) -> Flags {
    let mut flags = Flags::EXISTS;
    flags.set(Flags::READONLY, device.readonly());
    flags.set(Flags::SUSPEND, state.suspended);
    flags.set(Flags::ACTIVE_PRESENT, state.live.is_some());
    flags.set(Flags::INACTIVE_PRESENT, state.inactive.is_some());
    flags.set(Flags::DEFERRED_REMOVE, state.remove_at_close);
    flags
}

/// A reply that is about no device.
fn plain(flags: Flags) -> Reply {
    Reply { flags: flags & Flags::EXISTS, ..Reply::default() }
}

/// A refusal that is about no device. The minor is one that no device gets, since stock
/// clients make nodes of it whatever happened.
fn refused(flags: Flags, failure: Failure) -> Reply {
    let flags = flags - Flags::EXISTS;
    Reply { flags, minor: DevNo::MINOR_MAX, failure: Some(failure), ..Reply::default() }
}

fn echoed_flags(dict: &Dict) -> Flags {
    let bits = dict.number32(dm_protocol::key::FLAGS).ok().flatten();
    Flags::from_bits_retain(bits.unwrap_or(0))
}

impl Refusals {
    /// Remembers how a creation ended.
    fn created(&mut self, caller: &Caller, name: &str, well: bool) {
        self.0.retain(|refusal| refusal.client != caller.client || refusal.name != name);
        if !well {
            self.0.truncate(REFUSALS_MAX.saturating_sub(1));
            let (client, name, at_ns) = (caller.client, name.to_string(), clock::now_ns());
            self.0.push_front(Refusal { client, name, at_ns });
        }
    }

    /// True for a change of a device that the client wrongly believes to be its own.
    fn concerns(&self, caller: &Caller, request: &Request) -> bool {
        let changes = matches!(
            request.action.command(),
            Command::Reload | Command::Resume | Command::Clear | Command::Remove
        );
        let named = |name: &String| request.device.name.as_ref() == Some(name);
        let oldest = clock::now_ns().saturating_sub(REFUSAL_NS);
        changes
            && self.0.iter().any(|refusal| {
                refusal.client == caller.client && named(&refusal.name) && refusal.at_ns >= oldest
            })
    }
}
