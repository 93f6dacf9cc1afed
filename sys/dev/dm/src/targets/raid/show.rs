//! A raid as tables and statuses show it.

use super::args::{Args, Format, Level};
use crate::lower::Lower;
use crate::targets::copies::{Action, Core, Standing, bit};
use alloc::string::String;
use core::fmt::{self, Write};

/// Writes the parameters as a table has them, in Linux's order.
pub fn table(args: &Args, out: &mut dyn Write) -> fmt::Result {
    let mut words = String::new();
    let mut count = 1_usize;
    {
        let mut put = |name: &str, value: Option<u64>| {
            count = count.saturating_add(1 + usize::from(value.is_some()));
            match value {
                Some(value) => write!(words, " {name} {value}"),
                None => write!(words, " {name}"),
            }
        };
        match args.sync {
            None => {}
            Some(true) => put("sync", None)?,
            Some(false) => put("nosync", None)?,
        }
        let numbers = |set: u64| (0..64).filter(move |number| set & bit(*number as usize) != 0);
        for number in numbers(args.rebuild) {
            put("rebuild", Some(number))?;
        }
        for (name, value) in [
            ("daemon_sleep", args.daemon_sleep_ms),
            ("min_recovery_rate", args.least_rate),
            ("max_recovery_rate", args.most_rate),
        ] {
            if value.is_some() {
                put(name, value)?;
            }
        }
        for number in numbers(args.write_mostly) {
            put("write_mostly", Some(number))?;
        }
        let region = args.region.map(|_| args.region_sectors);
        for (name, value) in [
            ("max_write_behind", args.write_behind),
            ("region_size", region),
            ("raid10_copies", args.copies),
        ] {
            if value.is_some() {
                put(name, value)?;
            }
        }
    }
    if let Some(format) = args.format {
        let name = match format {
            Format::Near => "near",
            Format::Far => "far",
            Format::Offset => "offset",
        };
        count = count.saturating_add(2);
        write!(words, " raid10_format {name}")?;
    }
    if args.no_offset {
        count = count.saturating_add(2);
        words.push_str(" data_offset 0");
    }
    if args.near_sets {
        count = count.saturating_add(1);
        words.push_str(" raid10_use_near_sets");
    }
    write!(out, "{} {count} {}{words} {}", args.name, args.chunk, args.devices.len())?;
    for device in &args.devices {
        for lower in [&device.meta, &device.data] {
            write_device(lower.as_ref(), out)?;
        }
    }
    Ok(())
}

fn write_device(lower: Option<&Lower>, out: &mut dyn Write) -> fmt::Result {
    match lower {
        Some(lower) => write!(out, " {lower}"),
        None => out.write_str(" -"),
    }
}

/// The type as a status names it.
pub fn kind(args: &Args) -> &'static str {
    match (args.level, args.shown_format()) {
        (Level::Raid0, _) => "raid0",
        (Level::Raid1, _) => "raid1",
        (Level::Raid10, Format::Near) => "raid10",
        (Level::Raid10, Format::Far) => "raid10_far",
        (Level::Raid10, Format::Offset) => "raid10_offset",
    }
}

/// What is being done.
pub fn action(action: Option<Action>, frozen: bool) -> &'static str {
    match action {
        Some(Action::Resync) => "resync",
        Some(Action::Recover) => "recover",
        Some(Action::Check) => "check",
        Some(Action::Repair) => "repair",
        None if frozen => "frozen",
        None => "idle",
    }
}

/// Writes the state.
pub fn status(args: &Args, core: &Core, out: &mut dyn Write) -> fmt::Result {
    let progress = core.progress();
    let (running, loaded) = core.is_used();
    let frozen = progress.frozen || (loaded && !running);
    write!(out, "{} {} ", kind(args), core.members.len())?;
    for member in &core.members {
        let syncs = progress.action == Some(Action::Resync);
        out.write_char(match member.standing() {
            Standing::Missing => '-',
            Standing::Dead => 'D',
            Standing::Returning => 'a',
            Standing::Live if syncs => 'a',
            Standing::Live => 'A',
        })?;
    }
    let unfinished = progress.action.is_some() || progress.stopped || (loaded && !running);
    let position = if unfinished { progress.position.min(args.length) } else { args.length };
    let what = action(progress.action, frozen);
    let mismatches = match progress.last {
        Some(Action::Check) => progress.mismatches,
        _ => 0,
    };
    write!(out, " {position}/{} {what} {mismatches} 0 -", args.length)
}
