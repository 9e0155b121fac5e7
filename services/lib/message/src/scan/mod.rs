//! Reading a letter once, as it arrives, and keeping its structure only.
//!
//! The scanner works on lines. [`lines`] cuts the input into them, however it is chunked; this
//! file decides what a line means: part of a header, a delimiter, or content. Broken MIME is read
//! as leniently as IMAP servers commonly do: a missing close-delimiter ends with the enclosing
//! part, a delimiter inside a header ends the header, and the longest boundary that a line starts
//! with is taken (RFC 2046 section 5.1.1 asks for a match at the line's start only).

mod lines;
mod structure;

pub use structure::{Content, Kind, ScannedPart, Structure};

use bytes::Bytes;

use crate::content::PartFields;
use crate::envelope::EnvelopeFields;
use crate::header::is_empty_line;
use crate::{ByteRange, Limits};
use lines::{Ending, Line, LineReader};

/// Octets of a boundary that are compared; RFC 2046 allows 70.
const MAX_BOUNDARY: usize = 250;
/// Octets of a content line that have to be known to find a delimiter.
const LINE_HEAD: usize = MAX_BOUNDARY + 6;

/// A part whose end has not been seen.
struct OpenPart {
    index: usize,
    /// Set while delimiters of this multipart are looked for.
    boundary: Option<Vec<u8>>,
    /// Line ends before the body's first octet.
    lines_before: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inside the header of the innermost open part.
    Header,
    /// Inside its body.
    Body,
}

/// Which header field of the letter the last line belonged to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TopField {
    ReturnPath,
    Other,
}

/// Reads a letter in one pass; see the [crate's page](crate).
///
/// Memory is bounded by the [`Limits`], whatever the letter's size. The result does not depend on
/// how the letter is cut into chunks.
pub struct Scanner {
    limits: Limits,
    reader: LineReader,
    content: Content,
    parts: Vec<ScannedPart>,
    open: Vec<OpenPart>,
    boundaries: usize,
    state: State,
    /// The kept lines of the header being read.
    header: Vec<u8>,
    header_full: bool,
    part_headers: usize,
    top_header: Bytes,
    top_field: TopField,
    return_paths: Vec<ByteRange>,
    return_path_lines: u64,
    received: u32,
    /// Line ends before the current line, and octets of the last line's end.
    lines: u64,
    last_ending: u64,
}

impl Scanner {
    /// A scanner that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        let mut scanner = Self {
            limits,
            reader: LineReader::default(),
            content: Content::default(),
            parts: Vec::new(),
            open: Vec::new(),
            boundaries: 0,
            state: State::Header,
            header: Vec::new(),
            header_full: false,
            part_headers: 0,
            top_header: Bytes::new(),
            top_field: TopField::Other,
            return_paths: Vec::new(),
            return_path_lines: 0,
            received: 0,
            lines: 0,
            last_ending: 0,
        };
        scanner.open_part(None, 0);
        scanner
    }

    /// Takes the next octets of the letter.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.content.note(chunk);
        let mut rest = chunk;
        while let Some(lf) = memchr::memchr(b'\n', rest) {
            let (fragment, tail) = rest.split_at(lf + 1);
            if let Some(line) = self.reader.whole(fragment) {
                self.line(line);
            } else {
                let (line, head) = self.reader.complete(fragment, self.keep());
                self.line(Line {
                    head: &head,
                    ..line
                });
                self.reader.give_back(head);
            }
            rest = tail;
        }
        if !rest.is_empty() {
            self.reader.carry(rest, self.keep());
        }
    }

    /// The structure of what was fed.
    pub fn finish(mut self) -> Structure {
        if let Some((line, head)) = self.reader.unfinished() {
            self.line(Line {
                head: &head,
                ..line
            });
        }
        let end = self.reader.offset();
        self.end_headers(end);
        self.close_above(0, end, self.lines);
        self.close_root(end);
        Structure {
            size: end,
            lines: self.content.lines(),
            content: self.content,
            received: self.received,
            return_paths: self.return_paths,
            return_path_lines: self.return_path_lines,
            header: self.top_header,
            parts: self.parts,
        }
    }

    /// Octets of the current line that must be kept if it comes in fragments.
    fn keep(&self) -> usize {
        match self.state {
            State::Body => LINE_HEAD,
            State::Header if self.header_full => LINE_HEAD,
            State::Header => LINE_HEAD.max(self.header_limit() - self.header.len() + 1),
        }
    }

    fn header_limit(&self) -> usize {
        match self.open.len() {
            1 => self.limits.top_header,
            _ => self.limits.part_header,
        }
    }

    fn line(&mut self, line: Line<'_>) {
        let delimiter = match line.head.first() {
            Some(b'-') if self.boundaries > 0 => self.match_delimiter(line.head),
            _ => None,
        };
        match delimiter {
            Some(delimiter) => self.delimiter(delimiter, line),
            None if self.state == State::Header => self.header_line(line),
            None => {}
        }
        if line.ending == Ending::CrLf {
            self.content.note_crlf();
        }
        self.lines += u64::from(line.ending != Ending::None);
        self.last_ending = line.ending.octets();
    }

    fn header_line(&mut self, line: Line<'_>) {
        let end = line.start + line.length;
        if is_empty_line(line.head) {
            let lines_before = self.lines + 1;
            self.end_header(end, lines_before);
            return;
        }
        if self.open.len() == 1 {
            self.note_top_field(line);
        }
        let whole = line.head.len() as u64 == line.length;
        if self.header_full || !whole || self.header.len() + line.head.len() > self.header_limit() {
            // Never half a field: the lines that follow may continue this one.
            self.header_full = true;
        } else {
            self.header.extend_from_slice(line.head);
        }
    }

    /// Counts what is counted over the whole header, however long it is.
    fn note_top_field(&mut self, line: Line<'_>) {
        if !matches!(line.head.first(), Some(b' ' | b'\t')) {
            let colon = memchr::memchr(b':', &line.head[..line.head.len().min(40)]);
            let name = line.head[..colon.unwrap_or(0)].trim_ascii_end();
            self.received += u32::from(name.eq_ignore_ascii_case(b"Received"));
            self.top_field = match name.eq_ignore_ascii_case(b"Return-Path") {
                true => TopField::ReturnPath,
                false => TopField::Other,
            };
        }
        if self.top_field == TopField::Other {
            return;
        }
        let range = ByteRange::at(line.start, line.length);
        let room = self.return_paths.len() < self.limits.return_paths;
        match self.return_paths.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if room => self.return_paths.push(range),
            _ => {
                // A continuation must not be cut out without its field.
                self.top_field = TopField::Other;
                return;
            }
        }
        self.return_path_lines += u64::from(line.ending != Ending::None);
    }

    /// Ends the header of the innermost open part; its body starts at `end`. A message inside a
    /// message starts its own header there.
    fn end_header(&mut self, end: u64, lines_before: u64) {
        let depth = self.open.len();
        let Some(mut open) = self.open.pop() else {
            return;
        };
        open.lines_before = lines_before;
        let index = open.index;
        self.state = State::Body;
        let block = self.take_header(depth);
        let parent = self.parts[index].parent.map(|parent| &self.parts[parent]);
        let in_digest = parent.is_some_and(|p| p.fields.content_type.is("multipart", "digest"));
        let is_message = parent.is_none_or(|p| p.kind == Kind::Message);
        let default_type = if in_digest {
            "message/rfc822"
        } else {
            "text/plain"
        };
        let too_deep = depth >= self.limits.depth;
        let too_many = self.parts.len() >= self.limits.parts;
        let part = &mut self.parts[index];
        part.header.end = end.max(part.header.start);
        part.body = ByteRange::new(part.header.end, part.header.end);
        part.fields = PartFields::parse(&block, default_type);
        part.envelope = is_message.then(|| Box::new(EnvelopeFields::parse(&block)));
        part.kind = match part.fields.kind() {
            Kind::Multipart if too_deep => Kind::Opaque,
            Kind::Message if too_deep || too_many => Kind::Opaque,
            kind => kind,
        };
        match part.kind {
            Kind::Multipart => {
                open.boundary = part
                    .fields
                    .boundary()
                    .map(|b| b[..b.len().min(MAX_BOUNDARY)].to_vec());
                self.boundaries += usize::from(open.boundary.is_some());
                self.open.push(open);
            }
            Kind::Message => {
                let start = part.body.start;
                self.open.push(open);
                self.open_part(Some(index), start);
            }
            Kind::Leaf | Kind::Opaque => self.open.push(open),
        }
    }

    /// The kept header lines, within the budget that all parts share.
    fn take_header(&mut self, depth: usize) -> Bytes {
        let block = std::mem::take(&mut self.header);
        self.header_full = false;
        if depth == 1 {
            self.top_header = block.into();
            return self.top_header.clone();
        }
        if self.part_headers + block.len() > self.limits.part_headers {
            return Bytes::new();
        }
        self.part_headers += block.len();
        block.into()
    }

    /// Ends every header that is still being read, for want of more input.
    fn end_headers(&mut self, end: u64) {
        while self.state == State::Header {
            self.end_header(end, self.lines);
        }
    }

    fn open_part(&mut self, parent: Option<usize>, start: u64) {
        let index = self.parts.len();
        self.parts.push(ScannedPart::starting_at(parent, start));
        if let Some(parent) = parent {
            self.parts[parent].children.push(index);
        }
        self.open.push(OpenPart {
            index,
            boundary: None,
            lines_before: 0,
        });
        self.state = State::Header;
    }

    /// The open multipart whose delimiter this line is, if any, and what kind of delimiter.
    fn match_delimiter(&self, head: &[u8]) -> Option<Delimiter> {
        let text = head.strip_prefix(b"--")?;
        let mut found: Option<(usize, &[u8])> = None;
        for (level, open) in self.open.iter().enumerate().rev() {
            if let Some(boundary) = &open.boundary
                && text.starts_with(boundary)
                && found.is_none_or(|(_, best)| boundary.len() > best.len())
            {
                found = Some((level, boundary));
            }
        }
        let (level, boundary) = found?;
        let close = text[boundary.len()..].starts_with(b"--");
        Some(Delimiter {
            level,
            role: if close { Role::Close } else { Role::Next },
        })
    }

    fn delimiter(&mut self, delimiter: Delimiter, line: Line<'_>) {
        // The line end before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1).
        let end = line.start.saturating_sub(self.last_ending);
        self.end_headers(end);
        let lines = self.lines.saturating_sub(u64::from(self.last_ending > 0));
        self.close_above(delimiter.level, end, lines);
        if delimiter.role == Role::Close {
            self.drop_boundary(delimiter.level);
        } else if self.parts.len() < self.limits.parts {
            let parent = self.open[delimiter.level].index;
            self.open_part(Some(parent), line.start + line.length);
        }
    }

    /// Closes every open part inside the one at `level`.
    fn close_above(&mut self, level: usize, end: u64, lines: u64) {
        while self.open.len() > level + 1 {
            self.drop_boundary(self.open.len() - 1);
            if let Some(open) = self.open.pop() {
                self.close(open, end, lines);
            }
        }
        self.state = State::Body;
    }

    fn close_root(&mut self, end: u64) {
        let lines = self.lines;
        if let Some(open) = self.open.pop() {
            self.close(open, end, lines);
        }
    }

    fn close(&mut self, open: OpenPart, end: u64, lines: u64) {
        let part = &mut self.parts[open.index];
        part.body = ByteRange::new(part.body.start, end);
        part.lines = lines.saturating_sub(open.lines_before);
    }

    fn drop_boundary(&mut self, level: usize) {
        if self.open[level].boundary.take().is_some() {
            self.boundaries -= 1;
        }
    }
}

struct Delimiter {
    level: usize,
    role: Role,
}

#[derive(PartialEq, Eq)]
enum Role {
    Next,
    Close,
}

#[cfg(test)]
mod tests;
