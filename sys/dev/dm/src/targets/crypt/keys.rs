//! Messages about the key, which is exchanged and wiped while no request is inside.

use super::kit::{Keyed, Kit};
use super::line::{Line, parse_key};
use crate::params::Params;
use crate::services;
use alloc::format;
use alloc::sync::Arc;
use dm_cipher::{Key, SectorCipher};
use dm_protocol::{Errno, Failure};

/// Thread context. A key with its cipher.
pub(super) fn make(line: &Line, key: Key) -> Result<Keyed, Failure> {
    let made = SectorCipher::new(&line.spec, line.options.format, &key);
    let own = made.map_err(|why| Failure::new(Errno::EINVAL, why))?;
    let cipher = lent(line, &key, &own).unwrap_or(own);
    Ok(Keyed { key: Arc::new(key), cipher: Some(Arc::new(cipher)) })
}

/// The same with the platform's AES, if it has one and that does the same.
fn lent(line: &Line, key: &Key, own: &SectorCipher) -> Option<SectorCipher> {
    let lender = services::aes_lender()?;
    own.lent(&line.spec, key, lender).unwrap_or_else(|why| {
        let name = lender.name();
        services::log(&format!("dm: crypt does without the AES of {name}: {why}"));
        None
    })
}

/// `key set KEY` and `key wipe`.
pub(super) fn message(line: &Line, kit: &Kit, words: &mut Params<'_>) -> Result<(), Failure> {
    if !words.word("message")?.eq_ignore_ascii_case("key") {
        return Err(words.refuse("is no message"));
    }
    // A key that stands in its place is not repeated either.
    let verb = words.secret("set or wipe")?;
    let old = kit.keyed().key;
    let keyed = if verb.eq_ignore_ascii_case("wipe") {
        Keyed { key: Arc::new(old.wiped()), cipher: None }
    } else if verb.eq_ignore_ascii_case("set") {
        let key = parse_key(words)?;
        let length = old.bytes().len();
        if key.bytes().len() != length {
            let why = format!("has not {length} bytes, as the key before it");
            return Err(words.refuse(&why));
        }
        make(line, key)?
    } else {
        return Err(words.refuse("is neither set nor wipe"));
    };
    words.end()?;
    // What was there, or what may not be there yet, is wiped when it is dropped.
    kit.exchange(keyed).map(drop).map_err(|_refused| {
        Failure::new(Errno::EINVAL, "keys change only while the device is suspended")
    })
}

/// May requests come?
pub(super) fn check(kit: &Kit) -> Result<(), Failure> {
    match kit.keyed().cipher {
        Some(_) => Ok(()),
        None => Err(Failure::new(Errno::EAGAIN, "crypt: the key is wiped; set one first")),
    }
}
