//! What the command line says.

use clap::{Parser, Subcommand};
#[cfg(target_os = "linux")]
use std::ffi::OsString;
use std::path::PathBuf;

/// Maps devices in a process: image files and disks below, files and NBD above.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dmhost",
    version,
    about,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Options {
    /// The directory that stands for /dev; devices appear in its mapper directory [default:
    /// $DM_DEV_DIR, or /run/dm, or $XDG_RUNTIME_DIR/dm]
    #[arg(long, value_name = "DIR")]
    pub dev_dir: Option<PathBuf>,

    /// Make the devices of this file first: lines of name,uuid,minor,flags,table[,table]...
    #[arg(long, value_name = "FILE")]
    pub table_file: Option<PathBuf>,

    /// Make these devices first; the same form, separated by semicolons
    #[arg(long, value_name = "TEXT", conflicts_with = "table_file")]
    pub concise: Option<String>,

    /// Do not show the devices as files
    #[arg(long)]
    pub no_fuse: bool,

    /// Do not serve the devices over NBD
    #[arg(long)]
    pub no_nbd: bool,

    /// The socket for NBD [default: nbd.sock in the directory that stands for /dev]
    #[arg(long, value_name = "PATH", conflicts_with = "no_nbd")]
    pub nbd_socket: Option<PathBuf>,

    /// Stay in the foreground; this is the default
    #[arg(long, conflicts_with = "daemon")]
    pub foreground: bool,

    /// Go to the background, and return when everything is ready
    #[arg(long)]
    pub daemon: bool,

    /// Write a line to this file descriptor when everything is ready
    #[arg(long, value_name = "N")]
    pub ready_fd: Option<u32>,

    /// Write the process's number to this file when everything is ready
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// The access mode of the control socket, in octal
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = octal)]
    pub mode: u32,

    /// The group of the control socket, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Log more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// What to do instead of serving devices
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What there is besides serving devices.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Run a Linux program as if the kernel had a device mapper
    #[cfg(target_os = "linux")]
    Exec {
        /// Log more; twice for everything
        #[arg(short, long, action = clap::ArgAction::Count)]
        verbose: u8,

        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Keep loop devices for the one who started it
    #[cfg(target_os = "linux")]
    #[command(name = dm_host::exec::keeping::VERB, hide = true)]
    KeepLoops {
        /// A folder for it alone
        folder: PathBuf,
        /// What is seen as /dev/mapper
        nodes: Option<PathBuf>,
    },
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "expected an octal number up to 777".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
        let options = Options::try_parse_from(["dmhost", "--mode", "660", "-vv"]).unwrap();
        assert_eq!((options.mode, options.verbose), (0o660, 2));
        assert!(Options::try_parse_from(["dmhost", "--mode", "999"]).is_err());
        assert!(Options::try_parse_from(["dmhost", "--daemon", "--foreground"]).is_err());
        #[cfg(target_os = "linux")]
        {
            let words = ["dmhost", "exec", "-v", "sh", "-v", "-c", "true"];
            let verb = Options::try_parse_from(words).unwrap().verb;
            assert!(matches!(verb, Some(Verb::Exec { verbose: 1, command }) if command.len() == 4));
        }
    }
}
