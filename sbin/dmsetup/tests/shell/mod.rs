//! Runs command lines of dmsetup in this process, as a shell would.
#![allow(dead_code, reason = "not every test uses every helper")]

#[path = "../../../../lib/libdm/tests/model/mod.rs"]
pub mod model;

use dmsetup::{Environment, run};
use libdm::Control;
use model::Model;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// A sink that several writers share, so that lines keep their order.
#[derive(Clone, Default)]
pub struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// What was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("text")
    }
}

/// What a command printed, and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    pub out: String,
    pub err: String,
    /// Both, in order.
    pub all: String,
    pub status: u8,
}

struct Both(Shared, Shared);

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A shell with a driver.
#[derive(Default)]
pub struct Shell {
    pub driver: Model,
}

impl Shell {
    /// Runs a line of words, quotes and backslashes; the word `dmsetup` may come first.
    pub fn run(&self, line: &str) -> Output {
        self.run_with(line, "")
    }

    /// The same with something on standard input.
    pub fn run_with(&self, line: &str, stdin: &str) -> Output {
        let mut words = split(line);
        if words.first().is_some_and(|word| word == "dmsetup") {
            words.remove(0);
        }
        let (out, err, all) = (Shared::default(), Shared::default(), Shared::default());
        let open = || Ok(Box::new(&self.driver) as Box<dyn Control + '_>);
        let environment = Environment {
            open: &open,
            dev_dir: "/dev".into(),
            mangling: None,
            utf8: false,
            width: 80,
            stdin: &mut stdin.as_bytes(),
            out: &mut Both(out.clone(), all.clone()),
            err: &mut Both(err.clone(), all.clone()),
        };
        let status = run(&words, environment);
        Output { out: out.text(), err: err.text(), all: all.text(), status }
    }

    /// Runs a line that must succeed without a word, or with these.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!((output.status, output.err.as_str()), (0, ""), "{line}: {output:?}");
        output.out
    }
}

fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            ('\\', None) => word.get_or_insert_default().extend(characters.next()),
            (' ', None) => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
