//! What was asked of a device and when, and what it may therefore hold when the power goes.

use dm_protocol::SECTOR_SIZE;

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Sectors get a version.
    Write { at: u64, count: u64, version: u8, fua: bool },
    /// All that was written before becomes durable.
    Flush,
}

/// Something that was asked, and the moments between which it was under way.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub what: What,
    pub begun: u64,
    pub ended: u64,
}

/// Everything that was asked of a device. Requests under way at the same time touch
/// different sectors.
#[derive(Clone, Debug)]
pub struct History {
    /// What each sector held at the beginning, durably.
    pub first: Vec<u8>,
    pub steps: Vec<Step>,
}

/// What each sector may hold, by version.
#[derive(Clone, Debug)]
pub struct Allowed(Vec<[u64; 4]>);

impl History {
    pub fn new(first: Vec<u8>) -> Self {
        Self { first, steps: Vec::new() }
    }

    /// What each sector may hold after a power cut: what was durable, and all that came later.
    pub fn allowed(&self, moment: u64) -> Allowed {
        let mut allowed = Allowed(vec![[0; 4]; self.first.len()]);
        for (sector, version) in self.first.iter().enumerate() {
            allowed.only(sector, *version);
        }
        let flushes: Vec<&Step> = self
            .steps
            .iter()
            .filter(|step| matches!(step.what, What::Flush) && step.ended < moment)
            .collect();
        for step in self.steps.iter().filter(|step| step.begun < moment) {
            let What::Write { at, count, version, fua } = step.what else { continue };
            let acknowledged = step.ended < moment;
            let flushed = flushes.iter().any(|flush| flush.begun > step.ended);
            for sector in at as usize..(at + count) as usize {
                if acknowledged && (fua || flushed) {
                    allowed.only(sector, version);
                } else {
                    allowed.too(sector, version);
                }
            }
        }
        allowed
    }
}

impl Allowed {
    fn only(&mut self, sector: usize, version: u8) {
        self.0[sector] = [0; 4];
        self.too(sector, version);
    }

    fn too(&mut self, sector: usize, version: u8) {
        self.0[sector][version as usize / 64] |= 1 << (version % 64);
    }

    /// Compares; each sector is made of one version.
    pub fn check(&self, bytes: &[u8], when: &dyn Fn() -> String) {
        for (at, sector) in bytes.chunks(SECTOR_SIZE as usize).enumerate() {
            let version = sector[0];
            let torn = sector.iter().any(|byte| *byte != version);
            assert!(!torn, "sector {at} is torn, {}", when());
            let found = self.0[at][version as usize / 64] >> (version % 64) & 1 == 1;
            assert!(found, "sector {at} holds {version} of {:?}, {}", self.versions(at), when());
        }
    }

    fn versions(&self, sector: usize) -> Vec<u8> {
        let has = |version: &u8| self.0[sector][*version as usize / 64] >> (*version % 64) & 1 == 1;
        (0..=u8::MAX).filter(has).collect()
    }
}
