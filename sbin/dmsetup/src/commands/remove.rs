//! remove, remove_all.

use super::{Call, wipe_table};
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::{Session, Subject};
use libdm::{Errno, Removal};
use std::thread::sleep;
use std::time::Duration;

const RETRIES: u32 = 25;
const RETRY_DELAY: Duration = Duration::from_millis(200);

pub fn remove(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let subject = session.subject(call.word(0))?;
    if session.has(Opt::Force) {
        // If this fails, the removal says why.
        let _ = wipe_table::wipe(session, &subject);
    }
    remove_one(session, &subject)
}

fn remove_one(session: &mut Session<'_>, subject: &Subject) -> Result<(), Fail> {
    let dm = session.dm()?;
    let how = Removal { deferred: session.has(Opt::Deferred) };
    // The name of the nodes is known only as long as the device is there.
    let nodes = session.nodes()?;
    let name = match nodes.directory {
        Some(_) => session.info(subject).map(|info| info.name).ok(),
        None => None,
    };
    let mut tries = if session.has(Opt::Retry) { RETRIES } else { 1 };
    let removed = loop {
        tries -= 1;
        match dm.remove(&subject.device, how) {
            Err(error) if error.errno() == Some(Errno::EBUSY) && tries > 0 => sleep(RETRY_DELAY),
            done => break done.map_err(|error| subject.refused(error))?,
        }
    };
    match name {
        Some(name) if !removed.deferred_remove => nodes.remove(&name),
        _ => Ok(()),
    }
}

pub fn remove_all(session: &mut Session<'_>, _: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    remove_closed(session)?;
    if !session.has(Opt::Force) {
        return Ok(());
    }
    let left = session.names()?;
    if left.is_empty() {
        return Ok(());
    }
    // Tables that fail hold nothing open, so only what others opened remains.
    for entry in left {
        let wiped = wipe_table::wipe(session, &Subject::named(entry.name));
        if let Err(fail @ Fail::Output(_)) = wiped {
            return Err(fail);
        }
    }
    remove_closed(session)?;
    match session.names()?.len() {
        0 => Ok(()),
        left => {
            writeln!(session.err, "Unable to remove {left} device(s).")?;
            Ok(())
        }
    }
}

fn remove_closed(session: &mut Session<'_>) -> Result<(), Fail> {
    let nodes = session.nodes()?;
    let before = match nodes.directory {
        Some(_) => session.names()?,
        None => Vec::new(),
    };
    session.dm()?.remove_all(Removal { deferred: session.has(Opt::Deferred) })?;
    if nodes.directory.is_some() {
        let after = session.names()?;
        for gone in before.iter().filter(|entry| !after.iter().any(|e| e.name == entry.name)) {
            nodes.remove(&gone.name)?;
        }
    }
    Ok(())
}
