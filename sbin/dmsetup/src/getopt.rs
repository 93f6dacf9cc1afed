//! Options as getopt_long(3) takes them: anywhere, bundled, and long ones cut short.

use crate::options::{ALL, Argument, Options, Spec};

/// Splits a command line, without the program's name, into options and words.
///
/// # Errors
/// The sentence to print.
pub fn parse(arguments: &[String]) -> Result<(Options, Vec<String>), String> {
    let mut options = Options::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            words.extend(rest.cloned());
            break;
        } else if let Some(long) = argument.strip_prefix("--") {
            take_long(long, &mut rest, &mut options)?;
        } else if argument.len() > 1 && argument.starts_with('-') {
            take_short(argument.get(1..).unwrap_or_default(), &mut rest, &mut options)?;
        } else {
            words.push(argument.clone());
        }
    }
    Ok((options, words))
}

fn take_long<'a>(
    long: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    options: &mut Options,
) -> Result<(), String> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let spec = find_long(name, long)?;
    match (spec.argument, value) {
        (Argument::None, None) => options.add(spec.opt, ""),
        (Argument::None, Some(_)) => {
            return Err(format!("option '--{}' doesn't allow an argument", spec.long));
        }
        (_, Some(value)) => options.add(spec.opt, value),
        (_, None) => match rest.next() {
            Some(value) => options.add(spec.opt, value),
            None => return Err(format!("option '--{}' requires an argument", spec.long)),
        },
    }
    Ok(())
}

fn find_long(name: &str, given: &str) -> Result<&'static Spec, String> {
    if let Some(spec) = ALL.iter().find(|spec| spec.long == name) {
        return Ok(spec);
    }
    let possible: Vec<&Spec> = ALL.iter().filter(|spec| spec.long.starts_with(name)).collect();
    match possible.as_slice() {
        [] => Err(format!("unrecognized option '--{given}'")),
        [spec] => Ok(spec),
        _ => {
            let names: Vec<String> = possible.iter().map(|s| format!("'--{}'", s.long)).collect();
            let names = names.join(" ");
            Err(format!("option '--{given}' is ambiguous; possibilities: {names}"))
        }
    }
}

fn take_short<'a>(
    letters: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    options: &mut Options,
) -> Result<(), String> {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let spec = ALL.iter().find(|spec| spec.short.contains(letter));
        let spec = spec.ok_or_else(|| format!("invalid option -- '{letter}'"))?;
        if spec.argument == Argument::None {
            options.add(spec.opt, "");
            continue;
        }
        let value = match letters.as_str() {
            "" => rest.next().map(String::as_str),
            attached => Some(attached),
        };
        let missing = || format!("option requires an argument -- '{letter}'");
        options.add(spec.opt, value.ok_or_else(missing)?);
        break;
    }
    Ok(())
}
