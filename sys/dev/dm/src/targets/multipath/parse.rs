//! The words of a multipath table line.

use super::paths::{Group, Path, Paths};
use super::selector::Selector;
use crate::lower::Lower;
use crate::params::Params;
use crate::target::Setup;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use dm_protocol::{Errno, Failure, Sector};

/// What is said before the groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Features {
    /// Requests wait when no path is left.
    pub(super) queue_if_no_path: bool,
    /// For at most so many seconds; 0 for ever.
    pub(super) timeout_secs: u64,
    /// For hardware handlers, of which there are none here.
    pg_init_retries: u64,
    pg_init_delay_msecs: Option<u64>,
    retain_attached_hw_handler: bool,
    /// `queue_mode bio`; its other values are the default and are not shown.
    bio: bool,
}

/// A table line.
pub(super) struct Line {
    pub(super) features: Features,
    pub(super) paths: Paths,
    /// The device of each path.
    pub(super) lowers: Vec<Lower>,
    /// How the table named it.
    pub(super) names: Vec<String>,
}

impl Line {
    /// Reads a table line and opens its devices.
    pub(super) fn parse(setup: &mut Setup<'_>, params: &mut Params<'_>) -> Result<Self, Failure> {
        let features = Features::parse(params)?;
        if params.number("hardware handler arguments", 0..=1024)? != 0 {
            params.word("hardware handler")?;
            return Err(params.refuse("there are no hardware handlers here"));
        }
        let count = params.number("priority groups", 0..=1024)?;
        let first = params.number("initial priority group", count.min(1)..=count)?;
        let next = usize::try_from(first).unwrap_or(usize::MAX).checked_sub(1);
        let mut line = Self {
            features,
            paths: Paths::new(Vec::new(), Vec::new(), next),
            lowers: Vec::new(),
            names: Vec::new(),
        };
        for _ in 0..count {
            line.parse_group(setup, params)?;
        }
        params.end()?;
        Ok(line)
    }

    fn parse_group(
        &mut self,
        setup: &mut Setup<'_>,
        params: &mut Params<'_>,
    ) -> Result<(), Failure> {
        let selector = Selector::parse(params)?;
        let first = self.paths.paths.len();
        let count = params.number("paths", 1..=1024)?;
        let words = params.number("path arguments", 0..=1024)?;
        for _ in 0..count {
            let lower = setup.device(params)?;
            let whole = lower.check_range(Sector(0), setup.length());
            whole.map_err(|why| params.blame(&why))?;
            self.names.push(params.last().to_owned());
            let (repeat, throughput) = selector.parse_path(params, words)?;
            self.paths.paths.push(Path::new(repeat, throughput));
            self.lowers.push(lower);
        }
        let count = self.paths.paths.len().saturating_sub(first);
        self.paths.groups.push(Group::new(selector, first, count));
        Ok(())
    }
}

impl Features {
    fn parse(params: &mut Params<'_>) -> Result<Self, Failure> {
        let mut features = Self::default();
        let mut left = params.number("feature arguments", 0..=10)?;
        while left != 0 {
            let word = params.word("feature")?;
            left = left.saturating_sub(1);
            let takes_value = match word {
                "queue_if_no_path" => {
                    features.queue_if_no_path = true;
                    false
                }
                "retain_attached_hw_handler" => {
                    features.retain_attached_hw_handler = true;
                    false
                }
                "pg_init_retries"
                | "pg_init_delay_msecs"
                | "queue_mode"
                | "queue_if_no_path_timeout_secs" => true,
                _ => return Err(params.refuse("is no feature known here")),
            };
            if takes_value {
                left = left.checked_sub(1).ok_or_else(|| params.refuse("lacks its value"))?;
                features.parse_value(word, params)?;
            }
        }
        Ok(features)
    }

    fn parse_value(&mut self, feature: &str, params: &mut Params<'_>) -> Result<(), Failure> {
        match feature {
            "pg_init_retries" => self.pg_init_retries = params.number("pg_init_retries", 1..=50)?,
            "pg_init_delay_msecs" => {
                self.pg_init_delay_msecs = Some(params.number("pg_init_delay_msecs", 0..=60_000)?);
            }
            "queue_if_no_path_timeout_secs" => {
                let most = u64::from(u32::MAX);
                self.timeout_secs = params.number("queue_if_no_path_timeout_secs", 0..=most)?;
            }
            _ => match params.word("queue_mode")? {
                "bio" => self.bio = true,
                "rq" | "mq" => self.bio = false,
                _ => return Err(params.refuse("is none of bio, rq, mq")),
            },
        }
        Ok(())
    }

    /// Writes them as a table has them; `queue` may have changed since.
    pub(super) fn write(&self, queue: bool, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut text = String::new();
        let mut words = 0_u32;
        let mut add = |feature: &str, value: Option<u64>| {
            words = words.saturating_add(1 + u32::from(value.is_some()));
            match value {
                Some(value) => text.push_str(&format!("{feature} {value} ")),
                None => text.push_str(&format!("{feature} ")),
            }
        };
        if queue {
            add("queue_if_no_path", None);
        }
        if self.pg_init_retries != 0 {
            add("pg_init_retries", Some(self.pg_init_retries));
        }
        if let Some(delay) = self.pg_init_delay_msecs {
            add("pg_init_delay_msecs", Some(delay));
        }
        if self.retain_attached_hw_handler {
            add("retain_attached_hw_handler", None);
        }
        if self.bio {
            add("queue_mode", None);
            add("bio", None);
        }
        if self.timeout_secs != 0 {
            add("queue_if_no_path_timeout_secs", Some(self.timeout_secs));
        }
        write!(out, "{words} {text}")
    }
}

/// The number of a group that a message names, counted from 0.
pub(super) fn group_number(params: &mut Params<'_>, groups: usize) -> Result<usize, Failure> {
    let count = u64::try_from(groups).unwrap_or(u64::MAX);
    if count == 0 {
        return Err(Failure::new(Errno::EINVAL, "there are no priority groups"));
    }
    let number = params.number("priority group", 1..=count)?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1))
}
