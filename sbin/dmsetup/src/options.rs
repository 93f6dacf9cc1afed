//! The options: one table, from which they are parsed, explained and completed.

/// An option, whichever way it was spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opt {
    AddNodeOnCreate,
    AddNodeOnResume,
    Checks,
    Columns,
    Concise,
    Deferred,
    DryRun,
    Exec,
    Force,
    Gid,
    Help,
    Inactive,
    Major,
    MangleName,
    Minor,
    Mode,
    NamePrefixes,
    NoFlush,
    NoHeadings,
    NoLockfs,
    NoOpenCount,
    NoTable,
    NoUdevRules,
    NoUdevSync,
    Options,
    ReadAhead,
    ReadOnly,
    Retry,
    Rows,
    Select,
    Separator,
    SetUuid,
    ShowKeys,
    Sort,
    Table,
    Target,
    Timeout,
    Tree,
    UdevCookie,
    Uid,
    Unbuffered,
    Unquoted,
    Uuid,
    Verbose,
    VerifyUdev,
    Version,
    Yes,
}

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// Something that the usage calls so.
    Named(&'static str),
    /// A table, or the name of a file.
    File(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Argument {
    /// As the usage writes it.
    pub fn usage(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Named(name) | Self::File(name) => name.into(),
            Self::OneOf(words) => format!("{{{}}}", words.join("|")),
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which one it is.
    pub opt: Opt,
    /// Its name after `--`.
    pub long: &'static str,
    /// Its letters after `-`.
    pub short: &'static str,
    /// What follows it.
    pub argument: Argument,
    /// What it does, for completions.
    pub help: &'static str,
}

const MANGLING: Argument = Argument::OneOf(&["none", "hex", "auto"]);
const READ_AHEAD: Argument = Argument::OneOf(&["[+]<sectors>", "auto", "none"]);

macro_rules! options {
    ($($opt:ident $long:literal $short:literal $argument:expr, $help:literal;)*) => {
        /// Every option, in the order in which ambiguous prefixes are reported.
        pub const ALL: &[Spec] = &[$(Spec {
            opt: Opt::$opt,
            long: $long,
            short: $short,
            argument: $argument,
            help: $help,
        },)*];
    };
}

options! {
    ReadOnly "readonly" "r" Argument::None, "nobody may write to the device";
    Checks "checks" "" Argument::None, "check what goes to the driver (it always is)";
    Columns "columns" "cC" Argument::None, "print a table, see -o";
    Concise "concise" "" Argument::None, "devices in the one-line format";
    Deferred "deferred" "" Argument::None, "remove open devices when they are closed";
    DryRun "dry-run" "" Argument::None, "check the table and load nothing";
    Select "select" "S" Argument::Named("<selection>"), "print the rows that match";
    Exec "exec" "" Argument::Named("<command>"), "run a command for each device";
    Force "force" "f" Argument::None, "replace tables that cannot be removed";
    Gid "gid" "G" Argument::Named("<gid>"), "group of the nodes";
    Help "help" "h" Argument::None, "print the usage";
    Inactive "inactive" "" Argument::None, "ask about the inactive table";
    MangleName "manglename" "" MANGLING, "when to mangle names";
    Major "major" "j" Argument::Named("<major>"), "major number of the device";
    Minor "minor" "m" Argument::Named("<minor>"), "minor number of the device";
    Mode "mode" "M" Argument::Named("<octal_mode>"), "permissions of the nodes, octal";
    NamePrefixes "nameprefixes" "" Argument::None, "write fields as DM_FIELD='value'";
    NoFlush "noflush" "" Argument::None, "do not flush when suspending";
    NoHeadings "noheadings" "" Argument::None, "print no line of headings";
    NoLockfs "nolockfs" "" Argument::None, "do not sync the file system when suspending";
    NoOpenCount "noopencount" "" Argument::None, "accepted and ignored";
    NoTable "notable" "n" Argument::None, "create the device without table";
    NoUdevRules "noudevrules" "" Argument::None, "accepted and ignored";
    NoUdevSync "noudevsync" "" Argument::None, "accepted and ignored";
    Options "options" "o" Argument::Named("<fields>"), "fields, or what to print";
    ReadAhead "readahead" "" READ_AHEAD, "accepted and ignored";
    Retry "retry" "" Argument::None, "try again for five seconds while the device is busy";
    Rows "rows" "" Argument::None, "print fields as rows";
    Separator "separator" "" Argument::Named("<separator>"), "put this between fields";
    SetUuid "setuuid" "" Argument::None, "set the uuid instead of the name";
    ShowKeys "showkeys" "" Argument::None, "print the keys of ciphers";
    Sort "sort" "O" Argument::Named("<sort_fields>"), "sort by these fields";
    Table "table" "" Argument::File("{<table>|<table_file>}"), "the table, or a file that holds it";
    Target "target" "" Argument::Named("<target_type>"), "only segments of this target type";
    Timeout "timeout" "" Argument::Named("<seconds>"), "wait at most so many seconds";
    Tree "tree" "" Argument::None, "print the devices as a tree";
    Uid "uid" "U" Argument::Named("<uid>"), "owner of the nodes";
    UdevCookie "udevcookie" "" Argument::Named("<cookie>"), "accepted and ignored";
    Uuid "uuid" "u" Argument::Named("<uuid>"), "uuid of the device";
    Unbuffered "unbuffered" "" Argument::None, "print each row when it is known";
    Unquoted "unquoted" "" Argument::None, "no quotes around values after --nameprefixes";
    Verbose "verbose" "v" Argument::None, "say more";
    VerifyUdev "verifyudev" "" Argument::None, "accepted and ignored";
    Version "version" "" Argument::None, "print the versions";
    Yes "yes" "y" Argument::None, "answer every question with yes";
    AddNodeOnResume "addnodeonresume" "" Argument::None, "make the nodes when resuming";
    AddNodeOnCreate "addnodeoncreate" "" Argument::None, "make the nodes when creating";
}

/// The options of one command line.
#[derive(Clone, Debug, Default)]
pub struct Options {
    given: Vec<(Opt, String)>,
}

impl Options {
    /// Adds an option; the last argument of an option counts.
    pub fn add(&mut self, opt: Opt, argument: impl Into<String>) {
        self.given.push((opt, argument.into()));
    }

    /// True when it was given.
    #[must_use]
    pub fn has(&self, opt: Opt) -> bool {
        self.given.iter().any(|(given, _)| *given == opt)
    }

    /// Its argument, if it was given.
    #[must_use]
    pub fn text(&self, opt: Opt) -> Option<&str> {
        self.given.iter().rev().find(|(given, _)| *given == opt).map(|(_, text)| text.as_str())
    }

    /// Its argument as a number.
    ///
    /// # Errors
    /// When it is not one, with the line to print.
    pub fn number<N: std::str::FromStr>(&self, opt: Opt) -> Result<Option<N>, String> {
        let Some(text) = self.text(opt) else { return Ok(None) };
        let long = ALL.iter().find(|spec| spec.opt == opt).map_or("", |spec| spec.long);
        let wrong = |_| format!("Invalid argument for --{long}: {text}. ");
        text.parse().map(Some).map_err(wrong)
    }
}
