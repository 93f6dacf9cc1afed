//! Systems on which mapped devices are not shown as files.

use crate::front::Registry;
use dm::driver::Driver;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

/// There is none.
#[derive(Debug)]
pub struct Fuse(Infallible);

impl Fuse {
    /// Shows nothing.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &Path, _: &Arc<Driver>, _: &Arc<Registry>) -> Result<Self, String> {
        Err("no files: FUSE is used on Linux only".to_owned())
    }
}
