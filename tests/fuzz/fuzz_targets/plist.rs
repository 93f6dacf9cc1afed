//! Any bytes are read without a fault, and what was read is read again from what is written.
#![no_main]

use dm_plist::{Format, from_any, to_format};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok((dict, _)) = from_any(text) else { return };
    for format in [Format::Xml, Format::Json] {
        let written = to_format(&dict, format);
        let (again, found) = from_any(&written).expect("what we write is read");
        assert_eq!((again, found), (dict.clone(), format));
    }
});
