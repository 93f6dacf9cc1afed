//! Devices and what they stand on: `ls --tree`, and the fields that tell of relations.

use crate::error::Fail;
use crate::session::Session;
use libdm::{Dependency, DevNo, Info};
use std::collections::HashMap;

/// The kernel's name of a mapped device.
pub fn block_name(devno: DevNo) -> String {
    format!("dm-{}", devno.minor)
}

/// The name of a device below; `major` is that of mapped devices.
pub fn device_name(dep: &Dependency, major: u32) -> String {
    if dep.devno.major == major {
        return block_name(dep.devno);
    }
    match dep.name.rsplit('/').next() {
        Some(name) if !name.is_empty() => name.into(),
        _ => dep.devno.to_string(),
    }
}

/// A device in the graph.
#[derive(Debug)]
struct Node {
    devno: DevNo,
    /// As it is shown; empty for what is not mapped.
    name: String,
    /// The name for `blkdevname`.
    block_name: String,
    info: Option<Info>,
    below: Vec<usize>,
    above: Vec<usize>,
}

/// All mapped devices and those below them.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    by_devno: HashMap<DevNo, usize>,
}

impl Graph {
    /// Asks the driver for everything.
    pub fn build(session: &mut Session<'_>) -> Result<Self, Fail> {
        let mut graph = Self::default();
        let entries = session.names()?;
        let names: HashMap<DevNo, String> =
            entries.iter().map(|entry| (entry.devno, entry.name.clone())).collect();
        for entry in &entries {
            graph.add_mapped(session, &names, entry.devno)?;
        }
        Ok(graph)
    }

    /// Adds a mapped device and all below it, in the order in which they are found. Stacks are
    /// walked without recursion: nobody bounds their height.
    fn add_mapped(
        &mut self,
        session: &mut Session<'_>,
        names: &HashMap<DevNo, String>,
        top: DevNo,
    ) -> Result<(), Fail> {
        if self.by_devno.contains_key(&top) {
            return Ok(());
        }
        let mut open = Vec::new();
        let (at, below) = self.ask(session, names, top)?;
        open.push((at, below.into_iter()));
        while let Some((at, below)) = open.last_mut() {
            let at = *at;
            let Some(dep) = below.next() else {
                open.pop();
                continue;
            };
            if let Some(&known) = self.by_devno.get(&dep.devno) {
                self.link(at, known);
            } else if names.contains_key(&dep.devno) {
                let (child, below) = self.ask(session, names, dep.devno)?;
                self.link(at, child);
                open.push((child, below.into_iter()));
            } else {
                let block_name = device_name(&dep, u32::MAX);
                let leaf = self.push(dep.devno, String::new(), block_name, None);
                self.link(at, leaf);
            }
        }
        Ok(())
    }

    fn ask(
        &mut self,
        session: &mut Session<'_>,
        names: &HashMap<DevNo, String>,
        devno: DevNo,
    ) -> Result<(usize, Vec<Dependency>), Fail> {
        let name = names.get(&devno).cloned().unwrap_or_default();
        let query = session.query();
        let deps = session.dm()?.deps(&name.as_str().into(), query)?;
        let shown = session.shown(&name);
        let at = self.push(devno, shown, block_name(devno), Some(deps.info));
        Ok((at, deps.devices))
    }

    fn push(
        &mut self,
        devno: DevNo,
        name: String,
        block_name: String,
        info: Option<Info>,
    ) -> usize {
        let at = self.nodes.len();
        let (below, above) = (Vec::new(), Vec::new());
        self.nodes.push(Node { devno, name, block_name, info, below, above });
        self.by_devno.insert(devno, at);
        at
    }

    fn link(&mut self, upper: usize, lower: usize) {
        if let Some(node) = self.nodes.get_mut(upper) {
            node.below.push(lower);
        }
        if let Some(node) = self.nodes.get_mut(lower) {
            node.above.push(upper);
        }
    }

    /// The device of this number.
    pub fn find(&self, devno: DevNo) -> Option<usize> {
        self.by_devno.get(&devno).copied()
    }

    /// What a device stands on.
    pub fn below(&self, at: usize) -> &[usize] {
        self.nodes.get(at).map(|node| node.below.as_slice()).unwrap_or_default()
    }

    /// What stands on a device.
    pub fn above(&self, at: usize) -> &[usize] {
        self.nodes.get(at).map(|node| node.above.as_slice()).unwrap_or_default()
    }

    /// The names of those that are mapped.
    pub fn names(&self, of: &[usize]) -> String {
        let names = of.iter().filter_map(|&at| self.nodes.get(at)).map(|node| node.name.as_str());
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join(",")
    }

    /// The device numbers.
    pub fn numbers(&self, of: &[usize]) -> String {
        let nodes = of.iter().filter_map(|&at| self.nodes.get(at));
        nodes.map(|node| node.devno.to_string()).collect::<Vec<_>>().join(",")
    }
}

/// How a tree is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    lines: &'static Lines,
    device: bool,
    block_name: bool,
    active: bool,
    open: bool,
    access: bool,
    uuid: bool,
    compact: bool,
    inverted: bool,
    truncate: bool,
}

/// The pieces of lines, each two or three columns wide.
#[derive(Debug)]
struct Lines {
    empty: &'static str,
    branch: &'static str,
    through: &'static str,
    last: &'static str,
    single: &'static str,
    first: &'static str,
}

const ASCII: Lines =
    Lines { empty: "  ", branch: "|-", through: "| ", last: "`-", single: "---", first: "-+-" };
const UTF8: Lines = Lines {
    empty: "  ",
    branch: "\u{251c}\u{2500}",
    through: "\u{2502} ",
    last: "\u{2514}\u{2500}",
    single: "\u{2500}\u{2500}\u{2500}",
    first: "\u{2500}\u{252c}\u{2500}",
};
const VT100: Lines = Lines {
    empty: "  ",
    branch: "\x1b(0\x0ftq\x1b(B",
    through: "\x1b(0\x0fx\x1b(B ",
    last: "\x1b(0\x0fmq\x1b(B",
    single: "\x1b(0\x0fqqq\x1b(B",
    first: "\x1b(0\x0fqwq\x1b(B",
};

impl Style {
    /// Reads `-o`; `utf8` is where lines beyond ASCII can be shown.
    pub fn parse(options: &str, utf8: bool) -> Result<Self, String> {
        let mut style = Self {
            lines: if utf8 { &UTF8 } else { &ASCII },
            device: true,
            block_name: false,
            active: false,
            open: false,
            access: false,
            uuid: false,
            compact: false,
            inverted: false,
            truncate: true,
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ascii" => style.lines = &ASCII,
                "utf" => style.lines = &UTF8,
                "vt100" => style.lines = &VT100,
                "compact" => style.compact = true,
                "inverted" => style.inverted = true,
                "notrunc" => style.truncate = false,
                "blkdevname" => style.block_name = true,
                "device" => style.device = true,
                "nodevice" => style.device = false,
                "active" => style.active = true,
                "open" => style.open = true,
                "rw" => style.access = true,
                "uuid" => style.uuid = true,
                _ => return Err(format!("Tree options not recognised: {options}.")),
            }
        }
        // Attributes make lines too long to be shared.
        style.compact &= !(style.active || style.open || style.access || style.uuid);
        Ok(style)
    }
}

/// Prints all devices as trees.
pub fn print(session: &mut Session<'_>, style: &Style) -> Result<(), Fail> {
    let graph = Graph::build(session)?;
    if graph.nodes.is_empty() {
        writeln!(session.out, "No devices found")?;
        return Ok(());
    }
    let width = style.truncate.then_some(session.width);
    let mut drawing = Drawing { graph: &graph, style, width, text: String::new() };
    let tops = (0..graph.nodes.len()).filter(|&at| drawing.parents(at).is_empty());
    for top in tops.collect::<Vec<_>>() {
        drawing.tree(top);
    }
    session.out.write_all(drawing.text.as_bytes())?;
    Ok(())
}

struct Drawing<'a> {
    graph: &'a Graph,
    style: &'a Style,
    width: Option<usize>,
    text: String,
}

/// A level of the branch that is being drawn.
struct Level<'a> {
    children: std::slice::Iter<'a, usize>,
    /// The column in which its lines stand.
    column: usize,
}

impl<'a> Drawing<'a> {
    fn parents(&self, at: usize) -> &'a [usize] {
        if self.style.inverted { self.graph.below(at) } else { self.graph.above(at) }
    }

    fn children(&self, at: usize) -> &'a [usize] {
        if self.style.inverted { self.graph.above(at) } else { self.graph.below(at) }
    }

    fn tree(&mut self, top: usize) {
        let mut line = String::new();
        self.label(top, &mut line);
        let column = self.below_column(&line, 0);
        let mut levels = vec![Level { children: self.children(top).iter(), column }];
        // In compact form the first child continues the line of its parent.
        let mut fresh = self.style.compact && !self.children(top).is_empty();
        if !fresh {
            self.line_of(top, &line);
            line.clear();
        }
        while let Some(level) = levels.last_mut() {
            let Some(&at) = level.children.next() else {
                levels.pop();
                continue;
            };
            let last = level.children.len() == 0;
            if fresh {
                line.push_str(if last { self.style.lines.single } else { self.style.lines.first });
            } else {
                line = self.indent(&levels, last);
            }
            self.label(at, &mut line);
            let column = self.below_column(&line, levels.len());
            let children = self.children(at);
            fresh = self.style.compact && !children.is_empty();
            if !fresh {
                self.line_of(at, &line);
                line.clear();
            }
            levels.push(Level { children: children.iter(), column });
        }
    }

    /// Where the lines of the children of what ends `line` stand.
    fn below_column(&self, line: &str, depth: usize) -> usize {
        match self.style.compact {
            true => columns(line) + 1,
            false => depth * 3 + 1,
        }
    }

    /// The lines before a child of the last level.
    fn indent(&self, levels: &[Level<'_>], last: bool) -> String {
        let lines = self.style.lines;
        let mut text = String::new();
        for (nr, level) in levels.iter().enumerate() {
            let fill = level.column.saturating_sub(columns(&text));
            text.push_str(&" ".repeat(fill));
            let more = level.children.len() > 0;
            text.push_str(match (nr + 1 == levels.len(), last, more) {
                (true, true, _) => lines.last,
                (true, false, _) => lines.branch,
                (false, _, true) => lines.through,
                (false, _, false) => lines.empty,
            });
        }
        text
    }

    fn label(&self, at: usize, line: &mut String) {
        let Some(node) = self.graph.nodes.get(at) else { return };
        line.push_str(&node.name);
        if self.style.block_name {
            line.push_str(&format!(" <{}>", node.block_name));
        }
        if self.style.device {
            line.push_str(&format!(" ({})", node.devno));
        }
        let Some(info) = &node.info else { return };
        let mut attributes = Vec::new();
        if self.style.active {
            attributes.push(if info.suspended { "SUSPENDED" } else { "ACTIVE" }.to_string());
        }
        if self.style.access {
            attributes.push(if info.readonly { "RO" } else { "RW" }.to_string());
        }
        if self.style.open {
            attributes.push(info.open_count.to_string());
        }
        if self.style.uuid {
            attributes.push(info.uuid.clone());
        }
        if !attributes.is_empty() {
            line.push_str(&format!(" [{}]", attributes.join(", ")));
        }
    }

    /// Writes the line of a node, unless nothing is to be said of it.
    fn line_of(&mut self, at: usize, line: &str) {
        let style = self.style;
        let nameless = self.graph.nodes.get(at).is_none_or(|node| node.name.is_empty());
        if style.compact || style.device || style.block_name || !nameless {
            self.line(line);
        }
    }

    /// Ends a line; what is too long for the terminal ends in dots.
    fn line(&mut self, line: &str) {
        match self.width {
            Some(width) if columns(line) > width => {
                let fits = measured(line).take_while(|(_, columns)| *columns < width);
                self.text.extend(fits.map(|(character, _)| character));
                self.text.push_str("...");
            }
            _ => self.text.push_str(line),
        }
        self.text.push('\n');
    }
}

/// Columns that a line takes on a terminal.
fn columns(line: &str) -> usize {
    measured(line).last().map_or(0, |(_, columns)| columns)
}

/// The characters of a line with the columns up to each; what switches a terminal to its line
/// drawing characters takes none.
fn measured(line: &str) -> impl Iterator<Item = (char, usize)> {
    let (mut escape, mut columns) = (false, 0);
    line.chars().map(move |character| {
        match character {
            '\x1b' => escape = true,
            '0' | 'B' if escape => escape = false,
            _ if escape || character.is_control() => {}
            _ => columns += 1,
        }
        (character, columns)
    })
}
