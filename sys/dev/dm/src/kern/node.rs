//! How mapped devices are shown to programs.

use super::raw;
use dm_protocol::{Failure, Geometry, Sectors};

/// What the platform shows of a device.
#[derive(Clone, Copy, Debug)]
pub struct NodeState<'a> {
    /// The device's name.
    pub name: &'a str,
    /// Its size; zero without a live table.
    pub size: Sectors,
    /// Bytes in one of its sectors, 512 to 65536.
    pub sector_size: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// Discards reach a disk.
    pub discard: bool,
    /// What a client said it looks like, if one did.
    pub geometry: Option<Geometry>,
}

/// Shows a new device.
///
/// # Errors
/// The platform's, with its reason.
pub fn attach(minor: u32, state: &NodeState<'_>) -> Result<(), Failure> {
    raw::dm_kern_node_attach(minor, state)
}

/// Tells of a change of a shown device.
pub fn change(minor: u32, state: &NodeState<'_>) {
    raw::dm_kern_node_change(minor, state);
}

/// Hides a device that nobody has open.
pub fn detach(minor: u32) {
    raw::dm_kern_node_detach(minor);
}

/// The block major number of mapped devices.
#[must_use]
pub fn major() -> u32 {
    raw::dm_kern_major()
}

/// The minor of the mapped device whose node `spec` names.
#[must_use]
pub fn mapped_minor(spec: &str) -> Option<u32> {
    raw::dm_kern_mapped_minor(spec)
}
