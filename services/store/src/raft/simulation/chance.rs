//! Everything that is drawn in a simulation comes from its seed.

use std::time::Duration;

use super::executor;

fn draw() -> u64 {
    executor::current().expect("a simulation").draw()
}

/// A number below `count`.
pub(super) fn below(count: u64) -> u64 {
    draw() % count.max(1)
}

/// True once in so many times.
pub(super) fn one_in(count: u64) -> bool {
    below(count) == 0
}

/// Up to so many milliseconds, one at least.
pub(super) fn millis(most: u64) -> Duration {
    Duration::from_micros(1000 + below(most.max(1) * 1000))
}
