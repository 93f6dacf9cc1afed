//! Where what was printed is not what was expected.

use dm_play::case::Step;
use std::fmt::Write;

/// Compares what steps printed; `None` if all is as expected, else a text with each difference.
#[must_use]
pub fn differences(
    who: &str,
    steps: &[Step],
    expected: &dyn Fn(usize) -> Vec<String>,
    printed: &[Vec<String>],
) -> Option<String> {
    let mut text = String::new();
    for (nr, step) in steps.iter().enumerate() {
        let wanted = expected(nr);
        let got = printed.get(nr).cloned().unwrap_or_else(|| vec!["(nothing came back)".into()]);
        if wanted == got {
            continue;
        }
        let _ = writeln!(text, "{who}: {}", step.line);
        for (sign, lines) in [("expected", &wanted), ("printed ", &got)] {
            let lines = lines.iter().map(|line| format!("    {sign} {line}\n"));
            text.extend(lines);
        }
    }
    (!text.is_empty()).then_some(text)
}
