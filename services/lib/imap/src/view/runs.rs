//! An ascending set of UIDs with positions, stored as runs of neighbours.

use std::ops::RangeInclusive;

/// UIDs `first..=last`; `before` members of the set come ahead of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u32,
    last: u32,
    before: u32,
}

impl Run {
    fn len(&self) -> u32 {
        self.last - self.first + 1
    }
}

/// An ascending set of UIDs. Looking one up takes a binary search over the runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UidRuns(Vec<Run>);

impl UidRuns {
    /// The set of these ranges. What does not ascend is left out.
    pub fn from_ranges(ranges: impl IntoIterator<Item = RangeInclusive<u32>>) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.push_range(range);
        }
        set.0.shrink_to_fit();
        set
    }

    /// How many members there are.
    pub fn len(&self) -> u32 {
        self.0.last().map_or(0, |run| run.before + run.len())
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The largest member.
    pub fn last(&self) -> Option<u32> {
        self.0.last().map(|run| run.last)
    }

    /// The members as ranges, ascending.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = RangeInclusive<u32>> + '_ {
        self.0.iter().map(|run| run.first..=run.last)
    }

    /// Adds a member above all others; any other number is left out.
    pub fn push(&mut self, uid: u32) {
        self.push_range(uid..=uid);
    }

    fn push_range(&mut self, range: RangeInclusive<u32>) {
        let first = (*range.start()).max(self.last().map_or(1, |last| last.saturating_add(1)));
        let last = *range.end();
        // At the end of the range of numbers, saturating_add gave a member itself.
        if first > last || self.last() == Some(u32::MAX) {
            return;
        }
        let before = self.len();
        match self.0.last_mut() {
            Some(run) if run.last + 1 == first => run.last = last,
            _ => self.0.push(Run {
                first,
                last,
                before,
            }),
        }
    }

    /// How many members are below `uid`.
    pub(super) fn count_below(&self, uid: u32) -> u32 {
        let at = self.0.partition_point(|run| run.first < uid);
        match at.checked_sub(1).map(|at| self.0[at]) {
            Some(run) => run.before + run.len().min(uid - run.first),
            None => 0,
        }
    }

    /// How many members are `uid` or below.
    pub(super) fn count_below_or_at(&self, uid: u32) -> u32 {
        match uid.checked_add(1) {
            Some(next) => self.count_below(next),
            None => self.len(),
        }
    }

    /// How many members are `uid` or above.
    pub fn count_from(&self, uid: u32) -> u32 {
        self.len() - self.count_below(uid)
    }

    pub(super) fn intersects(&self, range: &RangeInclusive<u32>) -> bool {
        !range.is_empty() && self.count_below_or_at(*range.end()) > self.count_below(*range.start())
    }

    /// The position of a member, from 1.
    pub(super) fn position(&self, uid: u32) -> Option<u32> {
        let position = self.count_below_or_at(uid);
        (self.at(position) == Some(uid)).then_some(position)
    }

    /// The member at a position, from 1.
    pub(super) fn at(&self, position: u32) -> Option<u32> {
        let index = position.checked_sub(1)?;
        let at = self.0.partition_point(|run| run.before <= index);
        let run = self.0[at.checked_sub(1)?];
        let offset = index - run.before;
        (offset < run.len()).then(|| run.first + offset)
    }

    /// Adds the members within `range` to `target`, whatever it holds.
    pub(super) fn copy_range(&self, range: &RangeInclusive<u32>, target: &mut Self) {
        let from = self.0.partition_point(|run| run.last < *range.start());
        let mut found: Vec<RangeInclusive<u32>> = self.0[from..]
            .iter()
            .take_while(|run| run.first <= *range.end())
            .map(|run| run.first.max(*range.start())..=run.last.min(*range.end()))
            .collect();
        let Some(first) = found.first() else {
            return;
        };
        if target.last().is_none_or(|last| last < *first.start()) {
            found.into_iter().for_each(|range| target.push_range(range));
            return;
        }
        found.extend(target.ranges());
        found.sort_unstable_by_key(|range| *range.start());
        *target = Self::default();
        found.into_iter().for_each(|range| target.push_range(range));
    }

    /// Removes all members of `gone`, in one pass.
    pub(super) fn remove_all(&mut self, gone: &Self) {
        let mut rest = Self::default();
        let mut gone = gone.ranges().peekable();
        for range in self.ranges() {
            let (mut first, last) = (u64::from(*range.start()), u64::from(*range.end()));
            while let Some(hole) = gone.peek() {
                let (hole_first, hole_last) = (u64::from(*hole.start()), u64::from(*hole.end()));
                if hole_first > last {
                    break;
                }
                rest.push_wide(first, hole_first.saturating_sub(1));
                first = first.max(hole_last + 1);
                if hole_last > last {
                    break;
                }
                gone.next();
            }
            rest.push_wide(first, last);
        }
        rest.0.shrink_to_fit();
        *self = rest;
    }

    /// Adds a range whose ends may be crossed, which is empty.
    fn push_wide(&mut self, first: u64, last: u64) {
        if let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last))
            && first <= last
        {
            self.push_range(first..=last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn runs(members: &BTreeSet<u32>) -> UidRuns {
        UidRuns::from_ranges(members.iter().map(|m| *m..=*m))
    }

    #[test]
    fn a_mailbox_without_gaps_is_one_run() {
        let set = UidRuns::from_ranges([1..=1_000_000]);
        assert_eq!(set.0.len(), 1);
        assert_eq!(std::mem::size_of::<Run>(), 12);
        assert_eq!(set.at(1_000_000), Some(1_000_000));
        assert_eq!(set.at(1_000_001), None);
    }

    #[test]
    fn the_last_numbers_fit() {
        let mut set = UidRuns::from_ranges([u32::MAX - 1..=u32::MAX]);
        set.push(u32::MAX);
        assert_eq!(set.len(), 2);
        assert_eq!(set.position(u32::MAX), Some(2));
        set.remove_all(&UidRuns::from_ranges([u32::MAX..=u32::MAX]));
        assert_eq!(set.last(), Some(u32::MAX - 1));
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set(
            members in prop::collection::btree_set(1u32..60, 0..40),
            gone in prop::collection::btree_set(1u32..60, 0..40),
            low in 1u32..60, high in 1u32..60,
        ) {
            let mut set = runs(&members);
            for uid in 0..62 {
                let expected = members.iter().position(|m| *m == uid).map(|p| p as u32 + 1);
                prop_assert_eq!(set.position(uid), expected);
                prop_assert_eq!(set.count_from(uid), members.range(uid..).count() as u32);
            }
            for (at, member) in (1..).zip(&members) {
                prop_assert_eq!(set.at(at), Some(*member));
            }
            let mut target = runs(&gone);
            set.copy_range(&(low..=high), &mut target);
            let range = members.iter().filter(|m| (low..=high).contains(m));
            prop_assert_eq!(&target, &runs(&gone.iter().chain(range).copied().collect()));
            set.remove_all(&runs(&gone));
            prop_assert_eq!(set, runs(&members.difference(&gone).copied().collect()));
        }
    }
}
