//! A Linux guest that plays cases: an exchange disk, a boot, and what came back.

use crate::ours::Images;
use dm_play::case::{Script, print};
use dm_play::exchange::{Place, Report, TEXT, layout, read};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than a case takes, and a boot.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is needed to boot: a folder with `vmlinuz` and `initrd`, as `tests/oracle/guest.sh` makes.
#[derive(Clone, Debug)]
pub struct Guest {
    folder: PathBuf,
}

/// Disks that a script's cases left on Linux's side, and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// What was printed.
    pub report: Report,
    /// For each case its disks.
    pub images: Vec<Images>,
    /// The end of what the kernel said.
    pub console: String,
}

impl Guest {
    /// The guest of a folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }

    /// Boots, and plays a script. `ours` are the disks that we left at each handover.
    ///
    /// # Errors
    /// What prevented it.
    pub fn play(&self, script: &Script, fresh: &[Images], ours: &[Images]) -> io::Result<Outcome> {
        let work = tempfile::tempdir()?;
        let exchange = work.path().join("exchange");
        let (places, size) = layout(script);
        let file = File::options().read(true).write(true).create_new(true).open(&exchange)?;
        file.set_len(size)?;
        let mut text = print(script).into_bytes();
        text.push(0);
        if text.len() as u64 > TEXT {
            return Err(io::Error::other("the cases are longer than their room"));
        }
        file.write_all_at(&text, 0)?;
        put(&file, &places, fresh, |place| place.linux)?;
        put(&file, &places, ours, |place| place.ours)?;
        self.boot(work.path(), &exchange)?;
        let said = String::from_utf8_lossy(&fs::read(work.path().join("report"))?).into_owned();
        let console = String::from_utf8_lossy(&fs::read(work.path().join("console"))?).into_owned();
        let start = console.len().saturating_sub(3000);
        let console = console.get(start..).unwrap_or(&console).into();
        Ok(Outcome { report: read(&said), images: take(&file, &places)?, console })
    }

    fn boot(&self, work: &Path, exchange: &Path) -> io::Result<()> {
        let file = |name: &str| format!("file:{}", work.join(name).display());
        let drive =
            format!("if=virtio,format=raw,cache=unsafe,discard=unmap,file={}", exchange.display());
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-display", "none", "-no-reboot", "-machine", "q35,hpet=off"]);
        command.args(["-accel", "tcg,tb-size=256", "-cpu", "max", "-m", "1024"]);
        command.arg("-kernel").arg(self.folder.join("vmlinuz"));
        command.arg("-initrd").arg(self.folder.join("initrd"));
        let line = "console=ttyS0 quiet mitigations=off tsc=reliable random.trust_cpu=on panic=-1";
        command.args(["-append", line, "-drive", &drive]);
        command.args(["-serial", &file("console"), "-serial", &file("report")]);
        let mut machine = command.stdin(Stdio::null()).spawn()?;
        let mut seen = (0, Instant::now());
        loop {
            if let Some(status) = machine.try_wait()? {
                let failed = || io::Error::other(format!("qemu: {status}"));
                return if status.success() { Ok(()) } else { Err(failed()) };
            }
            let said = fs::metadata(work.join("report")).map_or(0, |about| about.len());
            if said != seen.0 {
                seen = (said, Instant::now());
            } else if seen.1.elapsed() > PATIENCE {
                // What it said until then still counts.
                machine.kill()?;
                return machine.wait().map(drop);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn put(
    file: &File,
    places: &[Vec<Place>],
    images: &[Images],
    at: impl Fn(&Place) -> u64,
) -> io::Result<()> {
    for (places, images) in places.iter().zip(images) {
        for (place, image) in places.iter().zip(images) {
            // Zeroes are there already.
            if image.iter().any(|byte| *byte != 0) {
                file.write_all_at(image, at(place))?;
            }
        }
    }
    Ok(())
}

fn take(file: &File, places: &[Vec<Place>]) -> io::Result<Vec<Images>> {
    let one = |place: &Place| {
        let mut bytes = vec![0; place.bytes as usize];
        file.read_exact_at(&mut bytes, place.linux)?;
        Ok(bytes)
    };
    places.iter().map(|case| case.iter().map(one).collect()).collect()
}
