//! snapshot, snapshot-merge and snapshot-origin: the state that a device had, kept on another.
//!
//! `snapshot origin cow P|PO|N chunk [features]`, the same for `snapshot-merge`;
//! `snapshot-origin origin`. The formats on the COW device are Linux's.
//!
//! A write to the origin waits until each of its snapshots has copied the chunks that change.
//! What follows in which order is told in `docs/decisions`.

mod commit;
mod exceptions;
mod format;
mod hub;
mod jobs;
mod load;
mod member;
mod merge;
mod origin;
mod reader;
mod slow;
mod store;
mod ticket;
mod view;
mod work;

use crate::params::Params;
use crate::target::{Setup, Target, TargetType};
use alloc::boxed::Box;
use dm_protocol::Failure;

pub(super) static SNAPSHOT: TargetType =
    TargetType { name: "snapshot", version: [1, 16, 0], build: build_snapshot };
pub(super) static MERGE: TargetType =
    TargetType { name: "snapshot-merge", version: [1, 5, 0], build: build_merge };
pub(super) static ORIGIN: TargetType =
    TargetType { name: "snapshot-origin", version: [1, 9, 0], build: build_origin };

type Built = Result<Box<dyn Target>, Failure>;

fn build_snapshot(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Built {
    Ok(Box::new(reader::Snapshot::new(setup, params)?))
}

fn build_merge(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Built {
    Ok(Box::new(origin::Merging::new(setup, params)?))
}

fn build_origin(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Built {
    Ok(Box::new(origin::Origin::new(setup, params)?))
}
