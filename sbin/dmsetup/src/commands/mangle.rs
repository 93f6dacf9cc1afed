//! mangle: renames devices whose names are not in the mangled form.

use super::{Call, for_named_or_all};
use crate::error::Fail;
use crate::report::Report;
use crate::session::Session;
use libdm::DeviceName;
use libdm::mangle::{Mode, mangle as mangled, unmangle};

pub fn mangle(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    // Names are shown and sought as the driver has them, and brought into the form asked for.
    let mode = std::mem::replace(&mut session.mangling, Mode::None);
    let form = |text: &str| match mode {
        Mode::None => Ok(unmangle(text)),
        mode => mangled(text, mode).map_err(|mixed| Fail::Because(mixed.to_string())),
    };
    for_named_or_all(session, call, |session, subject, _| {
        let info = session.info(subject)?;
        let name = &info.name;
        let new = form(name)?;
        if form(&info.uuid)? != info.uuid {
            let uuid = &info.uuid;
            return Err(Fail::Because(format!(
                "{name}: {uuid}: UUID in incorrect form. \n\
                 Unable to change device UUID. The device must be deactivated first."
            )));
        }
        if new == *name {
            let (uuid, what) = match info.uuid.as_str() {
                "" => ("[no UUID]", "name"),
                uuid => (uuid, "name and UUID"),
            };
            writeln!(session.out, "{name}: {uuid}: {what} already in correct form")?;
            return Ok(());
        }
        writeln!(session.out, "{name}: renaming to {new}")?;
        let nodes = session.nodes()?;
        let to = DeviceName::new(new.as_str()).map_err(libdm::Error::from)?;
        session.dm()?.rename(&subject.device, &to).map_err(|error| subject.refused(error))?;
        nodes.rename(name, &new)
    })
}
