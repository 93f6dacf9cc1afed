//! The format that holds several devices in one line.
//!
//! `name,uuid,minor,flags,table[,table...][;name,...]`: flags are `ro`, `rw` or empty.
//! [`dm_protocol::line`] says how it is split.

use dm_protocol::line::{Field, escape, split};

/// A device of such a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its uuid; empty for none.
    pub uuid: String,
    /// The minor number it must have.
    pub minor: Option<u32>,
    /// True for `ro`.
    pub readonly: bool,
    /// The lines of its table.
    pub table: Vec<Field>,
}

/// Writes a list.
#[must_use]
pub fn write(entries: &[Entry]) -> Field {
    let entry = |entry: &Entry| {
        let minor = entry.minor.map(|minor| minor.to_string()).unwrap_or_default();
        let flags = if entry.readonly { "ro" } else { "rw" };
        let mut fields = vec![escape(&entry.name), escape(&entry.uuid)];
        fields.extend([minor.into(), flags.to_owned().into()]);
        fields.extend(entry.table.iter().map(|line| escape(line)));
        join(&fields, ",")
    };
    join(&entries.iter().map(entry).collect::<Vec<_>>(), ";")
}

/// One text of several, which leaves nothing behind where it grew.
#[must_use]
pub fn join(parts: &[Field], between: &str) -> Field {
    let length = parts.iter().map(|part| part.len() + between.len()).sum();
    let mut text = Field::new(String::with_capacity(length));
    for (nr, part) in parts.iter().enumerate() {
        text.push_str(if nr == 0 { "" } else { between });
        text.push_str(part);
    }
    text
}

/// Reads a list. White space around it, and an empty last entry, are no matter.
///
/// # Errors
/// The lines to print.
pub fn parse(list: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for fields in split(list.trim()) {
        if fields.iter().all(|field| field.trim().is_empty()) && fields.len() == 1 {
            continue;
        }
        entries.push(entry(&fields)?);
    }
    Ok(entries)
}

fn entry(fields: &[Field]) -> Result<Entry, String> {
    let [name, uuid, minor, flags, table @ ..] = fields else { return Err(too_few(fields)) };
    if table.is_empty() {
        return Err(too_few(fields));
    }
    let minor = match minor.as_str() {
        "" => None,
        minor => Some(minor.parse().map_err(|_| format!("Invalid minor number '{minor}'."))?),
    };
    let readonly = match flags.as_str() {
        "ro" => true,
        "rw" | "" => false,
        flags => {
            return Err(format!(
                "Invalid flags parameter '{flags}' must be 'ro' or 'rw' or empty."
            ));
        }
    };
    let (name, uuid) = (name.trim_start().into(), uuid.to_string());
    Ok(Entry { name, uuid, minor, readonly, table: table.to_vec() })
}

fn too_few(fields: &[Field]) -> String {
    let field = |nr: usize| fields.get(nr).map_or("(null)", |field| field.as_str());
    format!(
        "Five comma-separated fields are required for each device\n\
         Parsed {} fields: name: {} uuid: {} minor: {} flags: {} table: {}",
        fields.len(),
        field(0),
        field(1),
        field(2),
        field(3),
        field(4),
    )
}
