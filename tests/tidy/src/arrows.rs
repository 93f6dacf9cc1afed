//! Who may depend on whom: crates by their manifests, targets by their paths.

use crate::Finding;
use crate::code::find_word;
use crate::tree::{File, Tree};

/// A crate of ours, and what it may depend on in the product (tests may use more).
struct Arrow {
    manifest: &'static str,
    ours: &'static [&'static str],
    /// Crates of others; none means any, because only the driver's side is counted.
    others: Option<&'static [&'static str]>,
}

const OURS: &[&str] =
    &["dm-protocol", "dm-cipher", "dm", "dm-netbsd", "dm-host", "dm-plist", "libdm", "dmsetup"];
const IN_KERNEL: Option<&[&str]> = Some(&["bitflags", "zeroize"]);
const IN_CIPHER: Option<&[&str]> = Some(&[
    "aes",
    "camellia",
    "chacha20",
    "cipher",
    "md-5",
    "poly1305",
    "ripemd",
    "serpent",
    "sha1",
    "sha2",
    "whirlpool",
    "zeroize",
]);

const ARROWS: &[Arrow] = &[
    Arrow { manifest: "sys/dev/dm/protocol/Cargo.toml", ours: &[], others: IN_KERNEL },
    Arrow { manifest: "sys/dev/dm/cipher/Cargo.toml", ours: &[], others: IN_CIPHER },
    Arrow {
        manifest: "sys/dev/dm/Cargo.toml",
        ours: &["dm-protocol", "dm-cipher"],
        others: IN_KERNEL,
    },
    Arrow {
        manifest: "sys/dev/dm/netbsd/Cargo.toml",
        ours: &["dm", "dm-protocol", "dm-cipher"],
        others: IN_KERNEL,
    },
    Arrow {
        manifest: "sys/host/Cargo.toml",
        ours: &["dm", "dm-protocol", "dm-plist"],
        others: None,
    },
    Arrow { manifest: "lib/plist/Cargo.toml", ours: &["dm-protocol"], others: None },
    Arrow { manifest: "lib/libdm/Cargo.toml", ours: &["dm-protocol", "dm-plist"], others: None },
    Arrow { manifest: "sbin/dm-replay-log/Cargo.toml", ours: &["dm-protocol"], others: None },
    Arrow { manifest: "sbin/dmsetup/Cargo.toml", ours: &["dm-protocol", "libdm"], others: None },
];

/// What a target may name of its own crate: the target interface, the services, and of the seam the
/// kinds of transfer and the atomics.
const TARGET_MAY_USE: &[&str] = &[
    "errno",
    "event",
    "kern::disk::Op",
    "kern::sync::atomic",
    "lower",
    "params",
    "services",
    "target",
    "targets",
    "units",
];

/// The crates point in one direction.
pub fn crates(tree: &Tree) -> Vec<Finding> {
    const FIX: &str = "move the code to the side that may know it (ARCHITECTURE.md, dependencies)";
    let mut findings = Vec::new();
    for arrow in ARROWS {
        let Some(manifest) = tree.file(arrow.manifest) else { continue };
        for name in dependencies(&manifest.text) {
            let allowed = match OURS.contains(&name.as_str()) {
                true => arrow.ours.contains(&name.as_str()),
                false => arrow.others.is_none_or(|others| others.contains(&name.as_str())),
            };
            if !allowed {
                let wrong = format!("may not depend on {name}");
                findings.push(Finding::file(arrow.manifest, wrong, FIX));
            }
        }
    }
    findings
}

/// The names below [dependencies] and [build-dependencies], also of one platform.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside = is_dependencies(table);
            if let Some((parent, name)) = table.rsplit_once('.') {
                names.extend(is_dependencies(parent).then(|| name.to_owned()));
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.']).next().unwrap_or("").trim().trim_matches('"');
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    names
}

fn is_dependencies(table: &str) -> bool {
    ["dependencies", "build-dependencies"].contains(&table.rsplit('.').next().unwrap_or(table))
}

/// A target reaches the target interface and the services, never a lock, a buffer or the kernel.
pub fn targets(tree: &Tree) -> Vec<Finding> {
    const FIX: &str =
        "take it through the target interface; a missing service is added to the core";
    let mut findings = Vec::new();
    let files = tree.rust("sys/dev/dm/src/targets/");
    for file in files.filter(|file| !file.path.ends_with("tests.rs")) {
        for (number, path) in own_paths(file) {
            if !TARGET_MAY_USE.iter().any(|allowed| begins_with(&path, allowed)) {
                let wrong = format!("a target may not use crate::{path}");
                findings.push(Finding::line(&file.path, number, wrong, FIX));
            }
        }
    }
    findings
}

fn begins_with(path: &str, allowed: &str) -> bool {
    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The paths after `crate::`, with braces opened up, and the line they begin on.
fn own_paths(file: &File) -> Vec<(usize, String)> {
    let text = file.code.code.join("\n");
    let mut found = Vec::new();
    for at in find_word(&text, "crate") {
        let line = text[..at].matches('\n').count();
        let mut paths = Vec::new();
        open_braces("", &text[at..], &mut paths);
        let own = paths.iter().filter_map(|path| path.strip_prefix("crate::"));
        found.extend(own.map(|path| (line, path.to_owned())));
    }
    found
}

/// Takes one path off `text`, adds its leaves below `parent`, and returns what follows it.
fn open_braces<'a>(parent: &str, text: &'a str, leaves: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    let in_path = |char: char| char.is_alphanumeric() || "_:*".contains(char);
    let end = text.find(|char| !in_path(char)).unwrap_or(text.len());
    let path = format!("{parent}{}", &text[..end]);
    let Some(mut list) = text[end..].strip_prefix('{').filter(|_| path.ends_with("::")) else {
        leaves.push(path);
        return &text[end..];
    };
    while !list.trim_start().starts_with('}') {
        let after = open_braces(&path, list, leaves);
        match after.find([',', '}']) {
            Some(stop) => list = after[stop..].strip_prefix(',').unwrap_or(&after[stop..]),
            None => return "",
        }
    }
    &list.trim_start()[1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_every_form_of_table() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nc = \"1\"\n\
                        [target.'cfg(unix)'.dependencies]\nd = { path = \"x\" }\n\
                        [dependencies.e]\nversion = \"1\"\n[dev-dependencies]\nf = \"1\"\n";
        assert_eq!(dependencies(manifest), ["b", "c", "d", "e"]);
    }

    #[test]
    fn a_driver_that_knows_the_host_is_found() {
        let tree = Tree::of(&[("sys/dev/dm/Cargo.toml", "[dependencies]\ndm-host = \"1\"\n")]);
        assert_eq!(crates(&tree).len(), 1);
    }

    #[test]
    fn a_target_that_reaches_for_a_lock_is_found_in_any_form_of_use() {
        let text = "use crate::{target::Target as T, kern::{disk::Op, lock::Lock}, units::A};\n\
                    fn a() { crate::io::b() }";
        let tree = Tree::of(&[("sys/dev/dm/src/targets/zero.rs", text)]);
        let places: Vec<String> = targets(&tree).into_iter().map(|found| found.wrong).collect();
        let wrong = ["a target may not use crate::kern::lock::Lock"];
        assert_eq!(places[..1], wrong);
        assert_eq!(places[1..], ["a target may not use crate::io::b"]);
    }
}
