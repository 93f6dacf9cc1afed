//! rename: another name, or with --setuuid a uuid.

use super::Call;
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::Session;
use libdm::mangle::mangle;
use libdm::{Command, DeviceName, Uuid};

pub fn rename(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let (device, new) = match call.words {
        [device, new] => (Some(device.as_str()), new.as_str()),
        [new] => (None, new.as_str()),
        _ => return Err(Fail::Because("No device specified.".into())),
    };
    let subject = session.subject(device)?;
    let dm = session.dm()?;
    let refused = |error| subject.refused(error);
    if session.has(Opt::SetUuid) {
        let uuid = Uuid::new(session.mangled(new)?).map_err(libdm::Error::from)?;
        dm.set_uuid(&subject.device, &uuid).map_err(refused)?;
        return Ok(());
    }
    if new.contains('/') {
        return Err(Fail::Because(format!("Name \"{new}\" invalid. It contains \"/\".")));
    }
    if new.is_empty() {
        return Err(Fail::Because("Non empty new name is required.".into()));
    }
    let name = mangle(new, session.mangling).map_err(|mixed| {
        let mixed = mixed.to_string().replacen("The name", "The new name", 1);
        Fail::Because(format!("{mixed}\nFailed to mangle new device name \"{new}\""))
    })?;
    let name = DeviceName::new(name)
        .map_err(|failure| refused(libdm::Error::Refused { command: Command::Rename, failure }))?;
    let nodes = session.nodes()?;
    let old = match nodes.directory {
        Some(_) => session.info(&subject).map(|info| info.name).ok(),
        None => None,
    };
    dm.rename(&subject.device, &name).map_err(refused)?;
    match old {
        Some(old) => nodes.rename(&old, &name),
        None => Ok(()),
    }
}
