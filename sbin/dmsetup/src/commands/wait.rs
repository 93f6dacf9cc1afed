//! wait: until a device has an event.

use super::Call;
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::Session;
use std::time::Duration;

pub fn wait(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let by_option = session.has(Opt::Uuid) || session.has(Opt::Major);
    let (device, event) = match (call.words, by_option) {
        ([] | [_], true) => (None, call.word(0)),
        _ => (call.word(0), call.word(1)),
    };
    let subject = session.subject(device)?;
    let wrong = |text: &str| Fail::Because(format!("Invalid event number: {text}"));
    let event = event.map(|text| text.parse().map_err(|_| wrong(text))).transpose()?;
    let seconds: Option<u64> = session.options.number(Opt::Timeout).map_err(Fail::Because)?;
    let timeout = seconds.map(Duration::from_secs);
    let dm = session.dm()?;
    let info = dm.wait_event(&subject.device, event.unwrap_or(0), timeout);
    let info = info.map_err(|error| subject.refused(error))?;
    match session.has(Opt::Verbose) {
        true => super::info::print_long(session, &info),
        false => Ok(()),
    }
}
