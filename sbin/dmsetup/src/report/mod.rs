//! What is printed when all devices are known: rows and columns, and concise lists.

pub mod fields;
mod layout;
mod select;

use crate::concise;
use crate::error::Fail;
use crate::options::Opt;
use crate::session::Session;
use crate::tree::Graph;
use fields::{Field, Found, Section};
use layout::Layout;
use libdm::{Dependency, Info};
use select::Selection;
use std::cmp::Ordering;
use std::io::{self, Write};
use std::rc::Rc;

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// What the fields of a row are computed from.
#[derive(Default)]
pub struct Row {
    pub info: Option<Info>,
    /// The name as it is shown.
    pub name: String,
    /// The uuid as it is shown.
    pub uuid: String,
    pub deps: Vec<Dependency>,
    pub graph: Option<Rc<Graph>>,
    pub split: Option<Split>,
    pub selected: bool,
}

/// The parts of an LVM volume's device name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    pub subsystem: String,
    pub volume_group: String,
    pub volume: String,
    pub layer: String,
}

/// A report in the making.
#[derive(Default)]
pub struct Report {
    columns: Vec<&'static Field>,
    sort: Vec<(&'static Field, bool)>,
    selection: Option<Selection>,
    rows: Vec<Row>,
    graph: Option<Rc<Graph>>,
    concise: Vec<concise::Entry>,
    active: bool,
    help: bool,
}

const INFO_FIELDS: &str = "name,major,minor,attr,open,segments,events,uuid";
const NAME_FIELDS: &str = "vg_name,lv_name,lv_layer";

impl Report {
    /// No report: a command that prints otherwise.
    pub fn none() -> Self {
        Self::default()
    }

    /// The report that the options describe.
    pub fn new(session: &mut Session<'_>, command: &str) -> Result<Self, Fail> {
        let (default, all): (_, &[Section]) = match command {
            "splitname" => (NAME_FIELDS, &[Section::Split]),
            _ => (INFO_FIELDS, Section::OF_DEVICES),
        };
        let wanted = match session.options.text(Opt::Options) {
            None => default.to_string(),
            Some(more) if more.starts_with('+') => format!("{default},{}", &more[1..]),
            Some(fields) => fields.to_string(),
        };
        let mut report = Self { active: true, ..Self::default() };
        // Commas in front of a field do not count, one after the last does.
        let last = wanted.rsplit(',').next().unwrap_or_default();
        let ids = wanted
            .split(',')
            .filter(|id| !id.is_empty())
            .chain(Some(last).filter(|last| last.is_empty() && !wanted.is_empty()));
        for id in ids {
            match fields::find(id, all) {
                Found::Fields(found) => report.columns.extend(found),
                Found::Help => return report.only_help(session),
                Found::Nothing => return unknown(session, &format!("Unrecognised field: {id}")),
            }
        }
        let keys = session.options.text(Opt::Sort).unwrap_or_default().to_string();
        for key in keys.split(',').filter(|key| !key.is_empty()) {
            let descending = key.starts_with('-');
            let id = key.strip_prefix(['-', '+']).unwrap_or(key);
            match fields::find(id, all) {
                Found::Fields(found) => {
                    for field in found {
                        report.sort_by(field, descending, &mut *session.err)?;
                    }
                }
                Found::Help => return report.only_help(session),
                Found::Nothing => {
                    return unknown(session, &format!("dm_report: Unrecognised field: {id}"));
                }
            }
        }
        let selection = session.options.text(Opt::Select).unwrap_or_default().trim().to_string();
        match Selection::parse(&selection) {
            Ok(selection) => report.selection = selection,
            Err(select::Wrong::Help) => {
                fields::print_types(&mut *session.err)?;
                write!(session.err, "{}", select::LANGUAGE)?;
                report.help = true;
            }
            Err(select::Wrong::Because(why)) => {
                writeln!(session.err, "{why}")?;
                return Err(Fail::Said);
            }
            Err(select::Wrong::Field(why)) => {
                fields::print_types(&mut *session.err)?;
                writeln!(session.err, "{why}")?;
                return Err(Fail::Said);
            }
            Err(select::Wrong::Operator(why)) => {
                writeln!(session.err, "{}{why}", select::LANGUAGE)?;
                return Err(Fail::Said);
            }
        }
        Ok(report)
    }

    fn sort_by(
        &mut self,
        field: &'static Field,
        descending: bool,
        err: &mut dyn Write,
    ) -> io::Result<()> {
        if self.sort.iter().any(|(known, _)| known.id == field.id) {
            return writeln!(err, "dm_report: Ignoring duplicate sort field: {}.", field.id);
        }
        self.sort.push((field, descending));
        Ok(())
    }

    fn only_help(mut self, session: &mut Session<'_>) -> Result<Self, Fail> {
        fields::print(&mut *session.err)?;
        self.help = true;
        Ok(self)
    }

    /// True when help was asked for, and printed, instead of a report.
    pub fn help_only(&self) -> bool {
        self.help
    }

    fn uses(&self, section: Section) -> bool {
        let sorted = self.sort.iter().map(|(field, _)| *field);
        let selected = self.selection.iter().flat_map(Selection::fields);
        let mut used = self.columns.iter().copied().chain(sorted).chain(selected);
        used.any(|field| field.section == section)
    }

    /// Adds a device.
    pub fn add_device(&mut self, session: &mut Session<'_>, info: &Info) -> Result<(), Fail> {
        let mut row = Row {
            info: Some(info.clone()),
            name: session.shown(&info.name),
            uuid: session.shown(&info.uuid),
            ..Row::default()
        };
        if self.uses(Section::Deps) {
            let query = session.query();
            row.deps = session.dm()?.deps(&info.name.as_str().into(), query)?.devices;
        }
        if self.uses(Section::Tree) {
            if self.graph.is_none() {
                self.graph = Some(Rc::new(Graph::build(session)?));
            }
            row.graph = self.graph.clone();
        }
        if self.uses(Section::Split) {
            // Who made a device is written before the first dash of its uuid.
            let subsystem = info.uuid.split_once('-').map_or("", |(subsystem, _)| subsystem);
            row.split = Some(Split::of(&row.name, subsystem));
        }
        self.add(session, row)
    }

    /// Adds a name that needs no device.
    pub fn add_name(
        &mut self,
        session: &mut Session<'_>,
        name: &str,
        subsystem: &str,
    ) -> Result<(), Fail> {
        let row = Row { split: Some(Split::of(name, subsystem)), ..Row::default() };
        self.add(session, row)
    }

    /// Adds a device to the list in the one-line format.
    pub fn add_concise(&mut self, entry: concise::Entry) {
        self.concise.push(entry);
    }

    fn add(&mut self, session: &mut Session<'_>, mut row: Row) -> Result<(), Fail> {
        row.selected = true;
        if let Some(selection) = &self.selection {
            row.selected = selection.matches(&row).map_err(no_data)?;
        }
        let sorted = self.sort.iter().map(|(field, _)| *field);
        for field in self.columns.iter().copied().chain(sorted) {
            (field.value)(&row).ok_or(field.id).map_err(no_data)?;
        }
        let shows_selection = self.columns.iter().any(|field| field.id == "selected");
        if !row.selected && !shows_selection {
            return Ok(());
        }
        self.rows.push(row);
        if session.has(Opt::Unbuffered) {
            let first = self.rows.len() == 1;
            let last = self.rows.len() - 1;
            let layout = Layout::new(&session.options, &self.columns);
            let rows = self.values(self.rows.get(last..).unwrap_or_default());
            layout.print_rows(&rows, first, &mut *session.out)?;
        }
        Ok(())
    }

    fn values(&self, rows: &[Row]) -> Vec<Vec<Value>> {
        let value = |field: &&Field, row| (field.value)(row).unwrap_or(Value::Number(0));
        rows.iter()
            .map(|row| self.columns.iter().map(|field| value(field, row)).collect())
            .collect()
    }

    /// Prints what was added.
    pub fn print(&mut self, session: &mut Session<'_>) -> Result<(), Fail> {
        if !self.concise.is_empty() {
            writeln!(session.out, "{}", concise::write(&self.concise).as_str())?;
        }
        if !self.active || self.rows.is_empty() || session.has(Opt::Unbuffered) {
            return Ok(());
        }
        let sort = std::mem::take(&mut self.sort);
        self.rows.sort_by(|a, b| {
            let compare = |(field, descending): &(&Field, bool)| {
                let order = match ((field.value)(a), (field.value)(b)) {
                    (Some(a), Some(b)) => a.compare(&b),
                    _ => Ordering::Equal,
                };
                if *descending { order.reverse() } else { order }
            };
            sort.iter().map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        let mut layout = Layout::new(&session.options, &self.columns);
        let rows = self.values(&self.rows);
        layout.widen(&rows);
        layout.print(&rows, &mut *session.out)?;
        Ok(())
    }
}

/// The options that tell how a report looks belong to it alone.
fn no_data(id: &'static str) -> Fail {
    Fail::Because(format!("_do_report_object: no data assigned to field {id}"))
}

fn unknown(session: &mut Session<'_>, why: &str) -> Result<Report, Fail> {
    fields::print(&mut *session.err)?;
    writeln!(session.err, "{why}")?;
    Err(Fail::Said)
}

impl Split {
    /// Splits `vg-lv-layer`, where `--` stands for `-` within a part.
    pub fn of(name: &str, subsystem: &str) -> Self {
        if subsystem != "LVM" {
            return Self { subsystem: subsystem.into(), ..Self::default() };
        }
        let mut parts = vec![String::new()];
        let mut rest = name;
        while let Some(at) = rest.find('-') {
            let (before, dash) = rest.split_at(at);
            let last = parts.len() - 1;
            parts[last].push_str(before);
            rest = if let Some(after) = dash.strip_prefix("--") {
                parts[last].push('-');
                after
            } else if dash.len() == 1 || parts.iter().all(String::is_empty) {
                // A dash at the end, or before anything, separates nothing.
                parts[last].push('-');
                &dash[1..]
            } else {
                parts.push(String::new());
                &dash[1..]
            };
        }
        let last = parts.len() - 1;
        parts[last].push_str(rest);
        let mut parts = parts.into_iter();
        let mut part = || parts.next().unwrap_or_default();
        let (volume_group, volume, layer) = (part(), part(), part());
        Self { subsystem: subsystem.into(), volume_group, volume, layer }
    }
}
