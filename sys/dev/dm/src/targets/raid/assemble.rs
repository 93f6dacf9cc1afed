//! What the superblocks of a set say: who is up to date, and what has to be copied.

use super::superblock::{NOWHERE, Superblock};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dm_protocol::{Errno, Failure};

/// What a table wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub level: u32,
    pub layout: u32,
    pub chunk: u32,
    pub members: u32,
    /// Sectors of a member.
    pub each: u64,
    pub length: u64,
    /// Members to be rebuilt, by bit.
    pub rebuild: u64,
    pub sync: Option<bool>,
    /// Members may come, go, and change places.
    pub loose: bool,
    /// Where copies lie depends on the size.
    pub rigid: bool,
}

impl Wanted {
    /// The first superblock of a member: a draft, and nothing has failed or lags behind.
    pub const fn superblock(&self, position: u32) -> Superblock {
        let Self { level, layout, chunk, members, each, length, .. } = *self;
        Superblock {
            extended: true,
            unknown: (0, 0),
            members,
            position,
            events: 0,
            failed: [0; 4],
            recovered: NOWHERE,
            synced: NOWHERE,
            level,
            layout,
            chunk,
            flags: 0,
            reshape: NOWHERE,
            new_level: level,
            new_layout: layout,
            new_chunk: chunk,
            delta: 0,
            array_sectors: length,
            data_offset: 0,
            new_data_offset: 0,
            sectors: each,
        }
    }
}

/// What was found for a member.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// The table has no device.
    Missing,
    /// Its metadata cannot be read.
    Unreadable,
    /// There is no superblock.
    Empty,
    /// This one.
    Block(Superblock),
}

impl Seen {
    /// Is it a superblock that counts only beside those of the others?
    pub fn is_draft(&self) -> bool {
        matches!(self, Self::Block(block) if block.is_draft())
    }
}

/// How a member begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Missing,
    /// Out of use.
    Dead,
    /// Up to date.
    Live,
    /// It comes back, and lacks what the bitmap says; it was last in use at these events.
    Back {
        events: u64,
    },
    /// It lacks everything from this sector of it on.
    New {
        from: u64,
    },
}

/// What has to become equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// Nothing.
    None,
    /// What the bitmap says.
    Marked,
    /// That, and all from a sector on.
    From(u64),
}

/// A set that can be used.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// No superblock tells of it.
    pub fresh: bool,
    pub events: u64,
    pub begins: Vec<Begin>,
    pub resync: Resync,
    /// The member that knows most.
    pub freshest: Option<usize>,
    /// Sectors that the set had.
    pub old_length: u64,
}

/// Puts a set together.
///
/// # Errors
/// EINVAL with a sentence: the table wants another set, or no member is up to date.
pub fn assemble(wanted: &Wanted, seen: &[Seen]) -> Result<Assembly, Failure> {
    let rebuilt = |member: usize| wanted.rebuild.checked_shr(member as u32).unwrap_or(0) & 1 == 1;
    let block = |member: usize| match seen.get(member) {
        Some(Seen::Block(block)) if !rebuilt(member) && wanted.sync != Some(true) => Some(block),
        _ => None,
    };
    // Of equals the first. Drafts alone are none.
    let good = |member: &usize| block(*member).is_some_and(|block| !block.is_draft());
    let freshest = (0..seen.len()).rev().filter(good);
    let freshest = freshest.max_by_key(|member| block(*member).map(|block| block.events));
    let Some((first, fresh)) = freshest.and_then(|first| Some((first, block(first)?))) else {
        return begin(wanted, seen, rebuilt);
    };
    check(wanted, fresh)?;
    let mut begins = Vec::new();
    for (member, seen) in seen.iter().enumerate() {
        begins.push(match (seen, block(member)) {
            (Seen::Missing, _) => Begin::Missing,
            (Seen::Unreadable, _) if !rebuilt(member) => Begin::Dead,
            (_, Some(block)) => known(wanted, fresh, (member, block), member == first)?,
            (..) if rebuilt(member) => Begin::New { from: 0 },
            (..) => {
                let why =
                    format!("member {member} has no superblock: it is new, and needs rebuild");
                return refuse(why);
            }
        });
    }
    if !begins.contains(&Begin::Live) {
        return refuse("no member is up to date");
    }
    let resync = match (wanted.sync, fresh.synced) {
        (Some(false), _) => Resync::None,
        (_, NOWHERE | 0) => Resync::Marked,
        (_, synced) => Resync::From(synced),
    };
    let old_length = if fresh.extended { fresh.array_sectors } else { wanted.length };
    let (events, freshest) = (fresh.events, Some(first));
    Ok(Assembly { fresh: false, events, begins, resync, freshest, old_length })
}

/// A set that nothing is known of.
fn begin(
    wanted: &Wanted,
    seen: &[Seen],
    rebuilt: impl Fn(usize) -> bool,
) -> Result<Assembly, Failure> {
    let mut begins = Vec::new();
    for (member, seen) in seen.iter().enumerate() {
        begins.push(match seen {
            Seen::Missing => Begin::Missing,
            Seen::Unreadable => {
                return refuse(format!("the superblock of member {member} cannot be read"));
            }
            Seen::Empty | Seen::Block(_) if rebuilt(member) => Begin::New { from: 0 },
            Seen::Empty | Seen::Block(_) => Begin::Live,
        });
    }
    if !begins.contains(&Begin::Live) {
        return refuse("no member is left to rebuild from");
    }
    let resync = if wanted.sync == Some(false) { Resync::None } else { Resync::From(0) };
    let old_length = wanted.length;
    // Whatever is left of an older set is older.
    let events = seen.iter().filter_map(|seen| match seen {
        Seen::Block(block) => Some(block.events),
        _ => None,
    });
    let events = events.max().unwrap_or(0);
    Ok(Assembly { fresh: true, events, begins, resync, freshest: None, old_length })
}

/// How a member with a superblock begins.
fn known(
    wanted: &Wanted,
    fresh: &Superblock,
    (member, block): (usize, &Superblock),
    first: bool,
) -> Result<Begin, Failure> {
    if block.position != member as u32 && !wanted.loose {
        let was = block.position;
        return refuse(format!("member {member} was member {was}, and members cannot change"));
    }
    let kind = |block: &Superblock| (block.level, block.layout, block.chunk);
    if kind(block) != kind(fresh) {
        let (is, other) = (kind(block), kind(fresh));
        return refuse(format!(
            "member {member} is of another set, with level, layout and chunk {is:?}, not {other:?}"
        ));
    }
    // Members in use may not have been told of the last events, each of which was cut short.
    Ok(match block.recovered {
        _ if !first && fresh.is_failed(block.position) => Begin::Back { events: block.events },
        NOWHERE => Begin::Live,
        from => Begin::New { from },
    })
}

/// Is it the set that the table wants?
fn check(wanted: &Wanted, found: &Superblock) -> Result<(), Failure> {
    if found.unknown != (0, 0) {
        let (one, two) = found.unknown;
        return refuse(format!("the superblock has unknown features ({one:#x}, {two:#x})"));
    }
    let reshapes = found.flags & Superblock::RESHAPES != 0
        || found.reshape != NOWHERE
        || found.delta != 0
        || found.data_offset != 0
        || found.new_data_offset != 0;
    if reshapes {
        return refuse("the set is being reshaped, which is not done here");
    }
    let is = (found.level, found.layout, found.chunk);
    if is != (wanted.level, wanted.layout, wanted.chunk) {
        return refuse(format!(
            "the set is of level {}, layout {:#x} and chunks of {}, not of level {}, layout {:#x} \
             and chunks of {}; it is not reshaped here",
            is.0, is.1, is.2, wanted.level, wanted.layout, wanted.chunk
        ));
    }
    if found.members != wanted.members && !wanted.loose {
        let (has, wants) = (found.members, wanted.members);
        return refuse(format!("the set has {has} members, not {wants}; it is not reshaped here"));
    }
    if found.extended && found.sectors != wanted.each && wanted.rigid {
        return refuse("a set of the format far cannot change its size");
    }
    Ok(())
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::new(Errno::EINVAL, why))
}
