//! What is written is read back, here and by an independent reader; bad text is refused.

use dm_plist::{DEPTH_MAX, Format, KEYS_MAX, from_any, from_json, from_xml, to_json, to_xml};
use dm_protocol::{Dict, Key, Value, key};
use proptest::prelude::*;

/// A reply of the stock driver, byte for byte.
const STOCK: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\" \
\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<plist version=\"1.0\">
<dict>
\t<key>cmd_data</key>
\t<array>
\t\t<dict>
\t\t\t<key>name</key>
\t\t\t<string>linear</string>
\t\t\t<key>ver</key>
\t\t\t<array>
\t\t\t\t<integer>1</integer>
\t\t\t\t<integer>0</integer>
\t\t\t\t<integer>0x2</integer>
\t\t\t</array>
\t\t</dict>
\t</array>
\t<key>command</key>
\t<string>targets</string>
\t<key>flags</key>
\t<integer>0x4</integer>
</dict>
</plist>
\0";

fn stock() -> Dict {
    let mut linear = Dict::new();
    linear.set(key::NAME, "linear");
    linear.set(key::VER, [1, 0, 2]);
    let mut dict = Dict::new();
    dict.set(key::DATA, vec![Value::Dict(linear)]);
    dict.set(key::COMMAND, "targets");
    dict.set(key::FLAGS, 4_u32);
    dict
}

#[test]
fn a_list_of_the_stock_driver_is_read() {
    assert_eq!(from_any(STOCK.as_bytes()), Ok((stock(), Format::Xml)));
}

#[test]
fn xml_is_written_in_one_line_after_proplibs_head() {
    let text = String::from_utf8(to_xml(&stock())).expect("text");
    let body = text.strip_prefix(&STOCK[..STOCK.find("<dict>").expect("a dict")]);
    assert_eq!(
        body,
        Some(
            "<dict><key>cmd_data</key><array><dict><key>name</key><string>linear</string>\
             <key>ver</key><array><integer>1</integer><integer>0</integer><integer>2</integer>\
             </array></dict></array><key>command</key><string>targets</string><key>flags</key>\
             <integer>4</integer></dict>\n</plist>\n"
        )
    );
}

#[test]
fn special_characters_become_the_entities_that_proplib_knows() {
    let mut dict = Dict::new();
    dict.set("a<&>\"'b", "<x> & \"y\" 'z' \u{20ac}");
    let text = String::from_utf8(to_xml(&dict)).expect("text");
    assert!(text.contains("<key>a&lt;&amp;&gt;\"'b</key>"), "{text}");
    assert_eq!(from_xml(text.as_bytes()), Ok(dict));
}

fn list(inside: &str) -> String {
    format!("<plist version=\"1.0\"><dict>{inside}</dict></plist>")
}

fn read_one(value: &str) -> Result<Value, String> {
    let mut dict =
        from_xml(list(&format!("<key>k</key>{value}")).as_bytes()).map_err(|e| e.reason)?;
    dict.remove("k").ok_or_else(|| "no value".into())
}

#[test]
fn every_form_of_a_value_is_read() {
    for (text, value) in [
        ("<integer>0xFFFFFFFFFFFFFFFF</integer>", u64::MAX.into()),
        ("<integer>18446744073709551615</integer>", u64::MAX.into()),
        ("<integer> 7 </integer>", 7_u64.into()),
        ("<integer>-9223372036854775808</integer>", i64::MIN.into()),
        ("<integer size=\"8\">7</integer>", 7_u64.into()),
        ("<true/>", true.into()),
        ("<false />", false.into()),
        ("<true></true>", true.into()),
        ("<string/>", "".into()),
        ("<string></string>", "".into()),
        ("<string>&#65;&#x42;&quot;&apos;&lt;&gt;&amp;</string>", "AB\"'<>&".into()),
        ("<!-- a comment -->\n<array/>", Vec::new().into()),
        ("<dict/>", Dict::new().into()),
        ("<data>\n\taGVs\n\tbG8=\n</data>", Value::Data(b"hello".to_vec())),
        ("<data/>", Value::Data(Vec::new())),
    ] {
        assert_eq!(read_one(text).as_ref(), Ok(&value), "{text}");
    }
}

#[test]
fn what_is_no_value_is_refused() {
    for text in [
        "",
        "x",
        "<integer>18446744073709551616</integer>",
        "<integer>-9223372036854775809</integer>",
        "<integer>0x</integer>",
        "<integer>0x+1</integer>",
        "<integer>+1</integer>",
        "<integer>1.5</integer>",
        "<integer/>",
        "<real>1.5</real>",
        "<date>2020-01-01T00:00:00Z</date>",
        "<string>a<b/></string>",
        "<string>a<!-- b --></string>",
        "<string>&nbsp;</string>",
        "<string>&#0;</string>",
        "<string>&#xd800;</string>",
        "<string>& no end</string>",
        "<string>no end",
        "<string",
        "<data>a</data>",
        "<data>aGVsbG8</data>",
        "<array><true/></dict>",
        "<array>",
        "< true/>",
        "<true/></key>",
        "<key>two</key>",
    ] {
        assert!(read_one(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_no_list_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "{} {}",
        "{\"a\":null}",
        "{\"a\":1.5}",
        "{\"a\":18446744073709551616}",
        "<dict/>",
        "<plist/>",
        "<plist><array/></plist>",
        "<plist><dict/></plist>x",
        "<plist><dict/>",
        "<!DOCTYPE plist [<!ENTITY a \"aaaa\">]><plist><dict/></plist>",
        "<!-- <plist><dict/></plist>",
    ] {
        assert!(from_any(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!(from_xml(b"<plist>\xff").expect_err("not UTF-8").offset, 7);
}

fn nested(depth: usize) -> (String, String) {
    let (open, close) = ("<array>".repeat(depth), "</array>".repeat(depth));
    let xml = list(&format!("<key>a</key>{open}{close}"));
    (xml, format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)))
}

#[test]
fn nesting_is_bounded() {
    let (xml, json) = nested(DEPTH_MAX - 1);
    assert_eq!(from_xml(xml.as_bytes()), from_json(json.as_bytes()));
    let (xml, json) = nested(DEPTH_MAX);
    assert!(from_xml(xml.as_bytes()).expect_err("too deep").reason.contains("8 deep"));
    assert!(from_json(json.as_bytes()).expect_err("too deep").reason.contains("8 deep"));
    assert!(from_json(nested(1_000_000).1.as_bytes()).is_err());
}

#[test]
fn the_number_of_keys_is_bounded() {
    let many = |count: usize| -> Dict {
        (0..count).map(|nr| (format!("key{nr}").into(), true.into())).collect()
    };
    for (count, fits) in [(KEYS_MAX, true), (KEYS_MAX + 1, false)] {
        assert_eq!(from_xml(&to_xml(&many(count))).is_ok(), fits);
        assert_eq!(from_json(&to_json(&many(count))).is_ok(), fits);
    }
}

#[test]
fn errors_say_where() {
    let text = "{\"a\": 1,\n \"b\": nil}";
    let error = from_any(text.as_bytes()).expect_err("not JSON");
    assert_eq!(&text[error.offset..error.offset + 1], "i");
    assert_eq!(error.to_string(), format!("property list, byte {}: expected ident", error.offset));
}

#[test]
fn a_large_table_is_read_in_linear_time() {
    let mut segment = Dict::new();
    segment.set(key::START, 123_456_789_u64);
    segment.set(key::LENGTH, 8_u64);
    segment.set(key::TYPE, "linear");
    segment.set(key::PARAMS, "/dev/wd1a 123456");
    let mut dict = Dict::new();
    dict.set(key::DATA, vec![Value::Dict(segment); 50_000]);
    assert_eq!(from_xml(&to_xml(&dict)), Ok(dict.clone()));
    assert_eq!(from_json(&to_json(&dict)), Ok(dict));
}

fn text() -> impl Strategy<Value = String> {
    "[ -~\u{a0}-\u{2ff}\t\n]{0,12}"
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Data),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            dict(inner).prop_map(Value::from),
        ]
    })
}

fn dict(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Dict> {
    prop::collection::vec((text().prop_map(Key::from), inner), 0..6)
        .prop_map(|pairs| pairs.into_iter().filter(|(key, _)| !key.is_empty()).collect())
}

/// As the `plist` crate sees it.
fn foreign(value: &Value) -> plist::Value {
    match value {
        Value::Bool(truth) => (*truth).into(),
        Value::Unsigned(number) => (*number).into(),
        Value::Signed(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::Data(bytes) => plist::Value::Data(bytes.clone()),
        Value::Array(array) => plist::Value::Array(array.iter().map(foreign).collect()),
        Value::Dict(dict) => plist::Value::Dictionary(
            dict.iter().map(|(key, value)| (key.to_string(), foreign(value))).collect(),
        ),
    }
}

/// The `plist` crate trims nothing and sorts nothing, but order does not count.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(array) => array.iter().map(sorted).collect::<Vec<_>>().into(),
        Value::Dict(dict) => {
            let mut pairs: Vec<_> = dict.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            let pairs = pairs.into_iter().map(|(key, v)| (key.to_string().into(), sorted(v)));
            pairs.collect::<Dict>().into()
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn xml_round_trips(dict in dict(value())) {
        prop_assert_eq!(from_any(&to_xml(&dict)), Ok((dict, Format::Xml)));
    }

    #[test]
    fn an_independent_reader_reads_the_same(dict in dict(value())) {
        let theirs = plist::Value::from_reader_xml(&*to_xml(&dict)).expect("readable");
        prop_assert_eq!(theirs, foreign(&dict.into()));
    }

    #[test]
    fn what_an_independent_writer_writes_is_read(dict in dict(value())) {
        let mut text = Vec::new();
        foreign(&dict.clone().into()).to_writer_xml(&mut text).expect("writable");
        let ours: Value = from_xml(&text).expect("readable").into();
        prop_assert_eq!(sorted(&ours), sorted(&dict.into()));
    }

    #[test]
    fn json_round_trips_but_for_bytes(dict in dict(value())) {
        let text = to_json(&dict);
        let back = from_any(&text).map(|(dict, _)| to_json(&dict));
        prop_assert_eq!(back, Ok(text));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_any(&bytes);
    }

    #[test]
    fn damaged_lists_are_read_or_refused(at in 0..STOCK.len(), byte: u8, cut in 0..STOCK.len()) {
        let mut bytes = STOCK.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = from_any(&bytes);
        let _ = from_any(&bytes[..cut]);
    }
}
