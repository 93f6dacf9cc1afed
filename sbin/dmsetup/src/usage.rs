//! The usage, from the tables of options and commands.

use crate::commands;
use crate::options::{ALL, Opt};
use std::io::{self, Write};

/// The lines of options that belong to no command alone.
const LINES: &[&[Opt]] = &[
    &[Opt::Version, Opt::Help],
    &[Opt::Verbose, Opt::Force],
    &[Opt::Checks, Opt::MangleName],
    &[Opt::ReadOnly, Opt::NoOpenCount, Opt::NoFlush, Opt::NoLockfs, Opt::Inactive],
    &[Opt::UdevCookie, Opt::NoUdevRules, Opt::NoUdevSync, Opt::VerifyUdev],
    &[Opt::Yes, Opt::ReadAhead, Opt::Retry],
    &[Opt::Columns, Opt::Options, Opt::Sort],
    &[Opt::Select, Opt::NamePrefixes, Opt::NoHeadings],
    &[Opt::Separator],
];

fn option(opt: Opt) -> String {
    let Some(spec) = ALL.iter().find(|spec| spec.opt == opt) else { return String::new() };
    let mut forms: Vec<String> = spec.short.chars().map(|letter| format!("-{letter}")).collect();
    // -o means fields here; its long form means something else to each command.
    if opt != Opt::Options {
        forms.push(format!("--{}", spec.long));
    }
    let forms = forms.join("|");
    let argument = match opt {
        Opt::Help => option(Opt::Columns),
        Opt::Verbose => format!("[{forms} ...]"),
        _ => spec.argument.usage(),
    };
    if argument.is_empty() { format!("[{forms}]") } else { format!("[{forms} {argument}]") }
}

const NOTES: &str = "\
<device> may be device name or (if only one) -u <uuid> or -j <major> -m <minor>
<mangling_mode> is one of 'none', 'auto' and 'hex'.
<fields> are comma-separated.  Use 'help -c' for list.
<concise_device_specification> has single-device entries separated by semi-colons:
    <name>,<uuid>,<minor>,<flags>,<table>
        where <flags> is 'ro' or 'rw' (the default) and any of <uuid>, <minor>
        and <flags> may be empty. Separate extra table lines with commas.
    E.g.: dev1,,,,0 100 linear 253:1 0,100 100 error;dev2,,,ro,0 1 error
Table_file contents may be supplied on stdin.
Options are: devno, devname, blkdevname.
Tree specific options are: ascii, utf, vt100; compact, inverted, notrunc;
                           blkdevname, [no]device, active, open, rw and uuid.

";

/// Prints the usage.
pub fn print(out: &mut dyn Write) -> io::Result<()> {
    write!(out, "Usage:\n\ndmsetup\n")?;
    for line in LINES {
        let options: Vec<String> = line.iter().map(|opt| option(*opt)).collect();
        writeln!(out, "        {}", options.join(" "))?;
    }
    writeln!(out)?;
    for command in commands::ALL {
        writeln!(out, "\t{} {}", command.name, command.usage)?;
    }
    write!(out, "\n{NOTES}")
}
