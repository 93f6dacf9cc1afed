//! Any dictionary is refused or decoded, and a decoded request survives encoding.
#![no_main]

use dm_plist::from_any;
use dm_protocol::Request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok((dict, _)) = from_any(text) else { return };
    let Ok(request) = Request::decode(&dict) else { return };
    let again = Request::decode(&request.encode()).expect("an encoded request is decoded");
    assert_eq!(again, request);
});
