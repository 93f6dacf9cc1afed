//! The format that holds several devices in one line.
//!
//! `name,uuid,minor,flags,table[,table...][;name,...]`: flags are `ro`, `rw` or empty; a backslash
//! takes `,`, `;` and itself literally. It is what Linux takes as `dm-mod.create=`.

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
    pub table: Vec<String>,
}

/// Writes a list.
#[must_use]
pub fn write(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| {
        let minor = entry.minor.map(|minor| minor.to_string()).unwrap_or_default();
        let flags = if entry.readonly { "ro" } else { "rw" };
        let mut fields = vec![escape(&entry.name), escape(&entry.uuid), minor, flags.into()];
        fields.extend(entry.table.iter().map(|line| escape(line)));
        fields.join(",")
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(";")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, ',' | ';' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
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

/// Entries, each as its fields.
fn split(list: &str) -> Vec<Vec<String>> {
    let mut entries = vec![vec![String::new()]];
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        let character = match character {
            ';' => {
                entries.push(vec![String::new()]);
                continue;
            }
            ',' => {
                if let Some(fields) = entries.last_mut() {
                    fields.push(String::new());
                }
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(field) = entries.last_mut().and_then(|fields| fields.last_mut()) {
            field.push(character);
        }
    }
    entries
}

fn entry(fields: &[String]) -> Result<Entry, String> {
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
    let (name, uuid) = (name.trim_start().into(), uuid.clone());
    Ok(Entry { name, uuid, minor, readonly, table: table.to_vec() })
}

fn too_few(fields: &[String]) -> String {
    let field = |nr: usize| fields.get(nr).map_or("(null)", String::as_str);
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
