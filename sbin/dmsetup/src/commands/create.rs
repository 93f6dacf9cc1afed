//! create: a device, with its table in one go.

use super::{Call, load};
use crate::concise;
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::{Session, Subject};
use crate::table_line::Source;
use libdm::{Command, DevNo, Errno, Load, NewDevice, Removal, SegmentSpec, Transition, Uuid};
use zeroize::Zeroizing;

pub fn create(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    if session.has(Opt::Concise) {
        return create_concise(session, call);
    }
    let Some(name) = call.word(0) else {
        return Err(Fail::Because("Please provide a name for the new device.".into()));
    };
    let number = |opt| session.options.number(opt).map_err(Fail::Because);
    let (uuid, minor) = (session.options.text(Opt::Uuid), number(Opt::Minor)?);
    let readonly = session.has(Opt::ReadOnly);
    let device = new_device(session, name, uuid, minor, readonly)?;
    // Nothing was asked of the driver yet, but a table from a terminal should not be typed in vain.
    session.dm()?;
    let table = match session.has(Opt::NoTable) {
        true => None,
        false => Some(load::table(session, call.word(1))?),
    };
    create_one(session, &device, table.as_deref())
}

fn new_device(
    session: &Session<'_>,
    name: &str,
    uuid: Option<&str>,
    minor: Option<u32>,
    readonly: bool,
) -> Result<NewDevice, Fail> {
    if name.contains('/') {
        return Err(Fail::Because(format!("Name \"{name}\" invalid. It contains \"/\".")));
    }
    let uuid = uuid.filter(|uuid| !uuid.is_empty());
    let uuid = uuid.map(|uuid| session.mangled(uuid)).transpose()?;
    let uuid = uuid.map(Uuid::new).transpose().map_err(libdm::Error::from)?;
    let name = session.mangled(name)?;
    let refused = |error| match error {
        libdm::Error::Argument(failure) if failure.errno == Errno::ENAMETOOLONG => {
            Fail::Because(format!("Name \"{name}\" too long."))
        }
        libdm::Error::Argument(failure) => Subject::named(name.as_str())
            .refused(libdm::Error::Refused { command: Command::Create, failure }),
        error => error.into(),
    };
    let device = NewDevice::named(&name).map_err(refused)?;
    Ok(NewDevice { uuid, minor, readonly, ..device })
}

/// Makes a device; without table it stays without one, with one it is live or not there.
fn create_one(
    session: &mut Session<'_>,
    device: &NewDevice,
    table: Option<&[SegmentSpec]>,
) -> Result<(), Fail> {
    let dm = session.dm()?;
    let subject = Subject::named(&*device.name);
    let uuid = device.uuid.as_deref().unwrap_or_default();
    let with_uuid = || subject.clone().with_uuid(uuid);
    let major = session.options.number(Opt::Major).map_err(Fail::Because)?;
    let wanted = major.zip(device.minor).map(|(major, minor)| DevNo { major, minor });
    let asked = || wanted.map_or_else(with_uuid, |devno| with_uuid().with_devno(devno));
    let created = dm.create(device).map_err(|error| asked().refused(error))?;
    let with_devno = || with_uuid().with_devno(created.devno);
    let nodes = session.nodes()?;
    let Some(table) = table else {
        return if session.has(Opt::AddNodeOnCreate) { nodes.make(&created) } else { Ok(()) };
    };
    let how = Load { readonly: device.readonly, secure: load::is_secret(table), dry_run: false };
    let live = dm
        .reload(&subject.device, table, how)
        .and_then(|_| dm.resume(&subject.device, Transition::default()))
        .map_err(|error| with_devno().refused(error))
        .and_then(|live| nodes.make(&live).map(|()| live));
    match live {
        Ok(info) if session.has(Opt::Verbose) => super::info::print_long(session, &info),
        Ok(_) => Ok(()),
        Err(fail) => {
            // Whatever hinders this is told by the next command.
            let _ = dm.remove(&subject.device, Removal::default());
            Err(fail)
        }
    }
}

fn create_concise(session: &mut Session<'_>, call: &Call<'_>) -> Result<(), Fail> {
    let list = match call.word(0) {
        Some(list) => Zeroizing::new(list.to_string()),
        None => load::text(session)?,
    };
    for entry in concise::parse(&list).map_err(Fail::Because)? {
        let uuid = Some(entry.uuid.as_str());
        let device = new_device(session, &entry.name, uuid, entry.minor, entry.readonly)?;
        let table = concise::join(&entry.table, "\n");
        let table = crate::table_line::parse(&table, Source::Argument).map_err(Fail::Because)?;
        create_one(session, &device, Some(&table))?;
    }
    Ok(())
}
