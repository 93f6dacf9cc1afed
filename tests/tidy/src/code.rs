//! Splits Rust source into code and comments, line by line. Not a parser: it knows comments,
//! strings and characters, and so keeps a word in a string from being taken for code.

/// The two halves of a source text. Both have the line and column of the original; what belongs to
/// the other half, and what stands inside a string, is a space.
#[derive(Default)]
pub struct Code {
    /// Code without comments and without the contents of strings.
    pub code: Vec<String>,
    /// Comments alone, with their slashes.
    pub comments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text { hashes: Option<usize> },
}

impl Code {
    /// Splits a source text.
    pub fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut code = String::new();
        let mut comments = String::new();
        let mut mode = Mode::Code;
        let mut at = 0;
        while at < chars.len() {
            let (next, taken) = step(mode, &chars, at);
            let in_comment = is_comment(mode) || is_comment(next);
            let in_text = matches!(mode, Mode::Text { .. }) && next == mode;
            let in_char = mode == Mode::Code && chars[at] == '\'' && taken > 1;
            let in_code = !in_comment && !in_text && !in_char;
            for &char in &chars[at..at + taken] {
                code.push(if char == '\n' || in_code { char } else { ' ' });
                comments.push(if char == '\n' || in_comment { char } else { ' ' });
            }
            mode = next;
            at += taken;
        }
        Self { code: lines(&code), comments: lines(&comments) }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn is_comment(mode: Mode) -> bool {
    matches!(mode, Mode::LineComment | Mode::BlockComment { .. })
}

/// The mode after the next few characters, and how many they are.
fn step(mode: Mode, chars: &[char], at: usize) -> (Mode, usize) {
    let here = chars[at];
    let next = chars.get(at + 1).copied().unwrap_or('\n');
    match mode {
        Mode::Code => step_code(chars, at),
        Mode::LineComment if here == '\n' => (Mode::Code, 1),
        Mode::BlockComment { depth } if here == '*' && next == '/' => match depth {
            1 => (Mode::Code, 2),
            _ => (Mode::BlockComment { depth: depth - 1 }, 2),
        },
        Mode::BlockComment { depth } if here == '/' && next == '*' => {
            (Mode::BlockComment { depth: depth + 1 }, 2)
        }
        Mode::Text { hashes: None } if here == '\\' => (mode, 2.min(chars.len() - at)),
        Mode::Text { hashes: None } if here == '"' => (Mode::Code, 1),
        Mode::Text { hashes: Some(count) } if here == '"' && hashes(chars, at + 1) >= count => {
            (Mode::Code, 1 + count)
        }
        _ => (mode, 1),
    }
}

fn step_code(chars: &[char], at: usize) -> (Mode, usize) {
    let next = chars.get(at + 1).copied().unwrap_or('\n');
    match chars[at] {
        '/' if next == '/' => (Mode::LineComment, 2),
        '/' if next == '*' => (Mode::BlockComment { depth: 1 }, 2),
        '"' => (Mode::Text { hashes: None }, 1),
        'r' if !is_name(before(chars, at))
            || before(chars, at) == 'b'
            || before(chars, at) == 'c' =>
        {
            let count = hashes(chars, at + 1);
            match chars.get(at + 1 + count) {
                Some('"') => (Mode::Text { hashes: Some(count) }, count + 2),
                _ => (Mode::Code, 1),
            }
        }
        '\'' => (Mode::Code, char_literal(chars, at)),
        _ => (Mode::Code, 1),
    }
}

/// The length of a character literal; 1 for the tick of a lifetime.
fn char_literal(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => {
            let close = chars[at + 3..].iter().position(|&char| char == '\'');
            close.map_or(1, |close| close + 4)
        }
        (Some(_), Some('\'')) => 3,
        _ => 1,
    }
}

fn before(chars: &[char], at: usize) -> char {
    at.checked_sub(1).map_or('\n', |at| chars[at])
}

fn hashes(chars: &[char], from: usize) -> usize {
    chars[from..].iter().take_while(|&&char| char == '#').count()
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The columns at which a word stands alone in a line.
pub fn find_word(line: &str, word: &str) -> Vec<usize> {
    let alone = |at: usize| {
        let left = line[..at].chars().next_back();
        let right = line[at + word.len()..].chars().next();
        !left.is_some_and(is_name) && !right.is_some_and(is_name)
    };
    line.match_indices(word).map(|(at, _)| at).filter(|&at| alone(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_not_code() {
        let split = Code::of("let a = \"// no\"; // yes \"no\"\n/* b /* c */ d */ e");
        assert_eq!(split.code[0].trim_end(), "let a = \"     \";");
        assert_eq!(split.comments[0].trim(), "// yes \"no\"");
        assert_eq!(split.code[1].trim(), "e");
    }

    #[test]
    fn raw_strings_end_with_their_own_hashes() {
        let split = Code::of("r#\"a \" // b\"# c; br\"//\" d");
        assert_eq!(split.code[0].replace(' ', ""), "r#\"\"#c;br\"\"d");
        assert_eq!(split.comments[0].trim(), "");
    }

    #[test]
    fn a_quote_in_a_character_is_no_string_and_a_lifetime_no_character() {
        let split = Code::of("let q = '\"'; let e = '\\''; fn f<'a>(x: &'a str) {} // end");
        assert!(split.code[0].contains("fn f<'a>(x: &'a str) {}"));
        assert_eq!(split.comments[0].trim(), "// end");
    }

    #[test]
    fn a_word_inside_a_longer_name_is_not_found() {
        assert_eq!(find_word("unsafe_code unsafe { my_unsafe }", "unsafe"), vec![12]);
    }
}
