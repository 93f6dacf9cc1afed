//! The driver core in a process: image files and disks below, programs above.
//!
//! [`kern`] implements the seam of crate `dm` on std Rust. [`front`] says which devices there are
//! to show and [`mapped`] sends requests to them; the front ends are built on these two.
#![deny(unsafe_code)]

pub mod concise;
pub mod control;
pub mod disk;
pub mod errno;
#[cfg(target_os = "linux")]
pub mod exec;
pub mod front;
#[cfg(target_os = "linux")]
pub mod fuse;
#[cfg(not(target_os = "linux"))]
#[path = "no_fuse.rs"]
pub mod fuse;
#[expect(unsafe_code, reason = "the other side of the driver's seam")]
pub mod kern;
#[expect(unsafe_code, reason = "hands requests to the driver and takes them back")]
pub mod mapped;
pub mod nbd;
pub mod paths;
