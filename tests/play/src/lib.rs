//! Cases: what is asked of a device mapper and what it prints, the same on every side.
//!
//! [`case`] reads their files, [`play`] runs them on a [`Side`](play::Side), [`pattern`] is what
//! they write and recognise, [`images`] are disks that a Linux kernel left behind. The program
//! of this crate is the side of a Linux kernel; it runs inside a guest.
#![forbid(unsafe_code)]

pub mod case;
pub mod exchange;
pub mod images;
pub mod linux;
pub mod pattern;
pub mod play;
