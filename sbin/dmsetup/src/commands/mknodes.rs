//! mknodes: makes what nodes are missing, and removes those of devices that are gone.

use super::Call;
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::{Session, Subject};
use libdm::Errno;

pub fn mknodes(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let by_option = session.has(Opt::Uuid) || session.has(Opt::Major);
    if !call.words.is_empty() || by_option {
        let subject = session.subject(call.word(0))?;
        return one(session, &subject);
    }
    let names = session.names()?;
    for entry in &names {
        one(session, &Subject::named(entry.name.as_str()))?;
    }
    session.nodes()?.remove_stale(&names)
}

fn one(session: &mut Session<'_>, subject: &Subject) -> Result<(), Fail> {
    let nodes = session.nodes()?;
    match session.dm()?.mknodes(&subject.device) {
        Ok(info) => nodes.make_missing(&info),
        Err(error) if error.errno() == Some(Errno::ENOENT) => nodes.remove(&subject.name),
        Err(error) => Err(subject.refused(error)),
    }
}
