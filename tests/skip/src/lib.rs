//! How a test says that it cannot run here, so that it is counted as skipped and not as passed.
//!
//! ```
//! # fn lay_out_a_file_system() {}
//! fn mkfs_and_fsck_agree() {
//!     if !dm_skip::have("mkfs.ext4") {
//!         return;
//!     }
//!     lay_out_a_file_system();
//! }
//! # mkfs_and_fsck_agree();
//! ```
#![forbid(unsafe_code)]

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::thread;

/// Says why the calling test cannot run; the test then returns without checking anything.
///
/// One test skips as a whole: a part that may be impossible somewhere is a test of its own.
pub fn skip(reason: &str) {
    let line = format!("{}: {reason}", test_name());
    println!("SKIPPED: {line}");
    if let Some(log) = env::var_os("DM_SKIP_LOG") {
        append(Path::new(&log), &line);
    }
}

/// Is this program installed? If not, the calling test is skipped.
pub fn have(program: &str) -> bool {
    let found = installed(program);
    if !found {
        skip(&format!("there is no {program}"));
    }
    found
}

/// A reason, one line: appended with a single write, so that tests in parallel do not mix.
fn append(log: &Path, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(log).expect("the log opens");
    file.write_all(format!("{line}\n").as_bytes()).expect("the log takes a line");
}

fn test_name() -> String {
    let thread = thread::current().name().map(str::to_owned);
    env::var("NEXTEST_TEST_NAME").ok().or(thread).unwrap_or_else(|| "unnamed test".to_owned())
}

/// Looks where root's programs are, too: a plain user's PATH lacks them.
fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path).chain(["/sbin".into(), "/usr/sbin".into()]);
    folders.any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_installed_and_nonsense_is_not() {
        assert!(installed("sh"));
        assert!(!installed("no-such-program"));
    }

    #[test]
    fn the_name_in_the_line_is_the_tests_own() {
        assert!(test_name().ends_with("the_name_in_the_line_is_the_tests_own"), "{}", test_name());
    }
}
