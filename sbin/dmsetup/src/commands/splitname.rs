//! splitname: the parts of an LVM volume's device name.

use super::Call;
use crate::error::Fail;
use crate::report::Report;
use crate::session::Session;

pub fn splitname(
    session: &mut Session<'_>,
    call: &Call<'_>,
    report: &mut Report,
) -> Result<(), Fail> {
    let name = call.word(0).unwrap_or_default();
    let subsystem = call.word(1).unwrap_or("LVM");
    report.add_name(session, name, subsystem)
}
