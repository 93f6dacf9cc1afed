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
    &["dm-protocol", "dm", "dm-netbsd", "dm-host", "dm-plist", "libdm", "dmsetup"];
const IN_KERNEL: Option<&[&str]> = Some(&["bitflags", "zeroize"]);

const ARROWS: &[Arrow] = &[
    Arrow { manifest: "sys/dev/dm/protocol/Cargo.toml", ours: &[], others: IN_KERNEL },
    Arrow { manifest: "sys/dev/dm/Cargo.toml", ours: &["dm-protocol"], others: IN_KERNEL },
    Arrow {
        manifest: "sys/dev/dm/netbsd/Cargo.toml",
        ours: &["dm", "dm-protocol"],
        others: IN_KERNEL,
    },
    Arrow {
        manifest: "sys/host/Cargo.toml",
        ours: &["dm", "dm-protocol", "dm-plist"],
        others: None,
    },
    Arrow { manifest: "lib/plist/Cargo.toml", ours: &["dm-protocol"], others: None },
    Arrow { manifest: "lib/libdm/Cargo.toml", ours: &["dm-protocol", "dm-plist"], others: None },
    Arrow { manifest: "sbin/dmsetup/Cargo.toml", ours: &["libdm"], others: None },
];

/// What a target may name of its own crate.
const TARGET_MAY_USE: &[&str] =
    &["target", "targets", "params", "units", "errno", "services", "stats", "event"];

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
    for file in tree.rust("sys/dev/dm/src/targets/").filter(|file| !file.path.ends_with("tests.rs"))
    {
        for (number, name) in own_modules(file) {
            if !TARGET_MAY_USE.contains(&name.as_str()) {
                let wrong = format!("a target may not use crate::{name}");
                findings.push(Finding::line(&file.path, number, wrong, FIX));
            }
        }
    }
    findings
}

/// The first names after `crate::`, with braces opened up.
fn own_modules(file: &File) -> Vec<(usize, String)> {
    let text = file.code.code.join("\n");
    let mut found = Vec::new();
    for at in find_word(&text, "crate") {
        let Some(rest) = text[at + "crate".len()..].trim_start().strip_prefix("::") else {
            continue;
        };
        let line = text[..at].matches('\n').count();
        for name in first_names(rest.trim_start()) {
            found.push((line, name));
        }
    }
    found
}

fn first_names(path: &str) -> Vec<String> {
    let name_at = |text: &str| -> String {
        text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
    };
    let Some(list) = path.strip_prefix('{') else { return vec![name_at(path)] };
    let mut depth = 0usize;
    let mut names = vec![name_at(list.trim_start())];
    for (at, char) in list.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name_at(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
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
        let text =
            "use crate::{target::Target, kern::lock, units::{A, B}};\nfn a() { crate::io::b() }";
        let tree = Tree::of(&[("sys/dev/dm/src/targets/zero.rs", text)]);
        let wrong: Vec<String> = targets(&tree).into_iter().map(|finding| finding.wrong).collect();
        assert_eq!(wrong, ["a target may not use crate::kern", "a target may not use crate::io"]);
    }
}
