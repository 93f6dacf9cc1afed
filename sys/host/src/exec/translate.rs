//! From Linux's requests to the driver's commands, and back.
//!
//! What a client sees is decided here: which errors, which fields of the header are filled in,
//! and what a request does to the block node of a device besides. It knows neither system calls
//! nor processes.

mod device;
mod tables;

use super::records::Records;
use super::wire::{self, Command, DATA, HEADER, Header, VERSION, flag};
use crate::errno::to_system;
use dm::command::Caller;
use dm::driver::Driver;
use dm::kern::node;
use dm_protocol::{
    Action, DevNo, Failure, Flags, Reply, ReplyBody, Request, Sector, Sectors, SegmentStatus,
    Selector,
};
use rustix::io::Errno;
use std::sync::Arc;

/// The block nodes of devices: what the driver does not know of.
pub trait Nodes: Send + Sync {
    /// How often our own node has a device open in the driver.
    fn own_opens(&self, minor: u32) -> u32;
    /// How often programs, file systems and other disks have the node open.
    fn outside_opens(&self, minor: u32) -> u32;
    /// Takes the node's hold on the device away, for a removal.
    ///
    /// # Errors
    /// EBUSY when somebody has the node open; nothing has changed then.
    fn release(&self, minor: u32) -> Result<(), Errno>;
    /// The same as soon as nobody has the node open.
    fn release_at_close(&self, minor: u32);
    /// Undoes a release: the device stays.
    fn restore(&self, minor: u32);
    /// Writes back what is cached above the device, and stops file systems from writing more.
    fn freeze(&self, minor: u32);
    /// Lets file systems write again.
    fn thaw(&self, minor: u32);
    /// Sectors of a block device of the same major number that is not ours.
    fn foreign(&self, minor: u32) -> Option<Sectors>;
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The same for all requests of a process.
    pub number: u64,
    /// What a word that looks like a device means to the client: a number or a path.
    pub resolve: &'a dyn Fn(&str) -> Option<String>,
}

/// Answers requests.
pub struct Translator {
    driver: Arc<Driver>,
    nodes: Arc<dyn Nodes>,
}

/// What a request leads to: the bytes that are written over it, or an error number.
type Answer = Result<Vec<u8>, Errno>;

impl Translator {
    /// For the devices of a driver.
    #[must_use]
    pub fn new(driver: Arc<Driver>, nodes: Arc<dyn Nodes>) -> Self {
        Self { driver, nodes }
    }

    /// The state of a device, if it is there.
    #[must_use]
    pub fn about(&self, minor: u32) -> Option<Reply> {
        let device = Selector { minor: Some(minor), ..Selector::default() };
        let request = Request { device, ..Request::new(Action::Info) };
        let reply = self.driver.run(&Caller { privileged: true, client: 0 }, &request);
        reply.failure.is_none().then_some(reply)
    }

    /// Answers a request: `buffer` is all that the client sent, as long as its header says.
    ///
    /// # Errors
    /// The error number that the client gets.
    pub fn answer(&self, client: Client<'_>, command: Command, buffer: &[u8]) -> Answer {
        let mut header = Header::decode(buffer)?;
        if buffer.len() < HEADER {
            return Err(Errno::INVAL);
        }
        header.version = VERSION;
        check(command, &header)?;
        header.flags &=
            !(flag::BUFFER_FULL | flag::UEVENT_GENERATED | flag::SECURE_DATA | flag::DATA_OUT);
        let call = Call { translator: self, client, buffer };
        match command {
            Command::Version => Ok(Vec::new()),
            Command::RemoveAll => call.remove_all(&header),
            Command::ListDevices => call.list_devices(header),
            Command::DevCreate => call.create(header),
            Command::DevRemove => call.remove(header),
            Command::DevRename => call.rename(header),
            Command::DevSuspend => call.suspend_or_resume(header),
            Command::DevStatus => call.plain(header, Action::Info),
            Command::DevWait => call.wait(header),
            Command::TableLoad => call.load(header),
            Command::TableClear => call.plain(header, Action::Clear),
            Command::TableDeps => call.deps(header),
            Command::TableStatus => call.status(header),
            Command::ListVersions => call.list_versions(header, Action::Targets),
            Command::TargetMessage => call.message(header),
            Command::DevSetGeometry => call.set_geometry(&header),
            // The descriptor was armed by whoever has it.
            Command::DevArmPoll => Ok(header.encode_alone()),
            Command::GetTargetVersion => {
                let target = header.name.clone();
                call.list_versions(header, Action::TargetVersion { target })
            }
        }
    }
}

/// How a request may name a device.
fn check(command: Command, header: &Header) -> Result<(), Errno> {
    let both = !header.name.is_empty() && !header.uuid.is_empty();
    match command {
        Command::Version
        | Command::RemoveAll
        | Command::ListDevices
        | Command::ListVersions
        | Command::DevArmPoll => Ok(()),
        Command::DevCreate if header.name.is_empty() => Err(Errno::INVAL),
        Command::DevCreate => Ok(()),
        _ if both => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

impl Header {
    /// A reply without records.
    fn encode_alone(mut self) -> Vec<u8> {
        self.data_size = HEADER as u32;
        self.encode(&[])
    }

    /// A reply with records, if there is room for them in what the client has.
    fn encode_with(mut self, room: usize, records: &Records) -> Vec<u8> {
        self.data_start = DATA as u32;
        let size = DATA + records.counted.max(records.bytes.len());
        if size > room {
            self.flags |= flag::BUFFER_FULL;
            return self.encode_alone();
        }
        self.data_size = u32::try_from(DATA + records.counted).unwrap_or(u32::MAX);
        self.encode(&records.bytes)
    }

    /// The device that is meant: by uuid, by name or by number, and by one of them only.
    fn selector(&self) -> Result<Selector, Errno> {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let (name, uuid) = (given(&self.name), given(&self.uuid));
        let minor = match self.devno() {
            Some(_) if name.is_some() || uuid.is_some() => return Err(Errno::NXIO),
            Some(devno) if devno.major != node::major() => return Err(Errno::NXIO),
            devno => devno.map(|devno| devno.minor),
        };
        match (&name, &uuid, minor) {
            (None, None, None) => Err(Errno::NXIO),
            _ => Ok(Selector { minor, name, uuid }),
        }
    }
}

/// One request on its way.
struct Call<'a> {
    translator: &'a Translator,
    client: Client<'a>,
    buffer: &'a [u8],
}

impl Call<'_> {
    fn nodes(&self) -> &dyn Nodes {
        &*self.translator.nodes
    }

    /// Gives a command to the driver.
    fn run(&self, device: Selector, flags: Flags, action: Action) -> Result<Reply, Failure> {
        let caller = Caller { privileged: true, client: self.client.number };
        let request = Request { flags: flags | Flags::EXISTS, device, ..Request::new(action) };
        let mut reply = self.translator.driver.run(&caller, &request);
        match reply.failure.take() {
            None => Ok(reply),
            Some(failure) => {
                let command = request.action.command().name();
                log::debug!("{command}: {}", failure.message);
                Err(failure)
            }
        }
    }

    /// The state of the device that a request means.
    fn find(&self, header: &Header) -> Result<Reply, Errno> {
        self.run(header.selector()?, Flags::empty(), Action::Info).map_err(|_| Errno::NXIO)
    }

    /// Gives a command about a device that is there.
    fn on_device(&self, header: &Header, action: Action) -> Result<Reply, Errno> {
        let minor = Some(self.find(header)?.minor);
        let known = Flags::READONLY
            | Flags::STATUS_TABLE
            | Flags::SKIP_LOCKFS
            | Flags::NOFLUSH
            | Flags::QUERY_INACTIVE_TABLE;
        let flags = Flags::from_bits_truncate(header.flags) & known;
        let device = Selector { minor, ..Selector::default() };
        self.run(device, flags, action).map_err(|why| to_system(why.errno))
    }

    /// Fills in what a reply tells of a device.
    fn describe(&self, header: &mut Header, reply: &Reply) {
        let told = [
            (Flags::SUSPEND, flag::SUSPEND),
            (Flags::READONLY, flag::READONLY),
            (Flags::ACTIVE_PRESENT, flag::ACTIVE_PRESENT),
            (Flags::INACTIVE_PRESENT, flag::INACTIVE_PRESENT),
            (Flags::DEFERRED_REMOVE, flag::DEFERRED_REMOVE),
        ];
        header.flags &= !flag::INTERNAL_SUSPEND;
        for (theirs, ours) in told {
            header.flags &= !ours;
            header.flags |= if reply.flags.contains(theirs) { ours } else { 0 };
        }
        header.dev = wire::pack(DevNo { major: node::major(), minor: reply.minor });
        let outside = match header.flags & flag::SKIP_BDGET {
            0 => self.nodes().outside_opens(reply.minor),
            _ => 0,
        };
        let tables = reply.open_count.saturating_sub(self.nodes().own_opens(reply.minor));
        header.open_count = tables.saturating_add(outside);
        header.event_nr = reply.event_nr;
        header.target_count = reply.target_count;
        header.name.clone_from(&reply.name);
        header.uuid.clone_from(&reply.uuid);
    }

    fn described(&self, mut header: Header, reply: &Reply) -> Answer {
        self.describe(&mut header, reply);
        Ok(header.encode_alone())
    }

    /// A command whose reply is the state of the device.
    fn plain(&self, header: Header, action: Action) -> Answer {
        if let Some(foreign) = self.foreign(&header)
            && action == Action::Info
        {
            return self.described(header, &foreign);
        }
        let reply = self.on_device(&header, action)?;
        self.described(header, &reply)
    }

    /// A reply about a device of our major number that is not mapped. Clients ask about every
    /// device of that number, and would take the lack of an answer for a broken device.
    fn foreign(&self, header: &Header) -> Option<Reply> {
        let Selector { minor, name, .. } = header.selector().ok()?;
        // Clients ask again by the name that they were told.
        let minor = minor.or_else(|| name?.strip_prefix("loop")?.parse().ok())?;
        if self.find(header).is_ok() {
            return None;
        }
        let size = self.nodes().foreign(minor)?;
        let segment = SegmentStatus {
            start: Sector(0),
            length: size,
            target: "loop".into(),
            params: String::new().into(),
        };
        Some(Reply {
            minor,
            name: format!("loop{minor}"),
            flags: Flags::ACTIVE_PRESENT,
            target_count: 1,
            body: ReplyBody::Segments(vec![segment]),
            ..Reply::default()
        })
    }
}
