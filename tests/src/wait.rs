//! Waiting for a condition, with a deadline: no test sleeps and hopes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks `probe` until it gives a value; an error names `what` once `limit` has passed.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < limit {
        // A probe that hangs must not outlive the deadline.
        let left = limit.saturating_sub(start.elapsed());
        if let Ok(Some(value)) = tokio::time::timeout(left, probe()).await {
            return Ok(value);
        }
        tokio::time::sleep(INTERVAL).await;
    }
    bail!("not within {limit:?}: {what}")
}

/// Seconds, for deadlines.
pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
