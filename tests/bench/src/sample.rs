//! Medians, and how far the middle of the samples lies apart.

use cpu_time::ThreadTime;

/// The nanoseconds that the calling thread ran on a processor while it did something: what
/// other programs ran meanwhile does not count, only what they took out of the caches.
pub fn busy_ns(work: impl FnOnce()) -> f64 {
    let begin = ThreadTime::now();
    work();
    begin.elapsed().as_nanos() as f64
}

/// What many samples say.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Half of the samples are below.
    pub median: f64,
    /// A tenth is below.
    pub low: f64,
    /// A tenth is above.
    pub high: f64,
    /// How many there were.
    pub count: usize,
}

impl Summary {
    /// Of at least one sample.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * sorted.len().saturating_sub(1) as f64;
            sorted.get(place.round() as usize).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(0.5), low: at(0.1), high: at(0.9), count: sorted.len() }
    }

    /// One number without spread.
    pub const fn exact(value: f64) -> Self {
        Self { median: value, low: value, high: value, count: 1 }
    }
}

/// Samples of several things taken in turn, so that a disturbance meets all of them.
pub struct InTurn<'a> {
    things: Vec<(String, Box<dyn FnMut() -> f64 + 'a>)>,
}

impl<'a> InTurn<'a> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { things: Vec::new() }
    }

    /// One more thing; `sample` measures it once.
    pub fn add(&mut self, name: impl Into<String>, sample: impl FnMut() -> f64 + 'a) {
        self.things.push((name.into(), Box::new(sample)));
    }

    /// Measures each once to warm up and then `rounds` times.
    pub fn run(mut self, rounds: usize) -> Vec<(String, Summary)> {
        let mut samples = vec![Vec::new(); self.things.len()];
        for round in 0..=rounds {
            for ((_, sample), samples) in self.things.iter_mut().zip(&mut samples) {
                let value = sample();
                if round > 0 {
                    samples.push(value);
                }
            }
        }
        let names = self.things.into_iter().map(|(name, _)| name);
        names.zip(samples).map(|(name, samples)| (name, Summary::of(&samples))).collect()
    }
}
