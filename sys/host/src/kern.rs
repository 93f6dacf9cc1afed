//! The seam of crate `dm` on std Rust.
//!
//! `seam` holds the functions that the driver is linked with; the other modules are what they
//! stand on. All but a few `unsafe` of this crate is here, behind safe faces: [`Running`] for
//! transfers, [`cancel`] for waits that a client may end, [`cell`] and [`context`] for tests.

mod bounce;
pub mod cancel;
pub mod cell;
pub mod choice;
pub mod context;
mod ioctl;
mod lock;
mod running;
mod seam;
mod uring;

pub use bounce::Bounce;
pub(crate) use ioctl::block_discard;
pub use running::Running;
pub(crate) use uring::Uring;
