//! A run of octets in a message.

/// Octets `start..end` of a message, counted from its first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ByteRange {
    /// Offset of the first octet.
    pub start: u64,
    /// Offset after the last octet; never less than `start`.
    pub end: u64,
}

impl ByteRange {
    /// The range `start..end`; empty at `start` if `end` lies before it.
    pub fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// The range of `length` octets at `offset`.
    pub fn at(offset: u64, length: u64) -> Self {
        Self {
            start: offset,
            end: offset.saturating_add(length),
        }
    }

    /// Number of octets.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The part of this range that a partial fetch `<offset.length>` asks for, counted from the
    /// range's own start (RFC 3501 section 6.4.5); what lies past the end is cut off.
    pub fn partial(self, offset: u64, length: u64) -> Self {
        let start = self.start.saturating_add(offset).min(self.end);
        Self {
            start,
            end: start.saturating_add(length).min(self.end),
        }
    }
}
