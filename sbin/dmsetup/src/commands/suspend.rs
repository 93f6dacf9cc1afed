//! suspend, resume, clear.

use super::Call;
use crate::error::Fail;
use crate::report::Report;
use crate::session::Session;

pub fn suspend(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let subject = session.subject(call.word(0))?;
    let how = session.transition();
    session.dm()?.suspend(&subject.device, how).map_err(|error| subject.refused(error))?;
    Ok(())
}

pub fn resume(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let subject = session.subject(call.word(0))?;
    let how = session.transition();
    let dm = session.dm()?;
    let info = dm.resume(&subject.device, how).map_err(|error| subject.refused(error))?;
    session.nodes()?.make_missing(&info)
}

pub fn clear(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let subject = session.subject(call.word(0))?;
    session.dm()?.clear(&subject.device).map_err(|error| subject.refused(error))?;
    Ok(())
}
