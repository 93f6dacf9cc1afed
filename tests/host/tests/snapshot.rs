//! snapshot, snapshot-origin and snapshot-merge.

#[path = "snapshot/basic.rs"]
mod basic;
#[path = "snapshot/history.rs"]
mod history;
#[path = "snapshot/pattern.rs"]
mod pattern;
#[path = "snapshot/power.rs"]
mod power;
#[path = "snapshot/store.rs"]
mod store;
