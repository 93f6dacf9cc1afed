//! How a path is chosen among those of a group.
//!
//! Upstream: Linux's dm-round-robin, dm-ps-queue-length, dm-ps-service-time and
//! dm-ps-historical-service-time. Paths that are as good take turns.

use super::paths::Path;
use crate::params::Params;
use core::cmp::Ordering;
use core::fmt;
use dm_protocol::Failure;

/// A way to choose, with the arguments of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    /// In turn.
    RoundRobin,
    /// The one with the fewest requests.
    QueueLength,
    /// The one that has least to transfer, by its relative throughput.
    ServiceTime,
    /// The one that was fastest of late, by how many requests it has.
    Historical {
        /// How much of the average the past is, in 1024ths.
        base_weight: u32,
        /// So many times slower a path must be to count as slower.
        threshold: u32,
    },
}

/// Names in tables.
const ROUND_ROBIN: &str = "round-robin";
const QUEUE_LENGTH: &str = "queue-length";
const SERVICE_TIME: &str = "service-time";
const HISTORICAL: &str = "historical-service-time";

/// Linux's default weight: 95 hundredths.
const DEFAULT_WEIGHT: u32 = 972;
/// Fractional bits of averages and weights.
const FRACTION: u32 = 10;
const ONE: u64 = 1 << FRACTION;
/// A weight for each 2^24 ns of service time; from the last on, the past does not count.
const BUCKET_SHIFT: u32 = 24;
const BUCKETS: u64 = 64;
/// Sizes from here on are scaled down before they are multiplied by a throughput.
const BIG: u64 = u64::MAX >> 7;
/// The largest relative throughput.
const THROUGHPUT_MAX: u64 = 100;

impl Selector {
    /// Reads a selector's name, the number of its arguments, and those.
    pub(super) fn parse(params: &mut Params<'_>) -> Result<Self, Failure> {
        let name = params.word("path selector")?;
        let known = match name {
            ROUND_ROBIN => Self::RoundRobin,
            QUEUE_LENGTH => Self::QueueLength,
            SERVICE_TIME => Self::ServiceTime,
            HISTORICAL => Self::Historical { base_weight: DEFAULT_WEIGHT, threshold: 0 },
            _ => return Err(params.refuse("is no path selector known here")),
        };
        let words = params.number("selector arguments", 0..=1024)?;
        let Self::Historical { mut base_weight, mut threshold } = known else {
            // As on Linux, the others take what they do not need.
            for _ in 0..words {
                params.word("selector argument")?;
            }
            return Ok(known);
        };
        if words > 2 {
            return Err(params.refuse("are too many: base weight and threshold multiplier"));
        }
        if words > 0 {
            base_weight = params.number("base weight", 0..=ONE - 1)? as u32;
        }
        if words > 1 {
            threshold = params.number("threshold multiplier", 0..=u64::from(u32::MAX))? as u32;
        }
        Ok(Self::Historical { base_weight, threshold })
    }

    /// Reads the `words` arguments of a path: how often to use it in a row, which Linux takes as
    /// one whatever is said, and its relative throughput.
    pub(super) fn parse_path(
        self,
        params: &mut Params<'_>,
        words: u64,
    ) -> Result<(u32, u32), Failure> {
        let most = if self == Self::ServiceTime { 2 } else { 1 };
        if words > most {
            let why = alloc::format!("{} takes at most {most} arguments a path", self.name());
            return Err(params.refuse(&why));
        }
        let repeat = match words {
            0 => 1,
            _ => params.number("repeat count", 0..=u64::from(u32::MAX))?.min(1) as u32,
        };
        let throughput = match words {
            0 | 1 => 1,
            _ => params.number("relative throughput", 0..=THROUGHPUT_MAX)? as u32,
        };
        Ok((repeat, throughput))
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => ROUND_ROBIN,
            Self::QueueLength => QUEUE_LENGTH,
            Self::ServiceTime => SERVICE_TIME,
            Self::Historical { .. } => HISTORICAL,
        }
    }

    /// Writes the arguments of the group, with their number.
    pub(super) fn group_args(self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Historical { base_weight, threshold } => {
                write!(out, "2 {base_weight} {threshold} ")
            }
            _ => out.write_str("0 "),
        }
    }

    /// How many words a path has in a table, and in a status.
    pub(super) const fn path_words(self) -> (u32, u32) {
        match self {
            Self::RoundRobin => (1, 0),
            Self::QueueLength => (1, 1),
            Self::ServiceTime => (2, 2),
            Self::Historical { .. } => (1, 3),
        }
    }

    /// Writes the words of a path for a table.
    pub(super) fn path_args(self, path: &Path, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::RoundRobin | Self::QueueLength => write!(out, "{} ", path.repeat),
            Self::ServiceTime => write!(out, "{} {} ", path.repeat, path.throughput),
            Self::Historical { .. } => out.write_str("0 "),
        }
    }

    /// Writes the words of a path for a status.
    pub(super) fn path_state(self, path: &Path, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::RoundRobin => Ok(()),
            Self::QueueLength => write!(out, "{} ", path.load.requests),
            Self::ServiceTime => write!(out, "{} {} ", path.load.bytes, path.throughput),
            Self::Historical { .. } => {
                let load = &path.load;
                write!(out, "{} {} {} ", load.average, load.requests, load.stale_after)
            }
        }
    }

    /// True if `one` is better than `other` for a request of so many bytes.
    pub(super) fn prefers(self, one: &Path, other: &Path, bytes: u64, now_ns: u64) -> bool {
        match self {
            Self::RoundRobin => false,
            Self::QueueLength => one.load.requests < other.load.requests,
            Self::ServiceTime => by_service_time(one, other, bytes) == Ordering::Less,
            Self::Historical { threshold, .. } => {
                by_history(&one.load, &other.load, threshold, now_ns) == Ordering::Less
            }
        }
    }

    /// Learns that a request on a path took from `start_ns` to `now_ns`; `paths` are in use.
    pub(super) fn learn(self, load: &mut Load, (start_ns, now_ns): (u64, u64), paths: usize) {
        let Self::Historical { base_weight, .. } = self else { return };
        // What ran beside another request counts from that one's end, as if one after the other.
        let took_ns = now_ns.saturating_sub(start_ns.max(load.last_finish));
        load.last_finish = now_ns;
        let weight = weight(u64::from(base_weight), took_ns);
        let most = u64::MAX >> FRACTION;
        let past = load.average.min(most).saturating_mul(weight);
        let fresh =
            took_ns.saturating_mul(ONE).min(most).saturating_mul(ONE.saturating_sub(weight));
        load.average = past.saturating_add(fresh).saturating_add(ONE >> 1) >> FRACTION;
        let fair_ns = (load.average >> FRACTION).saturating_mul(paths as u64);
        load.stale_after = now_ns.saturating_add(fair_ns);
    }
}

/// What a path has to do, and how it did of late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests under way.
    pub(super) requests: u64,
    /// What they transfer.
    pub(super) bytes: u64,
    /// The average service time, in 1024ths of a nanosecond.
    average: u64,
    /// From then on the average is too old to be trusted.
    stale_after: u64,
    last_finish: u64,
}

impl Load {
    pub(super) const fn new() -> Self {
        Self { requests: 0, bytes: 0, average: ONE, stale_after: 0, last_finish: 0 }
    }
}

/// Least (size under way + this one) / throughput; then the higher throughput.
fn by_service_time(one: &Path, other: &Path, bytes: u64) -> Ordering {
    let (mine, its) = (u64::from(one.throughput), u64::from(other.throughput));
    let (size, other_size) = (one.load.bytes, other.load.bytes);
    if mine == its {
        return size.cmp(&other_size);
    }
    if size == other_size || mine == 0 || its == 0 {
        return its.cmp(&mine);
    }
    let (size, other_size) = (size.saturating_add(bytes), other_size.saturating_add(bytes));
    let shift = if size >= BIG || other_size >= BIG { 7 } else { 0 };
    let time = (size >> shift).saturating_mul(its);
    time.cmp(&(other_size >> shift).saturating_mul(mine)).then(its.cmp(&mine))
}

/// Least estimated time, unless the averages are alike or too old.
fn by_history(one: &Load, other: &Load, threshold: u32, now_ns: u64) -> Ordering {
    let (slow, fast) = (one.average.max(other.average), one.average.min(other.average));
    if slow <= fast.saturating_mul(u64::from(threshold)) {
        return one.requests.cmp(&other.requests);
    }
    let idle = |load: &Load| load.requests == 0;
    let stale = |load: &Load| load.stale_after < now_ns;
    let probe = |load: &Load| idle(load) && stale(load);
    if probe(one) || probe(other) || (idle(one) && idle(other)) {
        // An idle one before a busy one; of two idle ones the one that is older.
        let age = |load: &Load, beside: &Load| if idle(beside) { load.stale_after } else { 0 };
        return age(one, other).cmp(&age(other, one));
    }
    let estimate = |load: &Load| {
        u128::from(load.average).saturating_mul(u128::from(load.requests).saturating_add(1))
    };
    // A winner that is stale gets no more than its equal share.
    match estimate(one).cmp(&estimate(other)) {
        Ordering::Greater if stale(other) => one.requests.cmp(&other.requests),
        Ordering::Greater => Ordering::Greater,
        _ if stale(one) => one.requests.cmp(&other.requests),
        _ => Ordering::Less,
    }
}

/// The weight of the past for a request that took so long: the base to the power of the
/// number of buckets it spans.
fn weight(base: u64, took_ns: u64) -> u64 {
    let bucket = (took_ns >> BUCKET_SHIFT).min(BUCKETS - 1);
    if bucket == BUCKETS - 1 {
        return 0;
    }
    let (mut power, mut base, mut exponent) = (ONE, base, bucket.saturating_add(1));
    while exponent != 0 {
        if exponent & 1 == 1 {
            power = times(power, base);
        }
        base = times(base, base);
        exponent >>= 1;
    }
    power
}

/// The product of two fractions, rounded.
fn times(one: u64, other: u64) -> u64 {
    one.saturating_mul(other).saturating_add(ONE >> 1) >> FRACTION
}
