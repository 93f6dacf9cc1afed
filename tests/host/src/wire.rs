//! Dictionaries as unmodified clients send them.

use dm_protocol::{Dict, Value, key};

/// A stock client's request: version 4.0.0, flags with EXISTS, an empty list.
#[must_use]
pub fn stock(command: &str) -> Dict {
    let mut dict = Dict::new();
    dict.set(key::DATA, Vec::new());
    dict.set(key::COMMAND, command);
    dict.set(key::FLAGS, 4_u32);
    dict.set(key::VERSION, [4, 0, 0]);
    dict
}

/// The same about a device.
#[must_use]
pub fn stock_on(command: &str, name: &str) -> Dict {
    let mut dict = stock(command);
    dict.set(key::NAME, name);
    dict
}

/// A stock client's reload; `table` as for [`crate::specs`].
#[must_use]
pub fn stock_reload(name: &str, table: &str) -> Dict {
    let mut dict = stock_on("reload", name);
    let lines = crate::specs(table).into_iter().map(|spec| {
        let mut line = Dict::new();
        line.set(key::LENGTH, spec.length.0);
        line.set(key::PARAMS, spec.params.as_str());
        line.set(key::START, spec.start.0);
        line.set(key::TYPE, spec.target.as_str());
        Value::Dict(line)
    });
    dict.set(key::DATA, lines.collect::<Vec<_>>());
    dict
}

/// A number of a dictionary that must be there.
#[must_use]
pub fn number(dict: &Dict, key: &str) -> u64 {
    dict.number(key, u64::MAX).ok().flatten().unwrap_or_else(|| panic!("{key} is no number"))
}

/// A text of a dictionary that must be there.
#[must_use]
pub fn text(dict: &Dict, key: &str) -> String {
    dict.text(key).ok().flatten().unwrap_or_else(|| panic!("{key} is no text")).to_owned()
}

/// The errno of a reply, 0 for none.
#[must_use]
pub fn errno(dict: &Dict) -> u64 {
    if dict.get(key::ERRNO).is_some() { number(dict, key::ERRNO) } else { 0 }
}

/// Does a reply say that the device exists?
#[must_use]
pub fn exists(dict: &Dict) -> bool {
    number(dict, key::FLAGS) & 4 != 0
}
