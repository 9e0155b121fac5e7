//! HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 3501 section 6.4.5).

/// Octets of a field's name that are kept while it is read; longer names match nothing.
const MAX_NAME: usize = 1000;

/// Which header fields to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSelection {
    /// Only fields with these names (any case).
    Only(Vec<Vec<u8>>),
    /// All fields but those with these names.
    Except(Vec<Vec<u8>>),
}

impl FieldSelection {
    fn keeps(&self, name: &[u8]) -> bool {
        let named = |names: &[Vec<u8>]| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        match self {
            Self::Only(names) => named(names),
            Self::Except(names) => !named(names),
        }
    }
}

/// Filters a header as it is read, in any chunks.
///
/// The empty line that ends a header is always kept, and added if the header has none, as the
/// subset must end with one.
pub struct FieldFilter {
    selection: FieldSelection,
    state: State,
    /// Whether the current field is kept.
    keeping: bool,
    /// Whether the last kept line lacks its line end so far.
    line_open: bool,
}

enum State {
    /// In a line whose field is not known yet; these are its octets.
    Name(Vec<u8>),
    /// In the rest of a line.
    Line,
    /// After the empty line.
    Done,
}

impl FieldFilter {
    /// A filter at a header's first octet.
    pub fn new(selection: FieldSelection) -> Self {
        Self {
            selection,
            state: State::Name(Vec::new()),
            keeping: false,
            line_open: false,
        }
    }

    /// Takes the next octets of the header, and appends what is kept to `out`.
    pub fn feed(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while let Some((&octet, rest)) = octets.split_first() {
            match &mut self.state {
                State::Done => return,
                State::Name(seen) => {
                    seen.push(octet);
                    octets = rest;
                    self.decide(out);
                }
                State::Line => {
                    let end = memchr::memchr(b'\n', octets).map(|lf| lf + 1);
                    let (line, rest) = octets.split_at(end.unwrap_or(octets.len()));
                    if self.keeping {
                        out.extend_from_slice(line);
                        self.line_open = end.is_none();
                    }
                    if end.is_some() {
                        self.state = State::Name(Vec::new());
                    }
                    octets = rest;
                }
            }
        }
    }

    /// Appends what the end of the header leaves.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if let State::Name(seen) = &self.state
            && !seen.is_empty()
        {
            // A line that ends before its colon: no field, but HEADER.FIELDS.NOT keeps it.
            self.keeping = matches!(self.selection, FieldSelection::Except(_));
            if self.keeping {
                out.extend_from_slice(seen);
                self.line_open = true;
            }
        }
        if !matches!(self.state, State::Done) {
            if self.line_open {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Looks at a line's first octets, the last of which is new.
    fn decide(&mut self, out: &mut Vec<u8>) {
        let State::Name(seen) = &mut self.state else {
            return;
        };
        match seen.as_slice() {
            b"\n" | b"\r\n" => {
                out.extend_from_slice(b"\r\n");
                self.state = State::Done;
            }
            [b' ' | b'\t', ..] => self.settle(self.keeping, out),
            [name @ .., b':'] => {
                let keep = self.selection.keeps(name.trim_ascii_end());
                self.settle(keep, out);
            }
            [.., b'\n'] => {
                let keep = matches!(self.selection, FieldSelection::Except(_));
                self.settle(keep, out);
                self.state = State::Name(Vec::new());
            }
            long if long.len() > MAX_NAME => {
                let keep = matches!(self.selection, FieldSelection::Except(_));
                self.settle(keep, out);
            }
            _ => {}
        }
    }

    fn settle(&mut self, keep: bool, out: &mut Vec<u8>) {
        self.keeping = keep;
        if let State::Name(seen) = std::mem::replace(&mut self.state, State::Line)
            && keep
        {
            out.extend_from_slice(&seen);
            self.line_open = seen.last() != Some(&b'\n');
        }
    }
}

/// Filters a whole header.
pub fn filter_fields(header: &[u8], selection: &FieldSelection) -> Vec<u8> {
    let mut out = Vec::with_capacity(header.len().min(4096));
    let mut filter = FieldFilter::new(selection.clone());
    filter.feed(header, &mut out);
    filter.finish(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &[u8] = b"From: a\r\nTo: b,\r\n\tc\r\nX: d\r\nodd\r\nTO: e\r\n\r\n";

    fn names(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|n| n.as_bytes().to_vec()).collect()
    }

    #[test]
    fn named_fields_are_kept_or_left_out() {
        let only = filter_fields(HEADER, &FieldSelection::Only(names(&["to", "Date"])));
        assert_eq!(only, b"To: b,\r\n\tc\r\nTO: e\r\n\r\n");
        let except = filter_fields(HEADER, &FieldSelection::Except(names(&["TO"])));
        assert_eq!(except, b"From: a\r\nX: d\r\nodd\r\n\r\n");
        let none = filter_fields(b"A: b", &FieldSelection::Only(names(&["a"])));
        assert_eq!(none, b"A: b\r\n\r\n");
        assert_eq!(filter_fields(b"", &FieldSelection::Except(vec![])), b"\r\n");
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            header in r"[aAbB:\r\n\t ]{0,40}",
            cut in 0usize..40,
            except: bool,
        ) {
            let header = header.as_bytes();
            let selection = match except {
                true => FieldSelection::Except(names(&["a", "ab"])),
                false => FieldSelection::Only(names(&["a", "ab"])),
            };
            let mut out = Vec::new();
            let mut filter = FieldFilter::new(selection.clone());
            let cut = cut.min(header.len());
            for piece in [&header[..cut], &header[cut..]] {
                // What was given out is not there any more.
                let mut taken = Vec::new();
                filter.feed(piece, &mut taken);
                out.append(&mut taken);
            }
            let mut taken = Vec::new();
            filter.finish(&mut taken);
            out.append(&mut taken);
            prop_assert!(out.ends_with(b"\r\n"));
            prop_assert_eq!(out, filter_fields(header, &selection));
        }
    }
}
