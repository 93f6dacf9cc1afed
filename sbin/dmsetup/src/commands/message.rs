//! message: words for the target that maps a sector.

use super::Call;
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::Session;
use libdm::Sector;
use zeroize::Zeroizing;

pub fn message(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let by_option = session.has(Opt::Uuid) || session.has(Opt::Major);
    let (device, rest) = match (call.words.split_first(), by_option) {
        (Some((device, rest)), false) => (Some(device.as_str()), rest),
        _ => (None, call.words),
    };
    let subject = session.subject(device)?;
    let dm = session.dm()?;
    let wrong = || Fail::Because("Invalid sector.".into());
    let (sector, text) = rest.split_first().ok_or_else(wrong)?;
    let sector = sector.parse().map_err(|_| wrong())?;
    if text.is_empty() {
        return Err(Fail::Because("No message supplied.".into()));
    }
    let text = Zeroizing::new(text.join(" "));
    let answer = dm.message(&subject.device, Sector(sector), &text);
    if let Some(answer) = answer.map_err(|error| subject.refused(error))? {
        let end = if answer.is_empty() || answer.ends_with('\n') { "" } else { "\n" };
        write!(session.out, "{answer}{end}")?;
    }
    Ok(())
}
