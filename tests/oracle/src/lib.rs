//! What a Linux kernel's device mapper does, beside what ours does.
//!
//! [`ours`] plays cases on the driver in this process; [`agree`] says where two sides differ.
//! The program of this crate boots a Linux guest that plays them as well: `./build.sh oracle`.
#![forbid(unsafe_code)]

pub mod agree;
pub mod cases;
pub mod guest;
pub mod ours;
