//! One method for every command.

use crate::types::{
    Deps, Device, Entry, Info, Load, NewDevice, Query, Removal, Segments, Transition,
};
use crate::{Channel, Control, Error, Result, dev_dir};
use dm_protocol::{
    Action, Change, Command, DevNo, DeviceName, Dict, Errno, Failure, Flags, Geometry, Reply,
    ReplyBody, Request, STOCK_VERSION, Sector, SegmentSpec, Selector, TargetVersion, Uuid, VERSION,
    Version, key, reads_errors,
};
use std::path::Path;
use std::time::Duration;

/// A driver, and how to speak to it.
///
/// Every command is one exchange; nothing is kept between them. The methods take device names as
/// the driver knows them, see [`crate::mangle`].
#[derive(Debug)]
pub struct Dm<C = Channel> {
    control: C,
    /// The protocol version of our requests.
    version: Version,
}

impl Dm<Channel> {
    /// Opens the driver in `$DM_DEV_DIR`, or in `/dev`.
    ///
    /// # Errors
    /// [`Error::NoDriver`], whose text says how to get one.
    pub fn open() -> Result<Self> {
        Self::open_in(&dev_dir())
    }

    /// Opens the driver whose control node or socket is `mapper/control` below `dev_dir`.
    ///
    /// # Errors
    /// [`Error::NoDriver`], or what [`Dm::version`] may return.
    pub fn open_in(dev_dir: &Path) -> Result<Self> {
        let mut dm = Dm::new(Channel::open(dev_dir)?);
        dm.negotiate()?;
        Ok(dm)
    }
}

impl<C: Control> Dm<C> {
    /// Speaks to a driver of this protocol version through `control`.
    #[must_use]
    pub const fn new(control: C) -> Self {
        Self { control, version: VERSION }
    }

    /// Lowers the version of our requests to what the driver speaks.
    ///
    /// # Errors
    /// As [`Dm::version`].
    pub fn negotiate(&mut self) -> Result<()> {
        self.version = match self.ask_version(VERSION) {
            // A stock driver gives what is newer than itself back as it is, or with EIO.
            Ok(reply) if reply.number32(key::TARGET_COUNT) == Ok(None) => STOCK_VERSION,
            Err(error) if error.errno() == Some(Errno::EIO) => STOCK_VERSION,
            reply => version_in(&reply?)?.min(VERSION),
        };
        Ok(())
    }

    /// The channel.
    #[must_use]
    pub const fn control(&self) -> &C {
        &self.control
    }

    /// The protocol version of the driver.
    ///
    /// # Errors
    /// [`Error::Channel`], [`Error::Reply`]
    pub fn version(&self) -> Result<Version> {
        version_in(&self.ask_version(self.version)?)
    }

    /// The reply of a driver that is asked for its version in this one.
    fn ask_version(&self, version: Version) -> Result<Dict> {
        let mut request = Request { version, ..self.request(Action::Version) }.encode();
        let reply = self.control.command(&request);
        request.wipe();
        reply
    }

    /// The target types.
    ///
    /// # Errors
    /// [`Error::Channel`], [`Error::Reply`]
    pub fn targets(&self) -> Result<Vec<TargetVersion>> {
        match self.run(self.request(Action::Targets))?.body {
            ReplyBody::Targets(targets) => Ok(targets),
            _ => Err(nothing("targets")),
        }
    }

    /// The version of one target type.
    ///
    /// # Errors
    /// [`Error::Refused`] with ENOENT when there is no such target.
    pub fn target_version(&self, target: &str) -> Result<Version> {
        let action = Action::TargetVersion { target: target.into() };
        match self.run(self.request(action))?.body {
            ReplyBody::Targets(targets) => targets.first().map(|target| target.version),
            _ => None,
        }
        .ok_or_else(|| nothing("target version"))
    }

    /// The devices, in the driver's order.
    ///
    /// # Errors
    /// [`Error::Channel`], [`Error::Reply`]
    pub fn names(&self) -> Result<Vec<Entry>> {
        let reply = self.run(self.request(Action::Names))?;
        let ReplyBody::Names(names) = &reply.body else { return Err(nothing("names")) };
        let major = self.major(&reply)?;
        let entry = |name: &dm_protocol::NameEntry| Entry {
            name: name.name.clone(),
            uuid: name.uuid.clone(),
            devno: DevNo { major, minor: name.minor },
            event_nr: name.event_nr,
        };
        Ok(names.iter().map(entry).collect())
    }

    /// Makes a device without table.
    ///
    /// # Errors
    /// [`Error::Refused`]: EEXIST when the name or uuid is taken, EBUSY when the minor is.
    pub fn create(&self, device: &NewDevice) -> Result<Info> {
        let mut request = self.request(Action::Create {
            name: device.name.clone(),
            uuid: device.uuid.clone(),
            minor: device.minor,
        });
        request.flags.set(Flags::READONLY, device.readonly);
        self.info_of(request)
    }

    /// Loads a table into the inactive slot, from where [`Dm::resume`] makes it live.
    ///
    /// # Errors
    /// [`Error::Refused`] with a sentence that names the segment: EINVAL for parameters, ENOENT
    /// for a disk or target that is not there, and more, as each target defines.
    pub fn reload(&self, device: &Device, table: &[SegmentSpec], how: Load) -> Result<Info> {
        let action = Action::Reload { table: table.to_vec(), dry_run: how.dry_run };
        let mut request = self.on(device, action);
        request.flags.set(Flags::READONLY, how.readonly);
        request.flags.set(Flags::SECURE_DATA, how.secure);
        self.info_of(request)
    }

    /// Makes the inactive table live, if there is one, and lets I/O flow.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub fn resume(&self, device: &Device, how: Transition) -> Result<Info> {
        self.info_of(self.transition(device, Action::Resume, how))
    }

    /// Holds new I/O back, and waits until the rest is done and flushed.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub fn suspend(&self, device: &Device, how: Transition) -> Result<Info> {
        self.info_of(self.transition(device, Action::Suspend, how))
    }

    /// Drops the inactive table.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub fn clear(&self, device: &Device) -> Result<Info> {
        self.info_of(self.on(device, Action::Clear))
    }

    /// Removes a device. [`Info::deferred_remove`] of the answer is set when it is still open and
    /// will go later.
    ///
    /// # Errors
    /// [`Error::Refused`] with EBUSY when it is open and `how` is not deferred.
    pub fn remove(&self, device: &Device, how: Removal) -> Result<Info> {
        let mut request = self.on(device, Action::Remove);
        request.flags.set(Flags::DEFERRED_REMOVE, how.deferred);
        self.info_of(request)
    }

    /// Removes all devices that are not open.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub fn remove_all(&self, how: Removal) -> Result<()> {
        let mut request = self.request(Action::RemoveAll);
        request.flags.set(Flags::DEFERRED_REMOVE, how.deferred);
        self.run(request).map(drop)
    }

    /// Gives a device another name.
    ///
    /// # Errors
    /// [`Error::Refused`] with EEXIST when the name is taken.
    pub fn rename(&self, device: &Device, name: &DeviceName) -> Result<Info> {
        self.info_of(self.on(device, Action::Rename(Change::Name(name.clone()))))
    }

    /// Gives a uuid to a device that has none.
    ///
    /// # Errors
    /// [`Error::Refused`] with EINVAL when it has one, EEXIST when another device has it.
    pub fn set_uuid(&self, device: &Device, uuid: &Uuid) -> Result<Info> {
        self.info_of(self.on(device, Action::Rename(Change::Uuid(uuid.clone()))))
    }

    /// The state of a device.
    ///
    /// # Errors
    /// [`Error::Refused`] with ENOENT when it does not exist, see [`Error::is_missing`].
    pub fn info(&self, device: &Device, query: Query) -> Result<Info> {
        self.info_of(self.query(device, Action::Info, query))
    }

    /// What is needed to make a device's nodes.
    ///
    /// # Errors
    /// As [`Dm::info`].
    pub fn mknodes(&self, device: &Device) -> Result<Info> {
        self.info_of(self.on(device, Action::Mknodes))
    }

    /// The devices below the table.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub fn deps(&self, device: &Device, query: Query) -> Result<Deps> {
        let reply = self.run(self.query(device, Action::Deps, query))?;
        let info = Info::new(&reply, self.major(&reply)?);
        match reply.body {
            ReplyBody::Deps(devices) => Ok(Deps { info, devices }),
            _ => Err(nothing("dependencies")),
        }
    }

    /// The state of each segment, as its target reports it.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub fn status(&self, device: &Device, query: Query) -> Result<Segments> {
        self.segments(self.query(device, Action::Status, query))
    }

    /// The parameters of each segment, as they would be written in a table.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub fn table(&self, device: &Device, query: Query) -> Result<Segments> {
        self.segments(self.query(device, Action::Table, query))
    }

    /// Waits until the event number differs from `event_nr`, or `timeout` is over.
    ///
    /// # Errors
    /// [`Error::Refused`]: ETIMEDOUT, or EINTR when a signal came.
    pub fn wait_event(
        &self,
        device: &Device,
        event_nr: u32,
        timeout: Option<Duration>,
    ) -> Result<Info> {
        let timeout_ms = timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        self.info_of(self.on(device, Action::WaitEvent { event_nr, timeout_ms }))
    }

    /// Says something to the target that maps `sector`, and returns its answer, if it gave one.
    ///
    /// # Errors
    /// [`Error::Refused`] with EINVAL when the target does not understand.
    pub fn message(&self, device: &Device, sector: Sector, text: &str) -> Result<Option<String>> {
        let action = Action::Message { sector, text: String::from(text).into() };
        let mut request = self.on(device, action);
        // Some messages set keys.
        request.flags |= Flags::SECURE_DATA;
        match self.run(request)?.body {
            ReplyBody::Answer(answer) => Ok(Some(answer)),
            _ => Ok(None),
        }
    }

    /// Sets the geometry that a disk label tool sees.
    ///
    /// # Errors
    /// [`Error::Refused`] with EINVAL when it is larger than the device.
    pub fn set_geometry(&self, device: &Device, geometry: Geometry) -> Result<Info> {
        self.info_of(self.on(device, Action::SetGeometry(geometry)))
    }

    fn request(&self, action: Action) -> Request {
        let version = self.version;
        let device = Selector::default();
        Request { version, flags: Flags::EXISTS, device, action }
    }

    fn on(&self, device: &Device, action: Action) -> Request {
        Request { device: device.selector(), ..self.request(action) }
    }

    fn transition(&self, device: &Device, action: Action, how: Transition) -> Request {
        let mut request = self.on(device, action);
        request.flags.set(Flags::NOFLUSH, how.no_flush);
        request.flags.set(Flags::SKIP_LOCKFS, how.skip_lockfs);
        request
    }

    fn query(&self, device: &Device, action: Action, query: Query) -> Request {
        let mut request = self.on(device, action);
        request.flags.set(Flags::QUERY_INACTIVE_TABLE, query.inactive);
        request.flags.set(Flags::NOFLUSH, query.no_flush);
        request.flags.set(Flags::SECURE_DATA, query.secure);
        request
    }

    fn info_of(&self, request: Request) -> Result<Info> {
        let reply = self.run(request)?;
        Ok(Info::new(&reply, self.major(&reply)?))
    }

    fn segments(&self, request: Request) -> Result<Segments> {
        let reply = self.run(request)?;
        let info = Info::new(&reply, self.major(&reply)?);
        match reply.body {
            ReplyBody::Segments(segments) => Ok(Segments { info, segments }),
            _ => Err(nothing("segments")),
        }
    }

    fn major(&self, reply: &Reply) -> Result<u32> {
        match reply.major {
            0 => self.control.block_major(),
            major => Ok(major),
        }
    }

    /// Sends a request and reads the reply; both dictionaries are wiped.
    fn run(&self, request: Request) -> Result<Reply> {
        let command = request.action.command();
        let mut dict = request.encode();
        drop(request);
        let sent = self.control.command(&dict);
        dict.wipe();
        let mut dict = sent?;
        let reply = Reply::decode(&dict).map_err(garbled);
        dict.wipe();
        let reply = reply?;
        match self.refusal(command, &reply) {
            Some(failure) => Err(Error::Refused { command, failure }),
            None => Ok(reply),
        }
    }

    fn refusal(&self, command: Command, reply: &Reply) -> Option<Failure> {
        // A stock driver tells of a missing device only by what it clears.
        let asks = matches!(command, Command::Info | Command::Mknodes | Command::Status);
        let missing = asks && !reply.flags.contains(Flags::EXISTS);
        match &reply.failure {
            Some(failure) => Some(failure.clone()),
            None if missing && !reads_errors(self.version) => Some(Errno::ENOENT.into()),
            None => None,
        }
    }
}

fn version_in(reply: &Dict) -> Result<Version> {
    let version = reply.version(key::VERSION).map_err(garbled)?;
    version.ok_or_else(|| Error::Reply("no version".into()))
}

fn nothing(what: &str) -> Error {
    Error::Reply(format!("no {what} in it"))
}

fn garbled(failure: Failure) -> Error {
    Error::Reply(failure.message)
}
