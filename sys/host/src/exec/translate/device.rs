//! Requests about a device as a whole.

use super::Answer;
use super::Call;
use crate::errno::to_system;
use crate::exec::wire::{self, Header, flag};
use dm_protocol::{
    Action, Change, DeviceName, Flags, Geometry, NameEntry, Reply, ReplyBody, Sector, Selector,
    Uuid,
};
use rustix::io::Errno;

impl Call<'_> {
    pub(super) fn create(&self, mut header: Header) -> Answer {
        let name = DeviceName::new(header.name.as_str()).map_err(|_| Errno::INVAL)?;
        let uuid = (!header.uuid.is_empty()).then(|| Uuid::new(header.uuid.as_str())).transpose();
        let uuid = uuid.map_err(|_| Errno::INVAL)?;
        let persistent = header.flags & flag::PERSISTENT_DEV != 0;
        let minor = persistent.then(|| wire::unpack(header.dev).minor);
        let action = Action::Create { name, uuid, minor };
        let reply =
            self.run(Selector::default(), Flags::empty(), action).map_err(
                |why| match to_system(why.errno) {
                    Errno::EXIST => Errno::BUSY,
                    errno => errno,
                },
            )?;
        header.flags &= !flag::INACTIVE_PRESENT;
        self.described(header, &reply)
    }

    pub(super) fn remove(&self, mut header: Header) -> Answer {
        let reply = self.find(&header)?;
        let deferred = header.flags & flag::DEFERRED_REMOVE != 0;
        self.remove_one(&reply, deferred)?;
        header.name = reply.name;
        header.uuid = reply.uuid;
        header.flags &= !(flag::DEFERRED_REMOVE | flag::INACTIVE_PRESENT);
        header.flags |= flag::UEVENT_GENERATED;
        Ok(header.encode_alone())
    }

    /// Removes a device that nobody uses, or has it go when that is so.
    fn remove_one(&self, device: &Reply, deferred: bool) -> Result<(), Errno> {
        let nodes = self.nodes();
        let minor = device.minor;
        let selector = Selector { minor: Some(minor), ..Selector::default() };
        if deferred {
            nodes.release_at_close(minor);
            let removed = self.run(selector, Flags::DEFERRED_REMOVE, Action::Remove);
            return removed.map(drop).map_err(|why| to_system(why.errno));
        }
        if device.open_count > nodes.own_opens(minor) {
            return Err(Errno::BUSY);
        }
        nodes.release(minor)?;
        let removed = self.run(selector, Flags::empty(), Action::Remove);
        removed.map(drop).map_err(|why| {
            nodes.restore(minor);
            to_system(why.errno)
        })
    }

    /// Removes those that nobody uses, as often as that frees further ones.
    pub(super) fn remove_all(&self, header: &Header) -> Answer {
        let deferred = header.flags & flag::DEFERRED_REMOVE != 0;
        loop {
            let before = self.names()?;
            for entry in &before {
                let minor = Some(entry.minor);
                let device = Selector { minor, ..Selector::default() };
                if let Ok(reply) = self.run(device, Flags::empty(), Action::Info) {
                    // What is in use stays.
                    let _ = self.remove_one(&reply, deferred);
                }
            }
            if self.names()?.len() == before.len() {
                return Ok(Vec::new());
            }
        }
    }

    pub(super) fn names(&self) -> Result<Vec<NameEntry>, Errno> {
        let reply = self.run(Selector::default(), Flags::empty(), Action::Names);
        match reply.map_err(|why| to_system(why.errno))?.body {
            ReplyBody::Names(names) => Ok(names),
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn rename(&self, mut header: Header) -> Answer {
        let new = wire::text(self.buffer, header.data_start as usize)?;
        let change = match header.flags & flag::UUID {
            0 => DeviceName::new(new).map(Change::Name),
            _ => Uuid::new(new).map(Change::Uuid),
        };
        let change = change.map_err(|_| Errno::INVAL)?;
        let reply = self.on_device(&header, Action::Rename(change));
        let reply = reply.map_err(|errno| match errno {
            Errno::EXIST => Errno::BUSY,
            errno => errno,
        })?;
        // The names stay as they were sent.
        let (name, uuid) = (header.name.clone(), header.uuid.clone());
        self.describe(&mut header, &reply);
        (header.name, header.uuid) = (name, uuid);
        header.flags |= flag::UEVENT_GENERATED;
        Ok(header.encode_alone())
    }

    pub(super) fn suspend_or_resume(&self, mut header: Header) -> Answer {
        let before = self.find(&header)?;
        let suspended = before.flags.contains(Flags::SUSPEND);
        let suspends = header.flags & flag::SUSPEND != 0;
        let swaps = before.flags.contains(Flags::INACTIVE_PRESENT);
        // As Linux: a table is swapped below a file system that does not write.
        let freezes = !suspended
            && (suspends || swaps)
            && before.flags.contains(Flags::ACTIVE_PRESENT)
            && header.flags & flag::SKIP_LOCKFS == 0;
        if freezes {
            self.nodes().freeze(before.minor);
        }
        let action = if suspends { Action::Suspend } else { Action::Resume };
        let reply = self.on_device(&header, action);
        if !suspends && reply.is_ok() || freezes && reply.is_err() {
            self.nodes().thaw(before.minor);
        }
        let reply = reply?;
        self.describe(&mut header, &reply);
        if !suspends && (swaps || suspended) {
            header.flags |= flag::UEVENT_GENERATED;
        }
        Ok(header.encode_alone())
    }

    /// "cylinders heads sectors start" in decimal.
    pub(super) fn set_geometry(&self, header: &Header) -> Answer {
        let text = wire::text(self.buffer, header.data_start as usize)?;
        let mut words = text.split_ascii_whitespace().map(str::parse::<u64>);
        let mut next = |max| match words.next() {
            Some(Ok(number)) if number <= max => Ok(number),
            _ => Err(Errno::INVAL),
        };
        let small = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let geometry = Geometry {
            cylinders: small(next(65_535)?),
            heads: small(next(255)?),
            sectors: small(next(255)?),
            start: Sector(next(u64::MAX)?),
        };
        if words.next().is_some() {
            return Err(Errno::INVAL);
        }
        self.on_device(header, Action::SetGeometry(geometry)).map(|_| Vec::new())
    }
}
