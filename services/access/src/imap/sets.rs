//! Between sets of the protocol and ranges of the store's calls.

use std::ops::RangeInclusive;

use postino_imap::response::UidSet;
use postino_proto::store::v1::{UidPair, UidRange};
use postino_types::Uid;

/// Ranges as a call takes them.
pub(super) fn to_ranges(ranges: &[RangeInclusive<u32>]) -> Vec<UidRange> {
    let range = |r: &RangeInclusive<u32>| UidRange {
        first: *r.start(),
        last: *r.end(),
    };
    ranges.iter().map(range).collect()
}

/// Ascending UIDs as a call takes them.
pub(super) fn uids_to_ranges(uids: impl IntoIterator<Item = Uid>) -> Vec<UidRange> {
    let mut ranges: Vec<UidRange> = Vec::new();
    for uid in uids {
        let uid = uid.get();
        match ranges.last_mut() {
            Some(range) if range.last.checked_add(1) == Some(uid) => range.last = uid,
            _ => ranges.push(UidRange {
                first: uid,
                last: uid,
            }),
        }
    }
    ranges
}

/// Ranges as a call gave them.
pub(super) fn from_ranges(ranges: &[UidRange]) -> Vec<RangeInclusive<u32>> {
    ranges.iter().map(|r| r.first..=r.last).collect()
}

/// The two sets of COPYUID, in the same order (RFC 4315 section 3).
pub(super) fn copy_uid(pairs: &[UidPair]) -> Option<(UidSet, UidSet)> {
    let (mut sources, mut targets) = (UidSet::default(), UidSet::default());
    for pair in pairs {
        sources.push(Uid::new(pair.source).ok()?);
        targets.push(Uid::new(pair.target).ok()?);
    }
    (!sources.is_empty()).then_some((sources, targets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join() {
        let uids = [1, 2, 3, 7].map(|n| Uid::new(n).expect("not zero"));
        assert_eq!(from_ranges(&uids_to_ranges(uids)), [1..=3, 7..=7]);
        assert_eq!(from_ranges(&to_ranges(&[4..=9])), [4..=9]);
    }

    #[test]
    fn copies_are_told_pair_by_pair() {
        let pair = |source, target| UidPair { source, target };
        let (sources, targets) = copy_uid(&[pair(3, 10), pair(4, 11), pair(8, 12)]).expect("some");
        assert_eq!(
            (sources.to_string(), targets.to_string()),
            ("3:4,8".into(), "10:12".into())
        );
        assert_eq!(copy_uid(&[]), None);
    }
}
