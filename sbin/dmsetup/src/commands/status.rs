//! status, table: what a device's segments are and how they fare; also `ls --target` and `--exec`.

use super::{Call, explain_missing, for_named_or_all, ls};
use crate::concise::Entry;
use crate::error::{Fail, reason};
use crate::options::Opt;
use crate::report::Report;
use crate::session::{Session, Subject};
use libdm::{Info, Query, SegmentStatus};
use std::fmt::Write as _;
use std::process;
use zeroize::Zeroizing;

pub fn status(session: &mut Session<'_>, call: &Call<'_>, _: &mut Report) -> Result<(), Fail> {
    let result = for_named_or_all(session, call, |session, subject, call| {
        let query = session.query();
        let answer = session.dm()?.status(&subject.device, query);
        let answer = answer.map_err(|error| subject.refused(error))?;
        show(session, call, &answer.info, answer.segments)
    });
    explain_missing(session, result)
}

pub fn table(session: &mut Session<'_>, call: &Call<'_>, report: &mut Report) -> Result<(), Fail> {
    for_named_or_all(session, call, |session, subject, call| {
        let (info, segments) = table_of(session, subject)?;
        if !session.has(Opt::Concise) {
            return show(session, call, &info, segments);
        }
        if segments.iter().any(|segment| is_wanted(session, segment)) || segments.is_empty() {
            report.add_concise(Entry {
                name: session.shown(&info.name),
                uuid: session.shown(&info.uuid),
                minor: Some(info.devno.minor),
                readonly: info.readonly,
                table: segments.iter().map(line).collect(),
            });
        }
        Ok(())
    })
}

fn table_of(
    session: &mut Session<'_>,
    subject: &Subject,
) -> Result<(Info, Vec<SegmentStatus>), Fail> {
    let query = Query { secure: true, ..session.query() };
    let answer = session.dm()?.table(&subject.device, query);
    let mut answer = answer.map_err(|error| subject.refused(error))?;
    if !session.has(Opt::ShowKeys) {
        answer.segments.iter_mut().for_each(hide_key);
    }
    Ok((answer.info, answer.segments))
}

fn is_wanted(session: &Session<'_>, segment: &SegmentStatus) -> bool {
    session.options.text(Opt::Target).is_none_or(|target| segment.target == target)
}

fn line(segment: &SegmentStatus) -> Zeroizing<String> {
    let SegmentStatus { start, length, target, params } = segment;
    // Two numbers have at most twenty digits each.
    let mut line = String::with_capacity(43 + target.len() + params.len());
    // Writing to memory does not fail.
    let _ = write!(line, "{start} {length} {target} {}", params.as_str());
    line.into()
}

fn show(
    session: &mut Session<'_>,
    call: &Call<'_>,
    info: &Info,
    mut segments: Vec<SegmentStatus>,
) -> Result<(), Fail> {
    let filtered = session.has(Opt::Target);
    let empty = segments.is_empty();
    segments.retain(|segment| is_wanted(session, segment));
    if filtered && segments.is_empty() {
        return Ok(());
    }
    if call.name == "ls" {
        return listed(session, info);
    }
    let verbose = session.has(Opt::Verbose);
    if verbose {
        super::info::print_long(session, info)?;
    }
    let name = call.word(0).map_or_else(|| session.shown(&info.name), String::from);
    let prefix = if call.multiple && !verbose { format!("{name}: ") } else { String::new() };
    for segment in &segments {
        writeln!(session.out, "{prefix}{}", line(segment).as_str())?;
    }
    // A device without table has one empty line.
    if empty {
        writeln!(session.out, "{prefix}")?;
    }
    if call.multiple && verbose {
        writeln!(session.out)?;
    }
    Ok(())
}

/// A device that `ls --target` or `ls --exec` found.
fn listed(session: &mut Session<'_>, info: &Info) -> Result<(), Fail> {
    let Some(command) = session.options.text(Opt::Exec).map(String::from) else {
        return ls::print_found(session, &info.name, info.devno);
    };
    session.out.flush()?;
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| Fail::Because("No command to execute".into()))?;
    let node = session.dev_dir.join("mapper").join(&info.name);
    // How the command ends is between it and the user.
    let started = process::Command::new(program).args(words).arg(node).status();
    started.map(drop).map_err(|error| Fail::Because(format!("{program}: {}", reason(&error))))
}

/// Writes zeros over keys. A key that is only named, with `:`, is none.
fn hide_key(segment: &mut SegmentStatus) {
    let zeros = |text: &str| "0".repeat(text.len());
    let hidden = |(nr, word): (usize, &str)| match (segment.target.as_str(), nr) {
        ("crypt", 1) if !word.starts_with(':') => zeros(word),
        ("integrity", _) => match word.splitn(3, ':').collect::<Vec<_>>().as_slice() {
            [option @ ("internal_hash" | "journal_crypt" | "journal_mac"), cipher, key] => {
                format!("{option}:{cipher}:{}", zeros(key))
            }
            _ => word.into(),
        },
        _ => word.into(),
    };
    let words: Vec<String> = segment.params.split(' ').enumerate().map(hidden).collect();
    segment.params = words.join(" ").into();
}
