//! What NetBSD's loader and kernel demand of an object.

use crate::elf::{self, Object};
use std::collections::BTreeSet;
use std::fs;

const R_64: u32 = 1;
const R_PC32: u32 = 2;
const R_PLT32: u32 = 4;
const R_32: u32 = 10;
const R_32S: u32 = 11;
/// ABS64, ADR_PREL_PG_HI21, ADD_ABS_LO12_NC, JUMP26, CALL26, and LDST_ABS_LO12_NC of 8 to 64
/// bits.
const AARCH64: [u32; 9] = [257, 275, 277, 282, 283, 278, 284, 285, 286];

/// What is demanded of objects for one machine.
struct Machine {
    /// The relocations that kobj(9) knows.
    relocations: &'static [u32],
    /// How the operands begin that stand for vector or floating point registers.
    vectors: &'static [&'static str],
}

fn machine(object: &Object) -> Result<Machine, String> {
    match object.machine()? {
        elf::AMD64 => Ok(Machine {
            relocations: &[R_64, R_PC32, R_32, R_32S],
            vectors: &["%xmm", "%ymm", "%zmm", "%mm", "%st"],
        }),
        elf::AARCH64 => Ok(Machine { relocations: &AARCH64, vectors: &["v", "q", "d", "s"] }),
        other => Err(format!("machine {other} is none of ours")),
    }
}

/// Turns calls through a procedure linkage table, which kobj(9) does not know, into plain ones.
/// The arithmetic is the same, since a kernel has no such table.
pub fn finish(path: &str) -> Result<(), String> {
    let mut object = Object::read(path)?;
    if object.machine()? != elf::AMD64 {
        return Ok(());
    }
    for (at, kind) in object.relocations()? {
        if kind == R_PLT32 {
            object.bytes[at] = R_PC32 as u8;
        }
    }
    fs::write(path, &object.bytes).map_err(|why| format!("{path}: {why}"))
}

/// Reports everything that is wrong with an object. `symbols` lists what it may ask of the
/// kernel (and after `export` what it gives); `code` is its disassembly.
pub fn check(path: &str, symbols: &str, code: &str) -> Result<(), String> {
    let object = Object::read(path)?;
    let read = |name: &str| fs::read_to_string(name).map_err(|why| format!("{name}: {why}"));
    let mut wrong = Vec::new();
    let machine = machine(&object).map_err(|why| format!("{path}: {why}"))?;
    relocations(&object, &machine, &mut wrong)?;
    names(&object, &read(symbols)?, &mut wrong)?;
    sections(&object, &mut wrong);
    instructions(&read(code)?, &machine, &mut wrong);
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.iter().map(|line| format!("{path}: {line}\n")).collect()),
    }
}

fn relocations(object: &Object, machine: &Machine, wrong: &mut Vec<String>) -> Result<(), String> {
    let known = machine.relocations;
    let kinds: BTreeSet<u32> = object.relocations()?.into_iter().map(|(_, kind)| kind).collect();
    for kind in kinds.iter().filter(|kind| !known.contains(kind)) {
        wrong.push(format!("relocations of type {kind}, which kobj(9) does not know"));
    }
    Ok(())
}

/// Undefined symbols are as listed; of the defined ones only exports are seen from outside,
/// since the loader does not take a name twice and reads some before they are relocated.
fn names(object: &Object, list: &str, wrong: &mut Vec<String>) -> Result<(), String> {
    let lines = || list.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let (exports, imports): (BTreeSet<_>, BTreeSet<_>) = (
        lines().filter_map(|line| line.strip_prefix("export ")).collect(),
        lines().filter(|line| !line.starts_with("export ")).collect(),
    );
    for symbol in object.symbols()? {
        let name = symbol.name.as_str();
        if !symbol.defined && symbol.binding != elf::GLOBAL {
            wrong.push(format!("{name} is undefined and weak"));
        } else if !symbol.defined && !imports.contains(name) {
            wrong.push(format!("{name} is asked of the kernel and not in the list"));
        } else if symbol.defined && symbol.binding != elf::LOCAL && !exports.contains(name) {
            wrong.push(format!("{name} is seen from outside"));
        }
    }
    Ok(())
}

fn sections(object: &Object, wrong: &mut Vec<String>) {
    for section in &object.sections {
        let name = &section.name;
        if section.flags & elf::TLS != 0 {
            wrong.push(format!("{name} is for each thread"));
        }
        if section.kind == elf::NOBITS && section.size != 0 {
            wrong.push(format!("{name} has no bits"));
        }
        if [".eh_frame", ".debug", ".llvm"].iter().any(|start| name.starts_with(start)) {
            wrong.push(format!("{name} would be loaded into the kernel"));
        }
        if name == "link_set_modules" && section.size != 8 {
            wrong.push(format!("{name} has {} bytes instead of 8", section.size));
        }
    }
    if object.of_kind(elf::SYMTAB).count() != 1 {
        wrong.push("it has not exactly one symbol table".to_string());
    }
}

/// The kernel saves no vector registers for itself, and an interrupt overwrites what lies
/// below the stack pointer.
fn instructions(code: &str, machine: &Machine, wrong: &mut Vec<String>) {
    let mut seen = 0;
    for line in code.lines() {
        let Some((mnemonic, operands)) = instruction(line) else { continue };
        seen += 1;
        let mut registers = operands.split([' ', ',', '{', '}', '[', ']', '(', ')', '*']);
        if registers.any(|register| is_vector(register, machine.vectors)) {
            wrong.push(format!("vector or floating point: {line}"));
        }
        if below_the_stack(mnemonic, operands) {
            wrong.push(format!("red zone: {line}"));
        }
    }
    if seen == 0 {
        wrong.push("there is no disassembly".to_string());
    }
}

/// Mnemonic and operands of a line of a disassembly, without comments and addresses.
fn instruction(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.split('\t').skip(2);
    let first = parts.next()?.trim();
    let (mnemonic, rest) = first.split_once(' ').unwrap_or((first, ""));
    let operands = if rest.is_empty() { parts.next().unwrap_or("") } else { rest };
    let operands = match operands.split_once('<') {
        // What stands before a symbol in angles is its address.
        Some((before, _)) => before.trim().rsplit_once([',', ' ']).map_or("", |(rest, _)| rest),
        None => operands.split("//").next().unwrap_or("").trim(),
    };
    Some((mnemonic, operands))
}

/// True for the name of a vector register: a beginning from the list and a number.
fn is_vector(word: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().filter_map(|beginning| word.strip_prefix(beginning)).any(|number| {
        let number = number.split('.').next().unwrap_or("");
        number.bytes().all(|digit| digit.is_ascii_digit())
            && number.parse().is_ok_and(|number: u32| number < 32)
    }) || word == "%st"
}

/// A memory operand below the stack pointer that is more than an address.
fn below_the_stack(mnemonic: &str, operands: &str) -> bool {
    let negative = |part: &str| part.trim().starts_with("-0x") && part.contains("(%rsp");
    !mnemonic.starts_with("lea") && operands.split(',').any(negative)
}
