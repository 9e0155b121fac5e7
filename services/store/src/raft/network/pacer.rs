//! Snapshots and backups, and old entries for those who are far behind, leave at a bounded rate, so
//! that they leave room for the work of the day.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Bounds the bytes per second that a node sends to those who catch up, or of all backups.
pub(crate) struct Pacer {
    rate: u64,
    schedule: Mutex<Option<Instant>>,
}

impl Pacer {
    /// `rate` is in bytes per second; 0 is without limit.
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            schedule: Mutex::new(None),
        }
    }

    /// Waits until `bytes` more may leave.
    pub(crate) async fn pass(&self, bytes: usize) {
        if self.rate == 0 {
            return;
        }
        let at = {
            let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
            let (at, next) = plan(*schedule, Instant::now(), bytes, self.rate);
            *schedule = Some(next);
            at
        };
        sleep_until(at).await;
    }
}

/// When `bytes` may leave, and when the next ones may.
fn plan(free: Option<Instant>, now: Instant, bytes: usize, rate: u64) -> (Instant, Instant) {
    let at = free.map_or(now, |free| free.max(now));
    let nanos = (bytes as u128 * 1_000_000_000) / u128::from(rate.max(1));
    let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    (at, at + takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_one_after_another_and_idle_time_is_not_saved_up() {
        let now = Instant::now();
        let (first, next) = plan(None, now, 500, 1000);
        assert_eq!((first, next), (now, now + Duration::from_millis(500)));
        let (second, next) = plan(Some(next), now, 1000, 1000);
        assert_eq!(second, now + Duration::from_millis(500));
        let later = now + Duration::from_secs(60);
        assert_eq!(plan(Some(next), later, 1, 1000).0, later);
    }
}
