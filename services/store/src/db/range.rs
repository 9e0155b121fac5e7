//! Ranges of keys, and which way they are read.

/// Which way to read a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// A range of keys, always bounded below and mostly above, and which way to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    pub(super) start: Vec<u8>,
    /// Exclusive; `None` reaches to the end of the family.
    pub(super) end: Option<Vec<u8>>,
    pub(super) direction: Direction,
}

impl KeyRange {
    /// From `start` (included) to `end` (excluded).
    pub fn new(start: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Self {
        Self {
            start: start.as_ref().to_vec(),
            end: Some(end.as_ref().to_vec()),
            direction: Direction::Forward,
        }
    }

    /// Every key that starts with `prefix`.
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let start = prefix.as_ref().to_vec();
        let end = successor(&start);
        Self {
            start,
            end,
            direction: Direction::Forward,
        }
    }

    /// The part of this range from `key` on.
    #[must_use]
    pub fn from(mut self, key: impl AsRef<[u8]>) -> Self {
        if key.as_ref() > self.start.as_slice() {
            self.start = key.as_ref().to_vec();
        }
        self
    }

    /// The part of this range that follows `key`: the next page.
    #[must_use]
    pub fn after(self, key: impl AsRef<[u8]>) -> Self {
        let mut next = key.as_ref().to_vec();
        next.push(0);
        self.from(next)
    }

    /// The part of this range below `key`.
    #[must_use]
    pub fn below(mut self, key: impl AsRef<[u8]>) -> Self {
        let key = key.as_ref();
        if self.end.as_ref().is_none_or(|end| key < end.as_slice()) {
            self.end = Some(key.to_vec());
        }
        self
    }

    /// The same range, read downwards.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.direction = Direction::Reverse;
        self
    }
}

/// The first key behind all that start with `prefix`; `None` if there is none.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_its_successor() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff\xff"), None);
        assert_eq!(successor(b""), None);
    }

    #[test]
    fn ranges_only_ever_shrink() {
        let range = KeyRange::prefix(b"m").from(b"a").below(b"z");
        assert_eq!(range, KeyRange::prefix(b"m"));
        let page = KeyRange::prefix(b"m").after(b"mb").below(b"mz");
        assert_eq!(page, KeyRange::new(b"mb\0", b"mz"));
    }
}
