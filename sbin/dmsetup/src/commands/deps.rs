//! deps: the devices below a table.

use super::ls::Shown;
use super::{Call, for_named_or_all};
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::Session;
use crate::tree::device_name;
use libdm::Entry;

pub fn deps(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let shown = Shown::of(session)?;
    let names = match shown {
        Shown::DeviceName => session.names()?,
        Shown::Number | Shown::BlockName => Vec::new(),
    };
    for_named_or_all(session, call, |session, subject, call| {
        let query = session.query();
        let dm = session.dm()?;
        let deps = dm.deps(&subject.device, query).map_err(|error| subject.refused(error))?;
        if session.has(Opt::Verbose) {
            super::info::print_long(session, &deps.info)?;
        }
        let major = deps.info.devno.major;
        let name = session.shown(&deps.info.name);
        let prefix = if call.multiple && !session.has(Opt::Verbose) {
            format!("{name}: ")
        } else {
            String::new()
        };
        write!(session.out, "{prefix}{} dependencies\t:", deps.devices.len())?;
        for dep in &deps.devices {
            let mapped = names.iter().find(|Entry { devno, .. }| *devno == dep.devno);
            match (shown, mapped) {
                (Shown::Number, _) => {
                    write!(session.out, " ({}, {})", dep.devno.major, dep.devno.minor)?;
                }
                (Shown::DeviceName, Some(entry)) => {
                    let name = session.shown(&entry.name);
                    write!(session.out, " ({name})")?;
                }
                _ => write!(session.out, " ({})", device_name(dep, major))?,
            }
        }
        writeln!(session.out)?;
        if call.multiple && session.has(Opt::Verbose) {
            writeln!(session.out)?;
        }
        Ok(())
    })
}
