//! Any text is a table or is refused; a table survives being printed.
#![no_main]

use dmsetup::table_line::{Source, parse, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(table) = parse(text, Source::Stdin) else { return };
    let again = parse(&write(&table), Source::Stdin).expect("a printed table is a table");
    assert_eq!(again, table);
});
