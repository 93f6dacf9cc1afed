//! The fields: one table, from which they are found, computed and explained.

use super::{Row, Value};
use crate::tree::{block_name, device_name};
use libdm::{Dependency, Info, mangle};
use std::io::{self, Write};

/// What a field is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Names of a device.
    Name,
    /// State of a device.
    Info,
    /// Devices below.
    Deps,
    /// Mapped devices below and above.
    Tree,
    /// Parts of an LVM volume's name.
    Split,
    /// The selection itself.
    Special,
}

impl Section {
    /// What `all` stands for in reports of devices.
    pub const OF_DEVICES: &[Self] = &[Self::Name, Self::Info, Self::Deps, Self::Tree, Self::Split];

    const LISTED: [(Self, &'static str, &'static str); 4] = [
        (Self::Name, "name_", "Mapped Device Name"),
        (Self::Info, "info_", "Mapped Device Information"),
        (Self::Deps, "deps_", "Mapped Device Relationship Information"),
        (Self::Split, "splitname_", "Mapped Device Name Components"),
    ];

    /// The heading under which it is listed.
    fn listed(self) -> Self {
        if self == Self::Tree { Self::Deps } else { self }
    }
}

/// A row of the table.
#[derive(Debug)]
pub struct Field {
    pub section: Section,
    /// Numbers are aligned to the right.
    pub is_number: bool,
    pub heading: &'static str,
    pub width: usize,
    pub id: &'static str,
    pub help: &'static str,
    /// `None` when a row has nothing of the kind.
    pub value: fn(&Row) -> Option<Value>,
}

macro_rules! fields {
    ($($section:ident $kind:ident $heading:literal $width:literal $id:literal
        $help:literal, $value:expr;)*) => {
        /// Every field, in the order of the help.
        pub const ALL: &[Field] = &[$(Field {
            section: Section::$section,
            is_number: fields!(@ $kind),
            heading: $heading,
            width: $width,
            id: $id,
            help: $help,
            value: $value,
        },)*];
    };
    (@ number) => { true };
    (@ text) => { false };
}

fields! {
    Name text "Name" 16 "name" "Name of mapped device.", |row| on(row, |_| row.name.clone());
    Name text "MangledName" 16 "mangled_name" "Mangled name of mapped device.",
        |row| on(row, |info| mangled(&info.name));
    Name text "UnmangledName" 16 "unmangled_name" "Unmangled name of mapped device.",
        |row| on(row, |info| mangle::unmangle(&info.name));
    Name text "UUID" 32 "uuid" "Unique (optional) identifier for mapped device.",
        |row| on(row, |_| row.uuid.clone());
    Name text "MangledUUID" 32 "mangled_uuid"
        "Mangled unique (optional) identifier for mapped device.",
        |row| on(row, |info| mangled(&info.uuid));
    Name text "UnmangledUUID" 32 "unmangled_uuid"
        "Unmangled unique (optional) identifier for mapped device.",
        |row| on(row, |info| mangle::unmangle(&info.uuid));
    Name number "RAhead" 6 "read_ahead" "Read ahead value.", |row| count(row, |_| 0);

    Info text "BlkDevName" 16 "blkdevname" "Name of block device.",
        |row| on(row, |info| block_name(info.devno));
    Info text "Stat" 4 "attr"
        "(L)ive, (I)nactive, (s)uspended, (r)ead-only, read-(w)rite.", |row| on(row, attributes);
    Info text "Tables" 6 "tables_loaded"
        "Which of the live and inactive table slots are filled.", |row| on(row, tables);
    Info text "Suspended" 9 "suspended" "Whether the device is suspended.",
        |row| on(row, |info| choose(info.suspended, "Suspended", "Active"));
    Info text "Read-only" 9 "readonly" "Whether the device is read-only or writeable.",
        |row| on(row, |info| choose(info.readonly, "Read-only", "Writeable"));
    Info text "DevNo" 5 "devno" "Device major and minor numbers",
        |row| on(row, |info| info.devno.to_string());
    Info number "Maj" 3 "major" "Block device major number.",
        |row| count(row, |info| info.devno.major);
    Info number "Min" 3 "minor" "Block device minor number.",
        |row| count(row, |info| info.devno.minor);
    Info number "Open" 4 "open" "Number of references to open device, if requested.",
        |row| count(row, |info| info.open_count);
    Info number "Targ" 4 "segments" "Number of segments in live table, if present.",
        |row| count(row, |info| info.target_count);
    Info number "Event" 6 "events" "Number of most recent event.",
        |row| count(row, |info| info.event_nr);

    Deps number "#Devs" 5 "device_count" "Number of devices used by this one.",
        |row| count(row, |_| u32::try_from(row.deps.len()).unwrap_or(u32::MAX));
    Tree text "DevNamesUsed" 16 "devs_used" "List of names of mapped devices used by this one.",
        |row| related(row, |graph, at| graph.names(graph.below(at)));
    Deps text "DevNosUsed" 16 "devnos_used" "List of device numbers of devices used by this one.",
        |row| on(row, |_| join(row, |dep, _| dep.devno.to_string()));
    Deps text "BlkDevNamesUsed" 16 "blkdevs_used"
        "List of names of block devices used by this one.",
        |row| on(row, |_| join(row, device_name));
    Tree number "#Refs" 5 "device_ref_count" "Number of mapped devices referencing this one.",
        |row| references(row);
    Tree text "RefNames" 8 "names_using_dev" "List of names of mapped devices using this one.",
        |row| related(row, |graph, at| graph.names(graph.above(at)));
    Tree text "RefDevNos" 9 "devnos_using_dev"
        "List of device numbers of mapped devices using this one.",
        |row| related(row, |graph, at| graph.numbers(graph.above(at)));

    Split text "Subsys" 6 "subsystem" "Userspace subsystem responsible for this device.",
        |row| row.split.as_ref().map(|split| Value::Text(split.subsystem.clone()));
    Split text "VG" 4 "vg_name" "LVM Volume Group name.",
        |row| row.split.as_ref().map(|split| Value::Text(split.volume_group.clone()));
    Split text "LV" 4 "lv_name" "LVM Logical Volume name.",
        |row| row.split.as_ref().map(|split| Value::Text(split.volume.clone()));
    Split text "LVLayer" 7 "lv_layer" "LVM device layer.",
        |row| row.split.as_ref().map(|split| Value::Text(split.layer.clone()));

    Special number "Selected" 8 "selected" "Set if item passes selection criteria.",
        |row| Some(Value::Number(row.selected.into()));
}

fn on(row: &Row, text: impl Fn(&Info) -> String) -> Option<Value> {
    row.info.as_ref().map(|info| Value::Text(text(info)))
}

fn count(row: &Row, number: impl Fn(&Info) -> u32) -> Option<Value> {
    row.info.as_ref().map(|info| Value::Number(number(info).into()))
}

fn choose(which: bool, yes: &str, no: &str) -> String {
    if which { yes.into() } else { no.into() }
}

/// A name that is half mangled stays as it is.
fn mangled(name: &str) -> String {
    mangle::mangle(name, mangle::Mode::Auto).unwrap_or_else(|_| name.into())
}

fn attributes(info: &Info) -> String {
    let flag = |set, letter| if set { letter } else { '-' };
    let access = if info.readonly { 'r' } else { 'w' };
    [flag(info.live_table, 'L'), flag(info.inactive_table, 'I'), flag(info.suspended, 's'), access]
        .iter()
        .collect()
}

fn tables(info: &Info) -> String {
    let tables = match (info.live_table, info.inactive_table) {
        (true, true) => "Both",
        (true, false) => "Live",
        (false, true) => "Inactive",
        (false, false) => "None",
    };
    tables.into()
}

fn join(row: &Row, text: impl Fn(&Dependency, u32) -> String) -> String {
    let major = row.info.as_ref().map_or(0, |info| info.devno.major);
    row.deps.iter().map(|dep| text(dep, major)).collect::<Vec<_>>().join(",")
}

fn related(row: &Row, text: fn(&crate::tree::Graph, usize) -> String) -> Option<Value> {
    let (graph, info) = (row.graph.as_ref()?, row.info.as_ref()?);
    let text = graph.find(info.devno).map(|at| text(graph, at)).unwrap_or_default();
    Some(Value::Text(text))
}

fn references(row: &Row) -> Option<Value> {
    let (graph, info) = (row.graph.as_ref()?, row.info.as_ref()?);
    let count = graph.find(info.devno).map_or(0, |at| graph.above(at).len());
    Some(Value::Number(count as u64))
}

/// What a name in `-o` or `-O` means.
pub enum Found {
    Fields(Vec<&'static Field>),
    Help,
    Nothing,
}

/// Finds fields by name; case and underscores do not count. `all` is what `all` stands for.
pub fn find(id: &str, all: &[Section]) -> Found {
    if matches!(id, "help" | "?") {
        return Found::Help;
    }
    let id = canonical(id);
    let of = |sections: &[Section]| {
        Found::Fields(ALL.iter().filter(|field| sections.contains(&field.section)).collect())
    };
    if id == "all" {
        return of(all);
    }
    let prefix = id.strip_suffix("all").unwrap_or_default();
    match Section::LISTED.iter().find(|(_, known, _)| canonical(known) == prefix) {
        Some((section, ..)) => return of(&[*section]),
        // Listed with the relations, but asked for by itself.
        None if prefix == "tree" => return of(&[Section::Tree]),
        None => {}
    }
    match ALL.iter().find(|field| canonical(field.id) == id) {
        Some(field) => Found::Fields(vec![field]),
        None => Found::Nothing,
    }
}

fn canonical(id: &str) -> String {
    id.chars().filter(|&c| c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// Prints every field with what it means.
pub fn print(out: &mut dyn Write) -> io::Result<()> {
    print_with(out, true, |_| "")
}

/// Prints every field with what it means and its type.
pub fn print_types(out: &mut dyn Write) -> io::Result<()> {
    print_with(out, false, |field| if field.is_number { " [number]" } else { " [string]" })
}

fn print_with(
    out: &mut dyn Write,
    with_all: bool,
    kind: fn(&Field) -> &'static str,
) -> io::Result<()> {
    for (section, prefix, heading) in Section::LISTED {
        let heading = format!("{heading} Fields");
        writeln!(out, "{heading}\n{}", "-".repeat(heading.len()))?;
        if with_all {
            line(out, &format!("{prefix}all"), "All fields in this section.", "")?;
        }
        for field in ALL.iter().filter(|field| field.section.listed() == section) {
            line(out, field.id, field.help, kind(field))?;
        }
        writeln!(out, " ")?;
    }
    writeln!(out, "Special Fields\n--------------")?;
    for field in ALL.iter().filter(|field| field.section == Section::Special) {
        line(out, field.id, field.help, kind(field))?;
    }
    let kind = if with_all { "" } else { " [unselectable number]" };
    line(out, "help", "Show help.", kind)?;
    line(out, "?", "Show help.", kind)?;
    writeln!(out, " ")
}

fn line(out: &mut dyn Write, id: &str, help: &str, kind: &str) -> io::Result<()> {
    writeln!(out, "  {id:<21} - {help}{kind}")
}
