//! targets, target-version, version.

use super::Call;
use crate::error::Fail;
use crate::report::Report;
use crate::session::{Session, Subject};
use libdm::Version;

/// Scripts compare this with the version that brought a feature; it is the one we are like.
const LIBRARY_VERSION: &str = "1.02.185";

pub fn targets(session: &mut Session<'_>, _: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    for target in session.dm()?.targets()? {
        print(session, &target.name, target.version)?;
    }
    Ok(())
}

pub fn target_version(
    session: &mut Session<'_>,
    call: &Call<'_>,
    _: &mut Report,
) -> Result<(), Fail> {
    let name = call.word(0).unwrap_or_default();
    let version = session.dm()?.target_version(name);
    let version = version.map_err(|error| Subject::named(name).refused(error))?;
    print(session, name, version)
}

fn print(session: &mut Session<'_>, name: &str, version: Version) -> Result<(), Fail> {
    let [major, minor, patch] = version;
    writeln!(session.out, "{name:<16} v{major}.{minor}.{patch}")?;
    Ok(())
}

pub fn version(session: &mut Session<'_>, _: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let ours = env!("CARGO_PKG_VERSION");
    writeln!(session.out, "Library version:   {LIBRARY_VERSION} (libdm {ours})")?;
    session.out.flush()?;
    let [major, minor, patch] = session.dm()?.version()?;
    writeln!(session.out, "Driver version:    {major}.{minor}.{patch}")?;
    Ok(())
}
