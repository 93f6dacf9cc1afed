//! setgeometry: what a disk label tool sees.

use super::Call;
use crate::error::Fail;
use crate::report::Report;
use crate::session::Session;
use libdm::{Command, Errno, Error, Geometry, Sector};

pub fn setgeometry(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let subject = session.subject(call.word(0))?;
    let dm = session.dm()?;
    let number = |nr| call.word(nr).and_then(|word| word.parse::<u64>().ok());
    let small = |nr| number(nr).and_then(|number| u32::try_from(number).ok());
    let geometry = match (small(1), small(2), small(3), number(4)) {
        (Some(cylinders), Some(heads), Some(sectors), Some(start)) => {
            Geometry { cylinders, heads, sectors, start: Sector(start) }
        }
        _ => {
            let failure = Errno::EINVAL.into();
            return Err(subject.refused(Error::Refused { command: Command::SetGeometry, failure }));
        }
    };
    dm.set_geometry(&subject.device, geometry).map_err(|error| subject.refused(error))?;
    Ok(())
}
