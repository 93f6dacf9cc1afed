//! snapshot, snapshot-origin and snapshot-merge.

#[path = "snapshot/basic.rs"]
mod basic;
#[path = "snapshot/pattern.rs"]
mod pattern;
