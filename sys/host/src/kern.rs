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

mod lock;
mod running;
mod seam;
mod system;
mod uring;

pub use bounce::Bounce;
pub use running::Running;
pub(crate) use system::block_discard;
pub use system::inherited;
pub(crate) use uring::Uring;
