//! mangle: renames devices whose names are not in the mangled form.

use super::{Call, for_named_or_all};
use crate::error::Fail;
use crate::report::Report;
use crate::session::Session;
use libdm::DeviceName;
use libdm::mangle::{Mode, mangle as mangled};

pub fn mangle(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    // Names are shown and sought as the driver has them, and brought into the form asked for.
    let wanted = match std::mem::replace(&mut session.mangling, Mode::None) {
        Mode::None => Mode::Auto,
        mode => mode,
    };
    for_named_or_all(session, call, |session, subject, _| {
        let info = session.info(subject)?;
        let name = &info.name;
        let new = mangled(name, wanted).map_err(|mixed| Fail::Because(mixed.to_string()))?;
        if new == *name {
            let uuid = if info.uuid.is_empty() { "[no UUID]" } else { &info.uuid };
            writeln!(session.out, "{name}: {uuid}: name already in correct form")?;
            return Ok(());
        }
        writeln!(session.out, "{name}: renaming to {new}")?;
        let nodes = session.nodes()?;
        let to = DeviceName::new(new.as_str()).map_err(libdm::Error::from)?;
        session.dm()?.rename(&subject.device, &to).map_err(|error| subject.refused(error))?;
        nodes.rename(name, &new)
    })
}
