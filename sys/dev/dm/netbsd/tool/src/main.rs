//! Two jobs around the kernel object that a compiler does not do.
//!
//! `bind` turns the headers of one NetBSD into bindings. `finish` makes a linked object fit for
//! NetBSD's module loader, and `check` refuses one that the loader or the kernel could not take.
#![forbid(unsafe_code)]

mod bind;
mod check;
mod elf;

use std::process::ExitCode;

const USAGE: &str = "usage: dm-netbsd-tool bind HEADER OUT [clang arguments]
       dm-netbsd-tool finish OBJECT
       dm-netbsd-tool check OBJECT SYMBOLS DISASSEMBLY";

fn run(args: &[String]) -> Result<(), String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["bind", header, out, clang @ ..] => bind::bind(header, out, clang),
        ["finish", object] => check::finish(object),
        ["check", object, symbols, code] => check::check(object, symbols, code),
        _ => Err(USAGE.to_string()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
