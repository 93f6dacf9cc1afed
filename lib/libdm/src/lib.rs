//! Typed client of the device mapper.
//!
//! [`Dm`] speaks to a driver: NetBSD's kernel through `/dev/mapper/control`, or a `dmhost` process
//! through the socket of that name in its own directory. [`Dm::open`] finds out which. There is
//! one method for every command; what goes wrong is an [`Error`], which carries the driver's error
//! number and its sentence.
//!
//! Everything is counted in sectors of 512 bytes, see [`Sector`] and [`Sectors`].
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/mod.rs"));
//! use libdm::{Device, Dm, Load, NewDevice, SegmentSpec};
//!
//! # fn main() -> Result<(), libdm::Error> {
//! # let dm = Dm::new(Model::default());
//! # #[cfg(any())]
//! let dm = Dm::open()?;
//! dm.create(&NewDevice::named("vol0")?)?;
//! let vol0 = Device::from("vol0");
//! let table = [SegmentSpec::new(0, 2048, "zero", "")];
//! dm.reload(&vol0, &table, Load::default())?;
//! let info = dm.resume(&vol0, Default::default())?;
//! assert!(info.live_table && !info.suspended);
//! assert_eq!(dm.table(&vol0, Default::default())?.segments[0].target, "zero");
//! # Ok(())
//! # }
//! ```
//!
//! # Secrets
//!
//! A table may hold the key of a cipher. No dictionary ever touches a file, and each text and
//! dictionary that passed through this library is overwritten before its memory is given back,
//! whether [`Load::secure`] is set or not; that flag asks the driver to do the same. What a method
//! returns belongs to the caller, who wipes it.
#![deny(unsafe_code)]

mod control;
#[cfg(target_os = "netbsd")]
#[expect(unsafe_code, reason = "the ioctl, the memory it maps for the reply, and sysctl")]
mod control_ioctl;
mod control_socket;
mod dm;
mod error;
pub mod mangle;
mod types;

pub use control::{Channel, Control, dev_dir};
pub use dm::Dm;
pub use dm_protocol::{
    Command, Dependency, DevNo, DeviceName, Dict, Errno, Failure, Flags, Geometry, NAME_MAX,
    SECTOR_SIZE, Sector, Sectors, SegmentSpec, SegmentStatus, TargetVersion, UUID_MAX, Uuid,
    Version,
};
pub use error::{Error, Result};
pub use types::{Deps, Device, Entry, Info, Load, NewDevice, Query, Removal, Segments, Transition};
