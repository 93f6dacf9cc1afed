//! The driver's surroundings, made for testing it.
//!
//! [`kern`] defines the functions of the seam; [`disk`] the disks below; [`world`] is what a
//! test talks to: one driver with its disks, which checks at its end that nothing leaked.
//! Nothing is shared between two worlds, so tests run in parallel.

pub mod context;
pub mod disk;
pub mod io;
pub mod kern;
pub mod memory;
pub mod model;
pub mod outage;
pub mod power;
pub mod pump;
pub mod raid;
pub mod random;
pub mod snapshot;
pub mod sync;
pub mod toys;
pub mod wire;
pub mod world;

pub use disk::{Disk, DiskSpec, Mode};
pub use io::{Device, Pending};
pub use random::Random;
pub use world::{SYS, World, specs, until};
