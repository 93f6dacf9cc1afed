//! Copies the driver's files, and puts shuttle's atomic types into theirs.

use std::path::Path;
use std::{env, fs, io};

const ATOMIC: &str = "//! Shuttle's atomic types.\n\npub use shuttle::sync::atomic::{\n    \
     AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,\n    \
     Ordering,\n};\n";

fn main() -> io::Result<()> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../sys/dev/dm/src");
    println!("cargo::rerun-if-changed={}", from.display());
    let to = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let to = Path::new(&to).join("dm");
    copy(&from, &to)?;
    fs::write(to.join("kern/atomic.rs"), ATOMIC)?;
    // What an included file may not say: it is not the whole crate.
    let lib = fs::read_to_string(from.join("lib.rs"))?;
    let kept = lib.lines().filter(|line| !line.starts_with("//!") && !line.starts_with("#!"));
    fs::write(to.join("lib.rs"), kept.collect::<Vec<_>>().join("\n"))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
