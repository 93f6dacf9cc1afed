//! From the claim to a directory to the last flush.

use crate::options::Options;
use crate::place::Place;
use crate::{daemon, ready};
use dm::driver::Driver;
use dm::targets::TARGETS;
use dm_host::control::{Control, Limits};
use dm_host::front::Registry;
use dm_host::fuse::Fuse;
use dm_host::nbd::Nbd;
use dm_host::{concise, paths};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Serves until it is told to stop.
pub fn run(options: &Options) -> Result<(), String> {
    if let Some(dir) = &options.dev_dir {
        paths::set_dev_dir(dir.clone());
    }
    let dev_dir = paths::dev_dir();
    allow_many_files();
    leave_no_core();
    let place = Place::claim(&dev_dir)?;
    let stop = stop_signals()?;
    let devices = devices(options)?;
    let listener = place.listen(options)?;
    let nbd = place.listen_nbd(options)?;
    let (driver, registry) = (Driver::attach(TARGETS), Registry::current());
    let served = serve(options, &driver, &devices, || {
        let nbd = nbd.map(|listener| Nbd::start(listener, &driver, &registry)).transpose();
        let control = Control::start(listener, &driver, &registry, Limits::default());
        Ok(Serving {
            control: control.map_err(|error| format!("control: {error}"))?,
            _nbd: nbd.map_err(|error| format!("nbd: {error}"))?,
            _fuse: files(options, &driver, &registry),
        })
    });
    let served = served.map(|mut serving| {
        log::info!("ready in {}", dev_dir.display());
        // An error means that no signal can come any more.
        let _ = stop.recv();
        ready::stopping();
        serving.control.stop();
        serving
    });
    // Requests that wait for a suspended device fail, and so those who sent them can end.
    driver.shutdown();
    let served = served.map(drop);
    place.leave(options);
    if served.is_ok() {
        ready::stopped(options);
    }
    served
}

/// What runs while we serve.
struct Serving {
    control: Control,
    _nbd: Option<Nbd>,
    _fuse: Option<Fuse>,
}

fn serve(
    options: &Options,
    driver: &Arc<Driver>,
    devices: &[concise::DeviceLine],
    fronts: impl FnOnce() -> Result<Serving, String>,
) -> Result<Serving, String> {
    concise::create(driver, devices).map_err(|error| match &options.table_file {
        Some(path) => format!("{}, {error}", path.display()),
        None => format!("--concise, {error}"),
    })?;
    let serving = fronts()?;
    ready::tell(options)?;
    if daemon::is_background() {
        daemon::detach()?;
    }
    Ok(serving)
}

/// Memory holds keys. A limit of one byte, unlike none, also stops Linux from piping the memory
/// of a process that crashed to a program.
fn leave_no_core() {
    let one = Rlimit { current: Some(1), maximum: Some(1) };
    if let Err(error) = setrlimit(Resource::Core, one) {
        log::warn!("core files may hold keys: {error}");
    }
}

/// Disks, clients and their connections need more files than processes may open by default.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // What is not granted shows when files run out.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Files for the devices. Without the right to make them the rest is served all the same.
fn files(options: &Options, driver: &Arc<Driver>, registry: &Arc<Registry>) -> Option<Fuse> {
    if options.no_fuse {
        return None;
    }
    let started = Fuse::start(&paths::dev_dir(), driver, registry);
    started.map_err(|why| log::warn!("{why}; devices are served over NBD only")).ok()
}

/// The devices to make first.
fn devices(options: &Options) -> Result<Vec<concise::DeviceLine>, String> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (name, text) = match (&options.table_file, &options.concise) {
        (Some(path), _) => (path.display().to_string(), read(path)?),
        (None, Some(text)) => ("--concise".to_owned(), text.clone()),
        (None, None) => return Ok(Vec::new()),
    };
    concise::parse(&text).map_err(|error| format!("{name}, {error}"))
}

/// Says when it is time to stop; whoever says so twice does not wait for the rest.
fn stop_signals() -> Result<Receiver<()>, String> {
    let wrong = |error: std::io::Error| format!("signals: {error}");
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(wrong)?;
    let (sender, receiver) = channel();
    let watch = move || {
        for (before, signal) in signals.forever().enumerate() {
            if before > 0 || sender.send(()).is_err() {
                log::warn!("stopped at once by signal {signal}");
                process::exit(1);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch).map_err(wrong)?;
    Ok(receiver)
}
