//! The key of a target: set, exchanged and wiped while no request is inside.

use super::line::{Line, parse_key};
use crate::params::Params;
use crate::services::Shared;
use alloc::format;
use alloc::sync::Arc;
use core::mem;
use dm_cipher::{Key, SectorCipher};
use dm_protocol::{Errno, Failure};

/// The key and what was made of it.
pub(super) struct KeySlot {
    state: Shared<State>,
    /// No key of the same cipher changes this.
    fast: bool,
}

struct State {
    /// Zeroes once it is wiped.
    key: Arc<Key>,
    /// None once the key is wiped.
    cipher: Option<Arc<SectorCipher>>,
    suspended: bool,
}

impl KeySlot {
    /// Thread context.
    pub(super) fn new(line: &Line, key: Key) -> Result<Self, Failure> {
        let cipher = make(line, &key)?;
        let fast = cipher.is_fast();
        let (key, cipher) = (Arc::new(key), Some(Arc::new(cipher)));
        Ok(Self { state: Shared::new(State { key, cipher, suspended: false }), fast })
    }

    /// Any context. The cipher. Giving it up frees nothing: while a request is inside, it is
    /// here too.
    pub(super) fn cipher(&self) -> Option<Arc<SectorCipher>> {
        self.state.with(|state| state.cipher.clone())
    }

    /// Thread context. The key, as a table prints it.
    pub(super) fn key(&self) -> Arc<Key> {
        self.state.with(|state| Arc::clone(&state.key))
    }

    /// True if the processor does the work.
    pub(super) const fn is_fast(&self) -> bool {
        self.fast
    }

    /// No request is inside.
    pub(super) fn suspend(&self) {
        self.state.with(|state| state.suspended = true);
    }

    /// Requests may come.
    pub(super) fn resume(&self) {
        self.state.with(|state| state.suspended = false);
    }

    /// May requests come?
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.state.with(|state| state.cipher.is_some()) {
            true => Ok(()),
            false => Err(Failure::new(Errno::EAGAIN, "crypt: the key is wiped; set one first")),
        }
    }

    /// `key set KEY` and `key wipe`.
    pub(super) fn message(&self, line: &Line, words: &mut Params<'_>) -> Result<(), Failure> {
        if !words.word("message")?.eq_ignore_ascii_case("key") {
            return Err(words.refuse("is no message"));
        }
        // A key that stands in its place is not repeated either.
        let verb = words.secret("set or wipe")?;
        if verb.eq_ignore_ascii_case("wipe") {
            words.end()?;
            let key = self.key().wiped();
            return self.exchange(key, None);
        }
        if !verb.eq_ignore_ascii_case("set") {
            return Err(words.refuse("is neither set nor wipe"));
        }
        let key = parse_key(words)?;
        let length = self.key().bytes().len();
        if key.bytes().len() != length {
            let why = format!("has not {length} bytes, as the key before it");
            return Err(words.refuse(&why));
        }
        words.end()?;
        let cipher = make(line, &key)?;
        self.exchange(key, Some(cipher))
    }

    /// Thread context. What was there is wiped when it is dropped.
    fn exchange(&self, key: Key, cipher: Option<SectorCipher>) -> Result<(), Failure> {
        let (mut key, mut cipher) = (Arc::new(key), cipher.map(Arc::new));
        let suspended = self.state.with(|state| {
            if state.suspended {
                mem::swap(&mut state.key, &mut key);
                mem::swap(&mut state.cipher, &mut cipher);
            }
            state.suspended
        });
        match suspended {
            true => Ok(()),
            false => {
                let why = "keys change only while the device is suspended";
                Err(Failure::new(Errno::EINVAL, why))
            }
        }
    }
}

fn make(line: &Line, key: &Key) -> Result<SectorCipher, Failure> {
    SectorCipher::new(&line.spec, line.options.format, key)
        .map_err(|why| Failure::new(Errno::EINVAL, why))
}
