//! snapshot, snapshot-origin and snapshot-merge.

#[path = "snapshot/basic.rs"]
mod basic;
#[path = "snapshot/faults.rs"]
mod faults;
#[path = "snapshot/history.rs"]
mod history;
#[path = "snapshot/images.rs"]
mod images;
#[path = "snapshot/life.rs"]
mod life;
#[path = "snapshot/pattern.rs"]
mod pattern;
#[path = "snapshot/power.rs"]
mod power;
#[path = "snapshot/states.rs"]
mod states;
#[path = "snapshot/store.rs"]
mod store;
#[path = "snapshot/stress.rs"]
mod stress;
