//! load, reload: a table into the inactive slot.

use super::Call;
use crate::error::Fail;
use crate::options::Opt;
use crate::report::Report;
use crate::session::Session;
use crate::table_line::{self, Source};
use libdm::{Load, SegmentSpec};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

pub fn load(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let by_option = session.has(Opt::Uuid) || session.has(Opt::Major);
    let (device, file) = match (call.words, by_option) {
        ([], false) => return Err(Fail::Because("Please specify device.".into())),
        ([] | [_], true) => (None, call.word(0)),
        _ => (call.word(0), call.word(1)),
    };
    let subject = session.subject(device)?;
    let dm = session.dm()?;
    let table = table(session, file)?;
    let how = Load {
        readonly: session.has(Opt::ReadOnly),
        secure: is_secret(&table),
        dry_run: session.has(Opt::DryRun),
    };
    dm.reload(&subject.device, &table, how).map_err(|error| subject.refused(error))?;
    Ok(())
}

/// True when a table holds keys.
pub fn is_secret(table: &[SegmentSpec]) -> bool {
    table.iter().any(|segment| matches!(segment.target.as_str(), "crypt" | "integrity"))
}

/// The table of the command line: from --table, else from a file, else from standard input.
pub fn table(session: &mut Session<'_>, file: Option<&str>) -> Result<Vec<SegmentSpec>, Fail> {
    let given = session.options.text(Opt::Table);
    let named =
        given.filter(|text| !text.contains(char::is_whitespace) && Path::new(text).exists());
    let mut text = Zeroizing::new(String::new());
    let source = match (given, named, file) {
        (Some(table), None, _) => {
            text.push_str(table);
            Source::Argument
        }
        (_, Some(file), _) | (None, None, Some(file)) => {
            let couldnt = |_| Fail::Because(format!("Couldn't open '{file}' for reading."));
            read(&mut File::open(file).map_err(couldnt)?, &mut text)?;
            Source::File(file.into())
        }
        (None, None, None) => {
            text = self::text(session)?;
            Source::Stdin
        }
    };
    table_line::parse(&text, source).map_err(Fail::Because)
}

/// What standard input holds.
pub fn text(session: &mut Session<'_>) -> Result<Zeroizing<String>, Fail> {
    let mut text = Zeroizing::new(String::new());
    read(&mut *session.stdin, &mut text)?;
    Ok(text)
}

/// Reads to the end without leaving pieces of a key in memory that was given back.
fn read(from: &mut dyn Read, into: &mut Zeroizing<String>) -> Result<(), Fail> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 16));
    let mut piece = Zeroizing::new([0; 1 << 12]);
    loop {
        let length = match from.read(&mut *piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fail::Because(format!("Couldn't read the table: {error}"))),
        };
        if bytes.capacity() - bytes.len() < length {
            let mut larger = Zeroizing::new(Vec::with_capacity(bytes.capacity() * 2));
            larger.extend_from_slice(&bytes);
            bytes = larger;
        }
        bytes.extend_from_slice(piece.get(..length).unwrap_or_default());
    }
    let text = str::from_utf8(&bytes).map_err(|_| Fail::Because("The table is not text".into()))?;
    **into = text.into();
    Ok(())
}
