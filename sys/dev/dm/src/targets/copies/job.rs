//! A window that is being worked on, and the memory it has.

use super::pass::Piece;
use crate::services::Errand;

/// What a window is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Copies that may differ become equal.
    Copy,
    /// Copies are compared, and become equal if that is asked for.
    Compare { repair: bool },
    /// A copy that could not be read is written again.
    Mend { copy: usize },
}

/// What a window does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Waits until nobody writes there.
    Drains,
    /// Reads the copy that counts.
    Reads,
    /// Reads another, to compare it.
    Compares,
    /// Writes another.
    Writes,
}

/// A window that is being worked on.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub piece: Piece,
    pub purpose: Purpose,
    pub step: Step,
    pub stale: bool,
    /// The copy that counts.
    pub source: usize,
    /// Copies that could not be read, by bit.
    pub tried: u64,
    /// The copy that is compared or written.
    pub copy: usize,
    /// Some copy may still differ afterwards.
    pub failed: bool,
}

/// A window's memory.
pub struct Slot {
    pub one: Option<Errand>,
    pub two: Option<Errand>,
    pub job: Option<Job>,
}
