//! Tables, concise lists and mangled names survive being written and read.

use dmsetup::concise::{self, Entry};
use dmsetup::table_line::{Source, parse, write};
use libdm::SegmentSpec;
use libdm::mangle::{Mode, mangle, unmangle};
use proptest::prelude::*;

fn segment() -> impl Strategy<Value = SegmentSpec> {
    let params = prop::collection::vec("[!\"$-~\u{e4}]{1,8}", 0..5);
    (any::<u64>(), any::<u64>(), "[a-z][a-z0-9-]{0,14}", params).prop_map(
        |(start, length, target, params)| {
            SegmentSpec::new(start, length, &target, &params.join(" "))
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let text = "[ -~\u{e4}]{0,10}";
    let table = prop::collection::vec(text.prop_map(Into::into), 1..4);
    ("[!-~][ -~]{0,10}", text, any::<Option<u32>>(), any::<bool>(), table).prop_map(
        |(name, uuid, minor, readonly, table)| Entry { name, uuid, minor, readonly, table },
    )
}

proptest! {
    #[test]
    fn a_table_that_was_written_is_read(table in prop::collection::vec(segment(), 0..6)) {
        prop_assert_eq!(parse(&write(&table), Source::Stdin), Ok(table));
    }

    #[test]
    fn any_text_is_a_table_or_not(text in "\\PC{0,80}") {
        let _ = parse(&text, Source::Stdin);
        let _ = concise::parse(&text);
    }

    #[test]
    fn lines_of_digits_and_words_are_tables_or_not(text in "[0-9a-z# \t\n-]{0,60}") {
        if let Ok(table) = parse(&text, Source::Stdin) {
            prop_assert_eq!(parse(&write(&table), Source::Stdin), Ok(table));
        }
    }

    #[test]
    fn a_concise_list_that_was_written_is_read(list in prop::collection::vec(entry(), 0..4)) {
        // White space around the whole list does not count.
        let last_is_plain = list.last().is_none_or(|entry| {
            entry.table.last().is_none_or(|line| !line.ends_with(' '))
        });
        prop_assume!(last_is_plain);
        prop_assert_eq!(concise::parse(&concise::write(&list)), Ok(list));
    }

    #[test]
    fn what_was_mangled_is_unmangled(name in "\\PC{0,20}") {
        let hex = mangle(&name, Mode::Hex).expect("always");
        prop_assert!(hex.bytes().all(|b| b.is_ascii_alphanumeric() || b"#+-.:=@_\\".contains(&b)));
        prop_assert_eq!(&unmangle(&hex), &name);
        prop_assert_eq!(mangle(&hex, Mode::Auto), Ok(hex));
        prop_assert_eq!(mangle(&name, Mode::None), Ok(name));
    }
}

#[test]
fn comments_and_blank_lines_say_nothing() {
    let text = "\n# a table\n  0 8   linear\t/dev/vdb 0 # half\n\t\n8 8 zero\r\n8 0 error # none\n";
    let expected = [
        SegmentSpec::new(0, 8, "linear", "/dev/vdb 0"),
        SegmentSpec::new(8, 8, "zero", ""),
        SegmentSpec::new(8, 0, "error", ""),
    ];
    assert_eq!(parse(text, Source::Stdin).as_deref(), Ok(expected.as_slice()));
}

#[test]
fn a_wrong_line_is_named() {
    for (text, line) in [
        ("0 8", 1),
        ("0 8 zero\n8", 2),
        ("# x\n\n0 x zero", 3),
        ("-1 8 zero", 1),
        ("+1 8 zero", 1),
        ("0x8 8 zero", 1),
        ("18446744073709551616 8 zero", 1),
        ("zero", 1),
    ] {
        let error = parse(text, Source::File("t".into())).expect_err(text);
        assert_eq!(error, format!("Invalid format on line {line} of table t."));
    }
    let error = parse("x", Source::Argument).expect_err("no table");
    assert_eq!(error, "Invalid format on line 1 of table .");
    let error = parse("x", Source::Stdin).expect_err("no table");
    assert_eq!(error, "Invalid format on line 1 of table on stdin.");
}

#[test]
fn a_concise_list_is_read_as_the_kernel_reads_it() {
    let list = "dev1,,,,0 100 linear 253:1 0,100 100 error;dev2,U\\,1,7,ro,0 1 error;\n";
    let expected = [
        Entry {
            name: "dev1".into(),
            table: ["0 100 linear 253:1 0", "100 100 error"]
                .map(|line| line.to_owned().into())
                .into(),
            ..Entry::default()
        },
        Entry {
            name: "dev2".into(),
            uuid: "U,1".into(),
            minor: Some(7),
            readonly: true,
            table: vec!["0 1 error".to_owned().into()],
        },
    ];
    assert_eq!(concise::parse(list).as_deref(), Ok(expected.as_slice()));
    for (list, why) in [
        (
            "foo",
            "Five comma-separated fields are required for each device\n\
             Parsed 1 fields: name: foo uuid: (null) minor: (null) flags: (null) table: (null)",
        ),
        ("a,,,foo,0 1 zero", "Invalid flags parameter 'foo' must be 'ro' or 'rw' or empty."),
        ("a,,x,,0 1 zero", "Invalid minor number 'x'."),
    ] {
        assert_eq!(concise::parse(list), Err(why.into()));
    }
}

#[test]
fn half_mangled_names_are_refused() {
    assert!(mangle("a\\x20b c", Mode::Auto).is_err());
    assert!(mangle("a\\x2", Mode::Auto).is_err());
    assert_eq!(unmangle("a\\xzz\\x4"), "a\\xzz\\x4");
    assert_eq!(unmangle("\\xc3\\xa4"), "\u{e4}");
}
