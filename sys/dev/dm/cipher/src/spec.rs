//! What the cipher word of a table means: `cipher[:keys]-chain-iv[:options]`, or
//! `capi:chain(cipher)-iv[:options]`.

use crate::hash::Hash;
use crate::iv::Iv;
use crate::sectors::Format;
use crate::tcw;
use alloc::format;
use alloc::string::{String, ToString};

/// A block cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `aes`
    Aes,
    /// `serpent`
    Serpent,
    /// `twofish`
    Twofish,
    /// `camellia`
    Camellia,
    /// `cipher_null`: none.
    Null,
}

/// How the blocks of a sector hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// `ecb`
    Ecb,
    /// `cbc`
    Cbc,
    /// `xts`
    Xts,
    /// `adiantum`, with `XChaCha` of so many rounds.
    Adiantum {
        /// 12 or 20.
        rounds: u8,
    },
}

/// What a cipher word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The block cipher.
    pub cipher: Cipher,
    /// How blocks hang together.
    pub chain: Chain,
    /// Where vectors come from.
    pub iv: Iv,
    /// How many keys take turns, sector by sector: a power of two.
    pub keys: u32,
}

/// As many as Loop-AES has.
const KEYS_MAX: u32 = 64;

/// The parts of a key, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct KeyShare {
    /// Of each key.
    pub(crate) each: usize,
    /// Behind them.
    pub(crate) seed: usize,
}

impl Spec {
    /// Reads a cipher word.
    ///
    /// # Errors
    /// A sentence about what is unknown or does not go together.
    pub fn parse(word: &str) -> Result<Self, String> {
        let spec = match word.strip_prefix("capi:") {
            Some(api) => Self::parse_api(api),
            None => Self::parse_plain(word),
        }?;
        spec.check()?;
        Ok(spec)
    }

    fn parse_plain(word: &str) -> Result<Self, String> {
        if word.contains('(') {
            return Err("names with brackets begin with capi:".into());
        }
        let mut parts = word.splitn(3, '-');
        let (name, keys) = split(parts.next().unwrap_or_default(), ':');
        let keys = keys.map_or(Ok(1), parse_keys)?;
        let (chain, iv) = match (parts.next(), parts.next()) {
            // The names of the first version, which had no other.
            (None | Some("plain"), None) => ("cbc", Some("plain")),
            (Some(chain), iv) => (chain, iv),
            (None, Some(_)) => ("", None),
        };
        let (cipher, chain) = match chain {
            "adiantum" => parse_adiantum(name)?,
            _ => (parse_cipher(name)?, parse_chain(chain)?),
        };
        Ok(Self { cipher, chain, iv: parse_iv(chain, iv)?, keys })
    }

    fn parse_api(api: &str) -> Result<Self, String> {
        if ["authenc(", "gcm(", "ccm(", "rfc7539(", "aegis"].iter().any(|aead| api.contains(aead)) {
            return Err(NEEDS_TAGS.into());
        }
        // A hash may have a dash in its name, a chain may not.
        let (api, options) = match api.rsplit_once(':') {
            Some((api, options)) => (api, Some(options)),
            None => (api, None),
        };
        let (api, iv) = match api.rsplit_once('-') {
            Some((api, iv)) => (api, Some(iv)),
            None => (api, None),
        };
        let iv = match (iv, options) {
            (Some(iv), Some(options)) => Some(format!("{iv}:{options}")),
            (iv, _) => iv.map(str::to_string),
        };
        // The encryption of vectors may be named from within: essiv(cbc(aes),sha256)-plain64.
        let (api, iv) = match inner(api, "essiv").and_then(|inner| inner.rsplit_once(',')) {
            Some((api, hash)) if iv.as_deref() == Some("plain64") => {
                (api, Some(format!("essiv:{hash}")))
            }
            Some(_) => return Err("essiv as a template goes with plain64".into()),
            None => (api, iv),
        };
        let named = api.strip_suffix(')').and_then(|api| api.split_once('('));
        let Some((chain, name)) = named else {
            return Err("has no chain(cipher) behind capi:".into());
        };
        let (cipher, chain) = match chain {
            "adiantum" => parse_adiantum(name)?,
            _ => (parse_cipher(name)?, parse_chain(chain)?),
        };
        Ok(Self { cipher, chain, iv: parse_iv(chain, iv.as_deref())?, keys: 1 })
    }

    /// What does not go together, whatever the key.
    fn check(&self) -> Result<(), String> {
        match (self.cipher, self.chain, self.iv) {
            (Cipher::Null, Chain::Ecb, _) => Ok(()),
            (Cipher::Null, ..) => Err("cipher_null has no other chain than ecb".into()),
            (_, Chain::Adiantum { .. }, iv) if !iv.is_plain() => {
                Err("adiantum takes plain, plain64, plain64be, benbi or null".into())
            }
            // Decrypted with vectors that are known only afterwards, xts gives other bytes.
            (_, Chain::Xts, Iv::Lmk) => Err("lmk goes with cbc only".into()),
            (cipher, _, Iv::Essiv(hash)) if !cipher.takes(hash.length()) => {
                let length = hash.length();
                Err(format!("a digest of {length} bytes is no key of {}", cipher.name()))
            }
            _ => Ok(()),
        }
    }

    /// Checks how long a key is.
    ///
    /// # Errors
    /// A sentence that says how long it may be.
    pub fn check_key(&self, bytes: usize) -> Result<(), String> {
        let share = self.share(bytes);
        let sides = if self.chain == Chain::Xts { 2 } else { 1 };
        let whole = share.each.saturating_mul(self.keys as usize).saturating_add(share.seed);
        let side = share.each / sides;
        let fits = match self.chain {
            Chain::Adiantum { .. } => share.each == 32,
            _ => self.cipher.takes(side) && side * sides == share.each,
        };
        if fits && whole == bytes {
            return Ok(());
        }
        let sizes = match (self.chain, self.cipher) {
            (Chain::Adiantum { .. }, _) => "32",
            (_, Cipher::Null) => "none, written -",
            (Chain::Xts, Cipher::Serpent) => "an even number up to 64",
            (_, Cipher::Serpent) => "up to 32",
            (Chain::Xts, _) => "32, 48 or 64",
            _ => "16, 24 or 32",
        };
        let times =
            if self.keys > 1 { format!(" for each of {} keys", self.keys) } else { String::new() };
        let more = match self.iv {
            Iv::Tcw => " and 32 more",
            Iv::Elephant => " and as many more",
            Iv::Lmk => " and as many more for a seed, or none",
            _ => "",
        };
        Err(format!("{bytes} bytes are no key for this cipher: it takes {sizes}{times}{more}"))
    }

    /// What belongs to what in a key of so many bytes.
    pub(crate) fn share(&self, bytes: usize) -> KeyShare {
        let keys = self.keys.max(1) as usize;
        match self.iv {
            Iv::Lmk if !bytes.is_multiple_of(keys) => {
                let each = bytes / keys.saturating_add(1);
                KeyShare { each, seed: each }
            }
            Iv::Elephant => KeyShare { each: bytes / 2 / keys, seed: bytes / 2 },
            Iv::Tcw => {
                let seed = tcw::SEED_BYTES.min(bytes);
                KeyShare { each: (bytes - seed) / keys, seed }
            }
            _ => KeyShare { each: bytes / keys, seed: 0 },
        }
    }

    /// Checks that sectors of a format can have such vectors.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_format(&self, format: Format) -> Result<(), String> {
        match self.iv {
            Iv::Lmk | Iv::Tcw if format.sector_bytes() != 512 => {
                Err("lmk and tcw are for sectors of 512 bytes".into())
            }
            _ => Ok(()),
        }
    }
}

impl Cipher {
    const fn name(self) -> &'static str {
        match self {
            Self::Aes => "aes",
            Self::Serpent => "serpent",
            Self::Twofish => "twofish",
            Self::Camellia => "camellia",
            Self::Null => "cipher_null",
        }
    }

    /// True for the length of a key.
    const fn takes(self, bytes: usize) -> bool {
        match self {
            Self::Aes | Self::Twofish | Self::Camellia => matches!(bytes, 16 | 24 | 32),
            Self::Serpent => matches!(bytes, 1..=32),
            Self::Null => bytes == 0,
        }
    }
}

const NEEDS_TAGS: &str =
    "authenticated modes need a device below that keeps tags, which there is none of yet";

/// What stands in the brackets behind a name.
fn inner<'a>(api: &'a str, name: &str) -> Option<&'a str> {
    api.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(left, right)| (left, Some(right)))
}

fn parse_keys(word: &str) -> Result<u32, String> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match word.parse::<u32>() {
        Ok(keys) if digits && keys.is_power_of_two() && keys <= KEYS_MAX => Ok(keys),
        _ => Err(format!("the number of keys is a power of two up to {KEYS_MAX}, not \"{word}\"")),
    }
}

fn parse_cipher(name: &str) -> Result<Cipher, String> {
    let all = [Cipher::Aes, Cipher::Camellia, Cipher::Serpent, Cipher::Twofish, Cipher::Null];
    all.into_iter().find(|cipher| cipher.name() == name).ok_or_else(|| {
        format!(
            "there is no cipher \"{name}\"; there are aes, camellia, serpent, twofish, cipher_null"
        )
    })
}

fn parse_adiantum(name: &str) -> Result<(Cipher, Chain), String> {
    match name {
        "xchacha12,aes" => Ok((Cipher::Aes, Chain::Adiantum { rounds: 12 })),
        "xchacha20,aes" => Ok((Cipher::Aes, Chain::Adiantum { rounds: 20 })),
        _ => Err("adiantum is made of xchacha12,aes or xchacha20,aes".into()),
    }
}

fn parse_chain(name: &str) -> Result<Chain, String> {
    match name {
        "ecb" => Ok(Chain::Ecb),
        "cbc" => Ok(Chain::Cbc),
        "xts" => Ok(Chain::Xts),
        _ => Err(format!("there is no chain \"{name}\"; there are adiantum, cbc, ecb, xts")),
    }
}

fn parse_iv(chain: Chain, text: Option<&str>) -> Result<Iv, String> {
    let Some(text) = text else {
        return match chain {
            Chain::Ecb => Ok(Iv::None),
            _ => Err("this chain needs a source of vectors, such as plain64".into()),
        };
    };
    let (name, options) = split(text, ':');
    let iv = match name {
        "plain" => Iv::Plain,
        "plain64" => Iv::Plain64,
        "plain64be" => Iv::Plain64be,
        "benbi" => Iv::Benbi,
        "null" => Iv::Null,
        "eboiv" => Iv::Eboiv,
        "lmk" => Iv::Lmk,
        "tcw" => Iv::Tcw,
        "essiv" => match options {
            Some(hash) => Iv::Essiv(Hash::find(hash)?),
            None => return Err("essiv needs a hash: essiv:sha256".into()),
        },
        "elephant" => Iv::Elephant,
        "random" => return Err(NEEDS_TAGS.replace("authenticated modes", "random vectors")),
        _ => {
            return Err(format!(
                "there is no source of vectors \"{name}\"; there are plain, plain64, plain64be, \
                 essiv, benbi, null, eboiv, elephant, lmk, tcw"
            ));
        }
    };
    match (iv, options, chain) {
        (Iv::Essiv(_), _, Chain::Ecb) | (_, None, Chain::Ecb) => Ok(Iv::None),
        (Iv::Essiv(_), ..) | (_, None, _) => Ok(iv),
        (_, Some(_), _) => Err(format!("{name} takes no options")),
    }
}
