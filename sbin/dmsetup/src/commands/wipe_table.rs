//! wipe_table: a table that only fails, so that nothing below is held open.

use super::Call;
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::{Session, Subject};
use libdm::{Load, Query, SegmentSpec};

pub fn wipe_table(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let subject = session.subject(call.word(0))?;
    wipe(session, &subject)
}

/// Replaces the live table by an error segment of the same size.
pub fn wipe(session: &mut Session<'_>, subject: &Subject) -> Result<(), Fail> {
    let dm = session.dm()?;
    let transition = session.transition();
    let readonly = session.has(Opt::ReadOnly);
    let refused = |error| subject.refused(error);
    let query = Query { secure: true, ..Query::default() };
    let segments = dm.table(&subject.device, query).map_err(refused)?.segments;
    let Some(size) = segments.last().map(|last| last.start.0.saturating_add(last.length.0)) else {
        return Ok(());
    };
    let table = [SegmentSpec::new(0, size, "error", "")];
    let how = Load { readonly, ..Load::default() };
    dm.reload(&subject.device, &table, how).map_err(refused)?;
    if let Err(error) = dm.resume(&subject.device, transition) {
        let _ = dm.clear(&subject.device);
        return Err(refused(error));
    }
    Ok(())
}
