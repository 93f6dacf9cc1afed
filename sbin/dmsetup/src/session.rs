//! One run: its options, its streams, its driver.

use crate::error::Fail;
use crate::nodes::Nodes;
use crate::options::{Opt, Options};
use crate::{Environment, Open};
use libdm::mangle::{Mode, mangle, unmangle};
use libdm::{Control, DevNo, Device, Dm, Entry, Info, Query, Transition};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What commands work with.
pub struct Session<'a> {
    pub options: Options,
    pub mangling: Mode,
    pub dev_dir: PathBuf,
    pub utf8: bool,
    pub width: usize,
    pub stdin: &'a mut dyn BufRead,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    open: Open<'a>,
    dm: Option<Rc<Driver<'a>>>,
}

/// The driver of a run.
pub type Driver<'a> = Dm<Box<dyn Control + 'a>>;

/// A device as the command line names it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// For the driver.
    pub device: Device,
    /// The mangled name; empty when it was named otherwise.
    pub name: String,
    uuid: String,
    devno: Option<DevNo>,
}

impl Subject {
    /// The device of this name, which is in the driver's form.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { device: name.clone().into(), name, uuid: String::new(), devno: None }
    }

    /// As it stands between `ioctl on` and `failed`.
    pub fn with_uuid(mut self, uuid: &str) -> Self {
        self.uuid = uuid.into();
        self
    }

    pub fn with_devno(mut self, devno: DevNo) -> Self {
        self.devno = Some(devno);
        self
    }

    /// What a refusal of this device says.
    pub fn refused(&self, error: libdm::Error) -> Fail {
        let libdm::Error::Refused { command, failure } = error else { return error.into() };
        let number = self.devno.map(|devno| format!("({devno})")).unwrap_or_default();
        Fail::Refused {
            command: command.name(),
            subject: format!("{} {}{number}", self.name, self.uuid),
            name: self.name.clone(),
            failure,
        }
    }
}

impl<'a> Session<'a> {
    /// A run with checked options.
    pub fn new(options: Options, mangling: Mode, environment: Environment<'a>) -> Self {
        let Environment { open, dev_dir, utf8, width, stdin, out, err, .. } = environment;
        Self { options, mangling, dev_dir, utf8, width, stdin, out, err, open, dm: None }
    }

    pub fn has(&self, opt: Opt) -> bool {
        self.options.has(opt)
    }

    /// The driver, opened when it is first needed.
    pub fn dm(&mut self) -> Result<Rc<Driver<'a>>, Fail> {
        if let Some(dm) = &self.dm {
            return Ok(Rc::clone(dm));
        }
        let mut dm = Dm::new((self.open)()?);
        dm.negotiate()?;
        let dm = Rc::new(dm);
        self.dm = Some(Rc::clone(&dm));
        Ok(dm)
    }

    /// All devices by name.
    pub fn names(&mut self) -> Result<Vec<Entry>, Fail> {
        let mut names = self.dm()?.names()?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// A new or known name in the driver's form.
    pub fn mangled(&self, name: &str) -> Result<String, Fail> {
        mangle(name, self.mangling).map_err(|mixed| {
            Fail::Because(format!("{mixed}\nFailed to mangle device name \"{name}\"."))
        })
    }

    /// A name of the driver as it is shown.
    pub fn shown(&self, name: &str) -> String {
        match self.mangling {
            Mode::None => name.into(),
            Mode::Auto | Mode::Hex => unmangle(name),
        }
    }

    /// The device that an argument, or the options -u or -j and -m, mean.
    pub fn subject(&mut self, argument: Option<&str>) -> Result<Subject, Fail> {
        if let Some(name) = argument {
            return self.subject_named(name);
        }
        if let Some(uuid) = self.options.text(Opt::Uuid) {
            let device = Device::Uuid(mangle(uuid, self.mangling).unwrap_or_else(|_| uuid.into()));
            let uuid = uuid.to_string();
            return Ok(Subject { device, name: String::new(), uuid, devno: None });
        }
        let number = |opt| self.options.number(opt).map_err(Fail::Because);
        let (Some(major), Some(minor)) = (number(Opt::Major)?, number(Opt::Minor)?) else {
            return Err(Fail::Because("No device specified.".into()));
        };
        let devno = DevNo { major, minor };
        // Another driver's major must not hit a device of ours.
        let known = self.names()?.into_iter().find(|entry| entry.devno == devno);
        let device = match known {
            Some(entry) => entry.name.into(),
            None => Device::Name(String::new()),
        };
        Ok(Subject { device, name: String::new(), uuid: String::new(), devno: Some(devno) })
    }

    fn subject_named(&mut self, name: &str) -> Result<Subject, Fail> {
        if !name.contains('/') {
            return Ok(Subject::named(self.mangled(name)?));
        }
        let not_found = || Fail::Because(format!("Device {name} not found"));
        let mapper = self.dev_dir.join("mapper");
        let path = Path::new(name);
        let direct = path.strip_prefix(&mapper).ok().and_then(Path::to_str);
        if let Some(direct) = direct.filter(|rest| !rest.contains('/')) {
            return Ok(Subject::named(self.mangled(direct)?));
        }
        // A link to a node, as in /dev/vg0/lv0.
        let target = path.canonicalize().map_err(|_| not_found())?;
        let mapper = mapper.canonicalize().map_err(|_| not_found())?;
        let linked = target.strip_prefix(&mapper).ok().and_then(Path::to_str);
        Ok(Subject::named(linked.ok_or_else(not_found)?))
    }

    /// The state of a device.
    pub fn info(&mut self, subject: &Subject) -> Result<Info, Fail> {
        let query = self.query();
        self.dm()?.info(&subject.device, query).map_err(|error| subject.refused(error))
    }

    /// How the options ask about tables.
    pub fn query(&self) -> Query {
        let inactive = self.has(Opt::Inactive);
        Query { inactive, no_flush: self.has(Opt::NoFlush), secure: self.has(Opt::ShowKeys) }
    }

    /// How the options suspend and resume.
    pub fn transition(&self) -> Transition {
        Transition { no_flush: self.has(Opt::NoFlush), skip_lockfs: self.has(Opt::NoLockfs) }
    }

    /// The nodes that this command has to care for.
    pub fn nodes(&mut self) -> Result<Nodes, Fail> {
        let needed = self.dm()?.control().needs_nodes();
        let number = |opt| self.options.number(opt).map_err(Fail::Because);
        let mode = self.options.text(Opt::Mode).and_then(|mode| u32::from_str_radix(mode, 8).ok());
        Ok(Nodes {
            directory: needed.then(|| self.dev_dir.join("mapper")),
            uid: number(Opt::Uid)?,
            gid: number(Opt::Gid)?,
            mode,
        })
    }
}

/// Checks the options that belong to no command, and tells when to mangle names.
pub fn check(options: &Options, mangling: Option<&str>) -> Result<Mode, String> {
    let mode = options.text(Opt::MangleName).or(mangling).unwrap_or("auto");
    let mode = Mode::from_word(mode).ok_or("Unknown name mangling mode.")?;
    let major = options.number::<u32>(Opt::Major)?;
    let minor = options.number::<u32>(Opt::Minor)?;
    if major.is_some() != minor.is_some() {
        return Err("Please specify both major number and minor number.".into());
    }
    options.number::<u32>(Opt::Uid)?;
    options.number::<u32>(Opt::Gid)?;
    options.number::<u64>(Opt::Timeout)?;
    if let Some(text) = options.text(Opt::Mode)
        && u32::from_str_radix(text, 8).map_or(true, |mode| mode > 0o7777)
    {
        return Err(format!("Invalid argument for --mode: {text}. "));
    }
    Ok(mode)
}
