//! Requests with records: tables, messages, lists.

use super::{Answer, Call};
use crate::errno::to_system;
use crate::exec::records;
use crate::exec::wire::{self, Header, flag};
use dm::kern::node;
use dm_protocol::{
    Action, Flags, Reply, ReplyBody, Sector, Sectors, SegmentSpec, Selector, Zeroizing,
};
use rustix::io::Errno;

impl Call<'_> {
    /// Lists the devices whose names and uuids begin as the client says.
    pub(super) fn list_devices(&self, header: Header) -> Answer {
        let mut names = self.names()?;
        names.retain(|entry| {
            entry.name.starts_with(&header.name) && entry.uuid.starts_with(&header.uuid)
        });
        let uuids = header.flags & flag::UUID != 0;
        let records = records::names(&names, node::major(), uuids);
        Ok(header.encode_with(self.buffer.len(), &records))
    }

    pub(super) fn list_versions(&self, header: Header, action: Action) -> Answer {
        let reply = self.run(Selector::default(), Flags::empty(), action);
        match reply.map_err(|why| to_system(why.errno))?.body {
            ReplyBody::Targets(types) => {
                let records = records::versions(&types);
                Ok(header.encode_with(self.buffer.len(), &records))
            }
            _ => Err(Errno::INVAL),
        }
    }

    pub(super) fn wait(&self, mut header: Header) -> Answer {
        let event_nr = header.event_nr;
        let waited = self.on_device(&header, Action::WaitEvent { event_nr, timeout_ms: None });
        let reply =
            waited.map_err(|errno| if errno == Errno::NOENT { Errno::NXIO } else { errno })?;
        // The event may be that it has another name now.
        self.describe(&mut header, &reply);
        (header.name, header.uuid) = Default::default();
        self.status(header)
    }

    pub(super) fn load(&self, header: Header) -> Answer {
        let specs = wire::specs(self.buffer, &header)?;
        let mut table = Vec::with_capacity(specs.len());
        for spec in specs {
            table.push(SegmentSpec {
                start: Sector(spec.start),
                length: Sectors(spec.length),
                target: spec.target,
                params: self.resolve(spec.params),
            });
        }
        let reply = self.on_device(&header, Action::Reload { table, dry_run: false })?;
        self.described(header, &reply)
    }

    /// Puts what the client's words for devices mean in their place.
    fn resolve(&self, params: &str) -> Zeroizing<String> {
        let mut resolved = Zeroizing::new(String::with_capacity(params.len() * 2));
        for (nr, part) in params.split(' ').enumerate() {
            if nr > 0 {
                resolved.push(' ');
            }
            match (self.client.resolve)(part) {
                Some(device) => resolved.push_str(&device),
                None => resolved.push_str(part),
            }
        }
        resolved
    }

    pub(super) fn deps(&self, mut header: Header) -> Answer {
        let reply = match self.foreign(&header) {
            Some(foreign) => Reply { body: ReplyBody::Deps(Vec::new()), ..foreign },
            None => self.on_device(&header, Action::Deps)?,
        };
        self.describe(&mut header, &reply);
        let ReplyBody::Deps(deps) = reply.body else { return Err(Errno::INVAL) };
        let records = records::deps(deps.iter().map(|dep| dep.devno));
        Ok(header.encode_with(self.buffer.len(), &records))
    }

    pub(super) fn status(&self, mut header: Header) -> Answer {
        if header.flags & flag::IMA_MEASUREMENT != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let action = match header.flags & flag::STATUS_TABLE {
            0 => Action::Status,
            _ => Action::Table,
        };
        let reply = match self.foreign(&header) {
            Some(foreign) => foreign,
            None => self.on_device(&header, action)?,
        };
        self.describe(&mut header, &reply);
        let ReplyBody::Segments(segments) = reply.body else { return Err(Errno::INVAL) };
        Ok(header.encode_with(self.buffer.len(), &records::segments(&segments)))
    }

    pub(super) fn message(&self, mut header: Header) -> Answer {
        let at = header.data_start as usize;
        let sector = self.buffer.get(at..).and_then(<[u8]>::first_chunk).ok_or(Errno::INVAL)?;
        let sector = Sector(u64::from_ne_bytes(*sector));
        let text = wire::text(self.buffer, at.saturating_add(8))?;
        let cancels = text.trim() == "@cancel_deferred_remove";
        let text = self.resolve(text);
        let reply = self.on_device(&header, Action::Message { sector, text })?;
        if cancels {
            self.nodes().restore(reply.minor);
        }
        self.describe(&mut header, &reply);
        let ReplyBody::Answer(answer) = reply.body else { return Ok(header.encode_alone()) };
        header.flags |= flag::DATA_OUT;
        Ok(header.encode_with(self.buffer.len(), &records::answer(&answer)))
    }
}
