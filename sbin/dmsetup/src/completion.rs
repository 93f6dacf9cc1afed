//! Completions for shells, from the tables of options and commands.

use crate::commands::{self, Command};
use crate::options::{ALL, Argument, Spec};
use std::fmt::Write as _;

/// The mangled names of all devices. Only the sentence that there are none has a space in it.
const DEVICES: &str = "dmsetup info -c --noheadings -o mangled_name 2>/dev/null | grep -v ' '";

/// The completions for `shell`, if it is one of bash, fish and zsh.
#[must_use]
pub fn for_shell(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "fish" => Some(fish()),
        "zsh" => Some(zsh()),
        _ => None,
    }
}

fn takes_device(command: &&Command) -> bool {
    command.usage.contains("<device>")
}

fn names(of: impl Iterator<Item = &'static Command>, separator: &str) -> String {
    of.map(|command| command.name).collect::<Vec<_>>().join(separator)
}

/// `--long` and `-s` of those options, in that order.
fn forms(wanted: impl Fn(&Spec) -> bool, separator: &str) -> String {
    let mut forms = Vec::new();
    for spec in ALL.iter().filter(|spec| wanted(spec)) {
        forms.push(format!("--{}", spec.long));
        forms.extend(spec.short.chars().map(|letter| format!("-{letter}")));
    }
    forms.join(separator)
}

fn bash() -> String {
    let all = names(commands::ALL.iter(), " ");
    let with_device = names(commands::ALL.iter().filter(takes_device), "|");
    let patterns = names(commands::ALL.iter(), "|");
    let options = forms(|_| true, " ");
    let files = forms(|spec| matches!(spec.argument, Argument::File(_)), "|");
    let named = forms(|spec| matches!(spec.argument, Argument::Named(_)), "|");
    let mut words = String::new();
    for spec in ALL {
        if let Argument::OneOf(of) = spec.argument {
            let (of, form) = (of.join(" "), format!("--{}", spec.long));
            let _ = writeln!(
                words,
                "    {form}) COMPREPLY=($(compgen -W '{of}' -- \"$cur\")); return ;;"
            );
        }
    }
    format!(
        "# Completion of dmsetup(8) for bash, made by `dmsetup completion bash`.
_dmsetup() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command= word
    COMPREPLY=()
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        case $word in
        {patterns}) command=$word; break ;;
        esac
    done
    case $prev in
{words}    {files}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;
    {named}) return ;;
    esac
    case $cur in
    -*) COMPREPLY=($(compgen -W '{options}' -- \"$cur\")); return ;;
    esac
    case $command in
    '') COMPREPLY=($(compgen -W '{all}' -- \"$cur\")) ;;
    create) COMPREPLY=($(compgen -f -- \"$cur\")) ;;
    {with_device})
        COMPREPLY=($(compgen -W \"$({DEVICES})\" -- \"$cur\")) ;;
    esac
}}
complete -F _dmsetup dmsetup
"
    )
}

fn fish() -> String {
    let mut text =
        String::from("# Completion of dmsetup(8) for fish, made by `dmsetup completion fish`.\n");
    let with_device = names(commands::ALL.iter().filter(takes_device), " ");
    let _ = writeln!(text, "complete -c dmsetup -f");
    for Command { name, help, .. } in commands::ALL {
        let _ =
            writeln!(text, "complete -c dmsetup -n __fish_use_subcommand -a {name} -d '{help}'");
    }
    let _ = writeln!(
        text,
        "complete -c dmsetup -n '__fish_seen_subcommand_from {with_device}' \\\n    -a \"({})\"",
        DEVICES
    );
    for spec in ALL {
        let _ = write!(text, "complete -c dmsetup -l {}", spec.long);
        for letter in spec.short.chars() {
            let _ = write!(text, " -s {letter}");
        }
        let _ = match spec.argument {
            Argument::None => Ok(()),
            Argument::Named(_) => write!(text, " -x"),
            Argument::File(_) => write!(text, " -rF"),
            Argument::OneOf(words) => write!(text, " -x -a '{}'", words.join(" ")),
        };
        let _ = writeln!(text, " -d '{}'", spec.help);
    }
    text
}

fn zsh() -> String {
    let mut text = String::from(
        "#compdef dmsetup
# Completion of dmsetup(8) for zsh, made by `dmsetup completion zsh`.
_dmsetup_words() {
    if (( CURRENT == 1 )); then
        local -a commands=(
",
    );
    for Command { name, help, .. } in commands::ALL {
        let _ = writeln!(text, "            '{name}:{help}'");
    }
    let with_device = names(commands::ALL.iter().filter(takes_device), "|");
    let _ = write!(
        text,
        "        )
        _describe command commands
        return
    fi
    case $words[1] in
    create) _files ;;
    {with_device})
        local -a devices=(${{(f)\"$({DEVICES})\"}})
        compadd -a devices ;;
    esac
}}
_arguments -s \\
"
    );
    for spec in ALL {
        let mut forms = vec![format!("--{}", spec.long)];
        forms.extend(spec.short.chars().map(|letter| format!("-{letter}")));
        let action = match spec.argument {
            Argument::None => String::new(),
            Argument::Named(name) => format!(":{name}: "),
            Argument::File(_) => ":table:_files".into(),
            Argument::OneOf(words) => format!(":word:({})", words.join(" ")),
        };
        for form in &forms {
            let help = spec.help;
            let others = forms.join(" ");
            let _ = writeln!(text, "    '({others}){form}[{help}]{action}' \\");
        }
    }
    text.push_str("    '*::words:_dmsetup_words'\n");
    text
}
