//! The target types. Adding one: its file, its line here, its section in dm.4, its test.

mod copies;
mod crypt;
mod delay;
mod dust;
mod error;
mod flakey;
mod linear;
mod log_writes;
mod mirror;
mod multipath;
mod raid;
mod snapshot;
mod striped;
mod switch;
mod unstriped;
mod zero;

use crate::target::TargetType;

/// Every target type.
pub static TARGETS: &[&TargetType] = &[
    &crypt::CRYPT,
    &linear::LINEAR,
    &striped::STRIPED,
    &zero::ZERO,
    &error::ERROR,
    &unstriped::UNSTRIPED,
    &switch::SWITCH,
    &delay::DELAY,
    &flakey::FLAKEY,
    &dust::DUST,
    &mirror::MIRROR,
    &log_writes::LOG_WRITES,
    &multipath::MULTIPATH,
    &raid::RAID,
    &snapshot::SNAPSHOT,
    &snapshot::MERGE,
    &snapshot::ORIGIN,
];
