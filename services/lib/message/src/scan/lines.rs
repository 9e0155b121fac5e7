//! Lines of a letter that comes in chunks.

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    CrLf,
    Lf,
    /// The input ended.
    None,
}

impl Ending {
    pub(super) fn octets(self) -> u64 {
        match self {
            Self::CrLf => 2,
            Self::Lf => 1,
            Self::None => 0,
        }
    }

    fn of(tail: &[u8], before: u8) -> Self {
        let last_but_one = match tail.len() {
            0 | 1 => before,
            n => tail[n - 2],
        };
        match (tail.last(), last_but_one) {
            (Some(b'\n'), b'\r') => Self::CrLf,
            (Some(b'\n'), _) => Self::Lf,
            _ => Self::None,
        }
    }
}

/// A line, its end included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// Its first octets: all of them if it came in one piece, else as many as were to be kept.
    pub(super) head: &'a [u8],
    /// Offset of its first octet.
    pub(super) start: u64,
    /// Octets, with the line end.
    pub(super) length: u64,
    pub(super) ending: Ending,
}

/// Puts lines together from fragments, keeping no more of them than is asked for.
#[derive(Default)]
pub(super) struct LineReader {
    /// Offset of the current line.
    start: u64,
    /// Octets of the current line seen so far; 0 between lines.
    length: u64,
    head: Vec<u8>,
    last: u8,
}

impl LineReader {
    /// Octets seen in all.
    pub(super) fn offset(&self) -> u64 {
        self.start + self.length
    }

    /// The fragment as a line of its own, unless a part of its line was carried before.
    pub(super) fn whole<'a>(&mut self, fragment: &'a [u8]) -> Option<Line<'a>> {
        if self.length > 0 {
            return None;
        }
        let (start, length) = (self.start, fragment.len() as u64);
        self.start += length;
        Some(Line {
            head: fragment,
            start,
            length,
            ending: Ending::of(fragment, 0),
        })
    }

    /// Takes a fragment without a line end; up to `keep` octets of the line are kept.
    pub(super) fn carry(&mut self, fragment: &[u8], keep: usize) {
        let room = keep.saturating_sub(self.head.len()).min(fragment.len());
        self.head.extend_from_slice(&fragment[..room]);
        self.length += fragment.len() as u64;
        self.last = fragment.last().copied().unwrap_or(self.last);
    }

    /// The line that this fragment ends, and its head.
    pub(super) fn complete(&mut self, fragment: &[u8], keep: usize) -> (Line<'static>, Vec<u8>) {
        let ending = Ending::of(fragment, self.last);
        self.carry(fragment, keep);
        self.take(ending)
    }

    /// The line that the end of input leaves without a line end.
    pub(super) fn unfinished(&mut self) -> Option<(Line<'static>, Vec<u8>)> {
        (self.length > 0).then(|| self.take(Ending::None))
    }

    /// Takes the buffer of a head back for use with the next line.
    pub(super) fn give_back(&mut self, mut head: Vec<u8>) {
        const LARGE: usize = 64 << 10;
        if head.capacity() <= LARGE {
            head.clear();
            self.head = head;
        }
    }

    fn take(&mut self, ending: Ending) -> (Line<'static>, Vec<u8>) {
        let line = Line {
            head: &[],
            start: self.start,
            length: self.length,
            ending,
        };
        self.start += self.length;
        self.length = 0;
        (line, std::mem::take(&mut self.head))
    }
}
