//! The words of a table line or a message, read one by one with a reason for each refusal.

use alloc::format;
use core::ops::RangeInclusive;
use core::str::SplitWhitespace;
use dm_protocol::{Errno, Failure};

/// Words being read.
pub struct Params<'a> {
    words: SplitWhitespace<'a>,
    nr: usize,
    what: &'static str,
    word: &'a str,
    secret: bool,
}

impl<'a> Params<'a> {
    /// The words of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { words: text.split_whitespace(), nr: 0, what: "", word: "", secret: false }
    }

    /// The next word, whatever it is.
    ///
    /// # Errors
    /// EINVAL when there is none; `what` names it.
    pub fn word(&mut self, what: &'static str) -> Result<&'a str, Failure> {
        self.nr = self.nr.saturating_add(1);
        self.what = what;
        self.word = "";
        self.secret = false;
        let Some(word) = self.words.next() else {
            let message = format!("argument {} ({what}) is missing", self.nr);
            return Err(Failure::new(Errno::EINVAL, message));
        };
        self.word = word;
        Ok(word)
    }

    /// The next word, which no refusal repeats.
    ///
    /// # Errors
    /// As [`Params::word`].
    pub fn secret(&mut self, what: &'static str) -> Result<&'a str, Failure> {
        let word = self.word(what)?;
        self.secret = true;
        Ok(word)
    }

    /// The word read last.
    #[must_use]
    pub const fn last(&self) -> &'a str {
        self.word
    }

    /// True if the next word is this one.
    #[must_use]
    pub fn next_is(&self, word: &str) -> bool {
        self.words.clone().next() == Some(word)
    }

    /// The next word if there is one.
    pub fn optional(&mut self, what: &'static str) -> Option<&'a str> {
        let mut rest = self.words.clone();
        rest.next()?;
        self.word(what).ok()
    }

    /// The next word as a decimal number within `range`.
    ///
    /// # Errors
    /// EINVAL when it is missing, no number, or out of range.
    pub fn number(
        &mut self,
        what: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Failure> {
        let word = self.word(what)?;
        let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        match word.parse() {
            Ok(number) if digits && range.contains(&number) => Ok(number),
            _ if !digits => Err(self.refuse("is not a decimal number")),
            _ => Err(self.refuse(&format!("is not from {} to {}", range.start(), range.end()))),
        }
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// EINVAL when something does.
    pub fn end(&mut self) -> Result<(), Failure> {
        match self.optional("surplus") {
            None => Ok(()),
            Some(_) => Err(self.refuse("is one too many")),
        }
    }

    /// True if one of the words left is like this.
    pub fn any(&self, is: impl FnMut(&str) -> bool) -> bool {
        self.words.clone().any(is)
    }

    /// How many words are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.words.clone().count()
    }

    /// EINVAL for the word read last.
    #[must_use]
    pub fn refuse(&self, why: &str) -> Failure {
        self.blame(&Failure::new(Errno::EINVAL, why))
    }

    /// A failure that names the word read last.
    #[must_use]
    pub fn blame(&self, why: &Failure) -> Failure {
        if self.nr == 0 {
            return why.clone();
        }
        let (nr, what) = (self.nr, self.what);
        if self.secret {
            return Failure::new(why.errno, format!("argument {nr} ({what}): {}", why.message));
        }
        // Long words are cut: the sentence goes to a log line.
        let word = self.word.escape_debug().take(128).collect::<alloc::string::String>();
        Failure::new(why.errno, format!("argument {nr} ({what}) \"{word}\": {}", why.message))
    }
}
