//! Disks that a Linux kernel wrote, kept in `tests/oracle/images`, compressed.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The folder.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/images")
}

/// The bytes of an image, by its name without an ending.
///
/// # Panics
/// When there is no such image.
#[must_use]
pub fn load(name: &str) -> Vec<u8> {
    try_load(name).unwrap_or_else(|why| panic!("image {name}: {why}"))
}

/// The bytes of an image.
///
/// # Errors
/// What reading it says.
pub fn try_load(name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(path(name))?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Keeps an image.
///
/// # Errors
/// What writing it says.
pub fn store(name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder())?;
    let mut encoder = GzEncoder::new(fs::File::create(path(name))?, Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish().map(drop)
}

fn path(name: &str) -> PathBuf {
    folder().join(format!("{name}.gz"))
}
