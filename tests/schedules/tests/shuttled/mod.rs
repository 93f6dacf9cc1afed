//! Runs a test under schedules that shuttle chooses.

use dm_schedules::random::long;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// `count` random schedules and as many with few switches, from a seed; `DM_TEST_LONG` tries
/// twenty times as many.
pub fn explore(seed: u64, max_steps: Option<MaxSteps>, count: usize, test: fn()) {
    let count = count * if long() { 20 } else { 1 };
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.max_steps = max_steps.unwrap_or(config.max_steps);
    config.failure_persistence = FailurePersistence::Print;
    let random = RandomScheduler::new_from_seed(seed, count);
    Runner::new(random, config.clone()).run(test);
    let few = PctScheduler::new_from_seed(seed, 3, count);
    Runner::new(few, config).run(test);
}
