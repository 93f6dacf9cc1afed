//! The driver's own files, with shuttle's atomic types in place of the processor's, so that
//! every atomic operation is a point where another thread may go on.

include!(concat!(env!("OUT_DIR"), "/dm/lib.rs"));
