//! Sets of sequence numbers and UIDs (RFC 3501 section 9: `sequence-set`).

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use crate::cursor::{Cursor, Parsed, SyntaxError};

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bound {
    /// A number.
    Number(NonZeroU32),
    /// `*`: the largest number in use.
    Largest,
}

impl Bound {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        if cursor.take(b'*') {
            return Ok(Self::Largest);
        }
        NonZeroU32::new(cursor.number()?)
            .map(Self::Number)
            .ok_or(SyntaxError("zero is no message number"))
    }

    fn resolve(self, largest: u32) -> u32 {
        match self {
            Self::Number(number) => number.get(),
            Self::Largest => largest,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Largest => f.write_str("*"),
        }
    }
}

/// A set as the client wrote it: ranges, in any order, that may overlap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SequenceSet(Vec<(Bound, Bound)>);

impl SequenceSet {
    /// The set of these ranges; `None` if there are none, since a set cannot be empty.
    pub fn new(ranges: Vec<(Bound, Bound)>) -> Option<Self> {
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// `first:last`; a zero counts as one.
    pub fn range(first: u32, last: u32) -> Self {
        let bound = |n| Bound::Number(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        Self(vec![(bound(first), bound(last))])
    }

    /// `1:*`
    pub fn all() -> Self {
        Self(vec![(Bound::Number(NonZeroU32::MIN), Bound::Largest)])
    }

    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        let mut ranges = Vec::new();
        loop {
            let first = Bound::parse(cursor)?;
            let last = match cursor.take(b':') {
                true => Bound::parse(cursor)?,
                false => first,
            };
            ranges.push((first, last));
            if !cursor.take(b',') {
                return Ok(Self(ranges));
            }
        }
    }

    /// The numbers as ranges that ascend and neither overlap nor touch. `*` is `largest`; a range
    /// may be written backwards, so `9:*` holds `largest` even if that is less than 9.
    ///
    /// With `largest` 0, nothing is in use: ranges that name `*` are left out.
    pub fn resolve(&self, largest: u32) -> Vec<RangeInclusive<u32>> {
        let mut ranges: Vec<(u32, u32)> = self
            .0
            .iter()
            .map(|(a, b)| (a.resolve(largest), b.resolve(largest)))
            .map(|(a, b)| (a.min(b), a.max(b)))
            .filter(|(low, _)| *low > 0)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some((_, last)) if low <= last.saturating_add(1) => *last = high.max(*last),
                _ => merged.push((low, high)),
            }
        }
        merged.into_iter().map(|(low, high)| low..=high).collect()
    }

    /// The largest number that is written out, or `None` if only `*` is. A set of sequence
    /// numbers with one above the number of messages is an error (RFC 3501 section 9, `seq-number`).
    pub fn largest_number(&self) -> Option<u32> {
        let number = |bound: &Bound| match bound {
            Bound::Number(number) => Some(number.get()),
            Bound::Largest => None,
        };
        self.0
            .iter()
            .flat_map(|(a, b)| [number(a), number(b)])
            .flatten()
            .max()
    }

    /// Whether `*` is in the set.
    pub fn names_largest(&self) -> bool {
        self.0
            .iter()
            .any(|(a, b)| *a == Bound::Largest || *b == Bound::Largest)
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            first.fmt(f)?;
            if first != last {
                write!(f, ":{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Limits;
    use proptest::prelude::*;

    fn set(text: &str) -> Parsed<SequenceSet> {
        let limits = Limits::default();
        let mut cursor = Cursor::new(text.as_bytes(), &limits);
        let set = SequenceSet::parse(&mut cursor)?;
        cursor.end()?;
        Ok(set)
    }

    #[test]
    fn sets_go_both_ways_and_normalise() {
        let parsed = set("2,4:7,9,12:*,5,8").expect("valid");
        assert_eq!(parsed.to_string(), "2,4:7,9,12:*,5,8");
        assert_eq!(parsed.resolve(15), vec![2..=2, 4..=9, 12..=15]);
        assert_eq!(set("9:*").expect("valid").resolve(3), vec![3..=9]);
        assert_eq!(set("*").expect("valid").resolve(0), vec![]);
        assert_eq!(set("*:4").expect("valid").largest_number(), Some(4));
        assert_eq!(
            set("4294967295,1").expect("valid").resolve(1),
            vec![1..=1, u32::MAX..=u32::MAX]
        );
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in [
            "",
            "0",
            "1,",
            ",1",
            "1:",
            "1:2:3",
            "4294967296",
            "a",
            "-1",
            "**",
        ] {
            assert!(set(bad).is_err(), "{bad:?}");
        }
    }

    pub(crate) fn any_set() -> impl Strategy<Value = SequenceSet> {
        let bound = prop_oneof![
            4 => (1u32..200).prop_map(|n| Bound::Number(NonZeroU32::new(n).expect("not zero"))),
            1 => Just(Bound::Largest),
        ];
        prop::collection::vec((bound.clone(), bound), 1..6).prop_map(SequenceSet)
    }

    proptest! {
        #[test]
        fn resolving_keeps_exactly_the_members(subject in any_set(), largest in 1u32..250) {
            let ranges = subject.resolve(largest);
            for number in 1..260 {
                let expected = subject.0.iter().any(|(a, b)| {
                    let (a, b) = (a.resolve(largest), b.resolve(largest));
                    (a.min(b)..=a.max(b)).contains(&number)
                });
                prop_assert_eq!(ranges.iter().any(|r| r.contains(&number)), expected);
            }
            prop_assert!(ranges.windows(2).all(|w| w[0].end() + 1 < *w[1].start()));
            prop_assert_eq!(set(&subject.to_string()), Ok(subject));
        }
    }
}
