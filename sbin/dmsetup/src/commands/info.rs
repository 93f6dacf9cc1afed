//! info: the state of devices, in lines or in columns.

use super::{Call, explain_missing, for_named_or_all};
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::Session;
use libdm::Info;

pub fn info(session: &mut Session<'_>, call: &Call<'_>, report: &mut Report) -> Result<(), Fail> {
    let columns = session.has(Opt::Columns);
    let result = for_named_or_all(session, call, |session, subject, _| {
        let info = session.info(subject)?;
        match columns {
            true => report.add_device(session, &info),
            false => print_long(session, &info),
        }
    });
    explain_missing(session, result)
}

/// Prints the state of a device in lines.
pub fn print_long(session: &mut Session<'_>, info: &Info) -> Result<(), Fail> {
    let name = session.shown(&info.name);
    let uuid = session.shown(&info.uuid);
    let out = &mut *session.out;
    let state = if info.suspended { "SUSPENDED" } else { "ACTIVE" };
    let readonly = if info.readonly { " (READ-ONLY)" } else { "" };
    let deferred = if info.deferred_remove { " (DEFERRED REMOVE)" } else { "" };
    let tables = match (info.live_table, info.inactive_table) {
        (true, true) => "LIVE & INACTIVE",
        (true, false) => "LIVE",
        (false, true) => "INACTIVE",
        (false, false) => "None",
    };
    writeln!(out, "Name:              {name}")?;
    writeln!(out, "State:             {state}{readonly}{deferred}")?;
    // The driver reads nothing ahead; the line is there for those who count lines.
    writeln!(out, "Read Ahead:        0")?;
    writeln!(out, "Tables present:    {tables}")?;
    writeln!(out, "Open count:        {}", info.open_count)?;
    writeln!(out, "Event number:      {}", info.event_nr)?;
    writeln!(out, "Major, minor:      {}, {}", info.devno.major, info.devno.minor)?;
    writeln!(out, "Number of targets: {}", info.target_count)?;
    if !uuid.is_empty() {
        writeln!(out, "UUID: {uuid}")?;
    }
    writeln!(out)?;
    Ok(())
}
