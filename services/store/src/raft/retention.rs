//! How much of a shard's log is kept, and how far it may be purged.
//!
//! The log grows to its limits, then its older half goes. More stays while a follower still needs
//! it, but never more than [`PATIENCE`] times the limits, since the disk has an end: who is further
//! behind than that gets a snapshot. What follows a snapshot stays while that is being sent, unless
//! the disk has too little room.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How many times its limits the log may grow for those who are behind.
const PATIENCE: u64 = 4;

/// Stretches that the log is measured in when it is at its limits.
const STRETCHES: u64 = 32;

/// How long the log behind a snapshot stays after it was sent: until the replication of what
/// follows is seen to go on.
const LINGER: Duration = Duration::from_secs(5);

/// Entries and bytes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Extent {
    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_add(other.entries),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn exceeds(self, limit: Self) -> bool {
        self.entries > limit.entries || self.bytes > limit.bytes
    }

    fn times(self, factor: u64) -> Self {
        Self {
            entries: self.entries.saturating_mul(factor),
            bytes: self.bytes.saturating_mul(factor),
        }
    }

    fn part(self, parts: u64) -> Self {
        Self {
            entries: self.entries / parts,
            bytes: self.bytes / parts,
        }
    }
}

/// Where a log's bytes are: neighbouring entries, measured together.
struct Measure {
    limits: Extent,
    /// The last index of each stretch, and what it takes.
    stretches: VecDeque<(u64, Extent)>,
    total: Extent,
}

impl Measure {
    fn new(limits: Extent) -> Self {
        Self {
            limits,
            stretches: VecDeque::new(),
            total: Extent::default(),
        }
    }

    fn appended(&mut self, last: u64, what: Extent) {
        self.total = self.total.plus(what);
        let full = self.limits.part(STRETCHES);
        match self.stretches.back_mut() {
            Some((end, stretch)) if !stretch.plus(what).exceeds(full) => {
                *end = last;
                *stretch = stretch.plus(what);
            }
            _ => self.stretches.push_back((last, what)),
        }
    }

    /// The log ends before `from`. What a stretch keeps is not measured anew.
    fn truncated(&mut self, from: u64) {
        while let Some((end, stretch)) = self.stretches.pop_back() {
            if end < from {
                self.stretches.push_back((end, stretch));
                return;
            }
            let gone = end - from + 1;
            if gone < stretch.entries {
                let cut = Extent {
                    entries: gone,
                    bytes: 0,
                };
                self.total = self.total.minus(cut);
                self.stretches.push_back((from - 1, stretch.minus(cut)));
                return;
            }
            self.total = self.total.minus(stretch);
        }
    }

    fn purged(&mut self, upto: u64) {
        while let Some((end, stretch)) = self.stretches.front()
            && *end <= upto
        {
            self.total = self.total.minus(*stretch);
            self.stretches.pop_front();
        }
    }

    fn is_over(&self) -> bool {
        self.total.exceeds(self.limits)
    }

    /// The last index that has to go if the rest is to fit; 0 if all fits.
    fn index_beyond(&self, limit: Extent) -> u64 {
        let mut rest = Extent::default();
        for (end, stretch) in self.stretches.iter().rev() {
            rest = rest.plus(*stretch);
            if rest.exceeds(limit) {
                return *end;
            }
        }
        0
    }

    /// Up to where to purge; `None` to leave the log as it is. `needed` is the last index that
    /// the slowest of those who are behind has already; nothing behind `held` goes.
    fn purge_upto(&self, applied: u64, needed: Option<u64>, held: Option<u64>) -> Option<u64> {
        if !self.is_over() {
            return None;
        }
        let half = self.index_beyond(self.limits.part(2));
        let most = self.index_beyond(self.limits.times(PATIENCE));
        let upto = half.min(needed.unwrap_or(u64::MAX)).max(most);
        let upto = upto.min(held.unwrap_or(u64::MAX)).min(applied);
        let first = self.stretches.front().map_or(0, |(end, _)| *end);
        // Less than a stretch is not worth a purge.
        (upto >= first && upto > 0).then_some(upto)
    }
}

/// What is kept of one shard's log.
pub(crate) struct Retention {
    state: Mutex<State>,
    over: Notify,
}

struct State {
    measure: Measure,
    /// The index of each snapshot that is being sent.
    holds: HashMap<u64, u64>,
    next_hold: u64,
}

impl Retention {
    /// Keeps the log between half of `limits` and all of them.
    pub(crate) fn new(limits: Extent) -> Self {
        Self {
            state: Mutex::new(State {
                measure: Measure::new(limits),
                holds: HashMap::new(),
                next_hold: 0,
            }),
            over: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries were appended, up to `last`.
    pub(crate) fn appended(&self, last: u64, what: Extent) {
        let mut state = self.lock();
        state.measure.appended(last, what);
        if state.measure.is_over() {
            self.over.notify_one();
        }
    }

    /// Takes over what was measured of the log that an earlier process left.
    pub(crate) fn found(&self, entries: impl IntoIterator<Item = (u64, u64)>) {
        let mut state = self.lock();
        let mut measure = Measure::new(state.measure.limits);
        for (index, bytes) in entries {
            measure.appended(index, Extent { entries: 1, bytes });
        }
        // What was appended since follows.
        for (last, what) in std::mem::take(&mut state.measure.stretches) {
            measure.appended(last, what);
        }
        state.measure = measure;
        if state.measure.is_over() {
            self.over.notify_one();
        }
    }

    /// Entries from `from` on are gone.
    pub(crate) fn truncated(&self, from: u64) {
        self.lock().measure.truncated(from);
    }

    /// Entries up to `upto` are gone.
    pub(crate) fn purged(&self, upto: u64) {
        self.lock().measure.purged(upto);
    }

    /// Waits until the log is over its limits.
    pub(crate) async fn over(&self) {
        while !self.lock().measure.is_over() {
            self.over.notified().await;
        }
    }

    /// Up to where to purge; see [`Measure::purge_upto`]. Nothing is held while the disk has too
    /// little room.
    pub(crate) fn purge_upto(
        &self,
        applied: u64,
        followers: Option<u64>,
        has_room: bool,
    ) -> Option<u64> {
        let state = self.lock();
        let held = state.holds.values().copied().min().filter(|_| has_room);
        state.measure.purge_upto(applied, followers, held)
    }

    /// Keeps the log behind `index` while a snapshot that ends there is being sent, and until
    /// its receiver is seen to follow.
    pub(crate) fn hold(self: &Arc<Self>, index: u64) -> Hold {
        let mut state = self.lock();
        let id = state.next_hold;
        state.next_hold += 1;
        state.holds.insert(id, index);
        Hold {
            retention: Arc::clone(self),
            id,
        }
    }
}

/// See [`Retention::hold`].
pub(crate) struct Hold {
    retention: Arc<Retention>,
    id: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (retention, id) = (Arc::clone(&self.retention), self.id);
        let release = move || {
            retention.lock().holds.remove(&id);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(LINGER).await;
                release();
            })),
            Err(_) => release(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Extent = Extent {
        entries: 64,
        bytes: 6400,
    };

    /// Entries of 10 bytes at these indexes.
    fn measure(indexes: std::ops::RangeInclusive<u64>) -> Measure {
        let mut measure = Measure::new(LIMITS);
        for index in indexes {
            let one = Extent {
                entries: 1,
                bytes: 10,
            };
            measure.appended(index, one);
        }
        measure
    }

    #[test]
    fn a_log_within_its_limits_stays() {
        assert_eq!(measure(1..=64).purge_upto(64, None, None), None);
    }

    #[test]
    fn the_older_half_goes_when_there_are_too_many_entries() {
        assert_eq!(measure(1..=66).purge_upto(66, None, None), Some(34));
    }

    #[test]
    fn large_entries_count_by_their_bytes() {
        let mut measure = measure(1..=10);
        let large = Extent {
            entries: 1,
            bytes: 7000,
        };
        measure.appended(11, large);
        assert_eq!(measure.purge_upto(11, None, None), Some(11));
        assert_eq!(measure.purge_upto(10, None, None), Some(10));
    }

    #[test]
    fn what_is_not_applied_stays() {
        assert_eq!(measure(1..=66).purge_upto(20, None, None), Some(20));
        assert_eq!(measure(1..=66).purge_upto(0, None, None), None);
    }

    #[test]
    fn those_who_are_behind_are_waited_for_but_not_for_ever() {
        assert_eq!(measure(1..=66).purge_upto(66, Some(10), None), Some(10));
        assert_eq!(measure(1..=66).purge_upto(66, Some(0), None), None);
        assert_eq!(measure(1..=256).purge_upto(256, Some(0), None), None);
        assert_eq!(measure(1..=300).purge_upto(300, Some(0), None), Some(44));
    }

    #[test]
    fn what_is_gone_no_longer_counts() {
        let mut measure = measure(1..=66);
        measure.purged(34);
        assert_eq!(measure.total.entries, 32);
        measure.truncated(64);
        assert_eq!(measure.total.entries, 29);
        assert_eq!(measure.purge_upto(63, None, None), None);
        measure.truncated(0);
        assert_eq!(measure.total.entries, 0);
    }

    #[test]
    fn a_log_that_was_found_comes_before_what_was_appended_since() {
        let retention = Retention::new(LIMITS);
        let one = Extent {
            entries: 1,
            bytes: 10,
        };
        retention.appended(66, one);
        retention.found((1..=65).map(|index| (index, 10)));
        assert_eq!(retention.purge_upto(66, None, true), Some(34));
        let retention = Arc::new(retention);
        let hold = retention.hold(12);
        assert_eq!(retention.purge_upto(66, Some(20), true), Some(12));
        drop(hold);
        assert_eq!(retention.purge_upto(66, Some(20), true), Some(20));
    }
}
