//! The body of a letter as it comes in after `354` (RFC 5321 section 4.5.2).

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// What a letter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataLimits {
    /// Octets of the letter as it is stored: without the transparency dots, with each CRLF
    /// (RFC 1870 section 3).
    pub size: u64,
    /// Octets of a line without its CRLF. RFC 5321 section 4.5.3.1.6 lets nobody send more than
    /// 998, and many do.
    pub line: usize,
    /// `Received:` fields; more mean that the letter goes in circles (RFC 5321 section 6.3).
    pub received_fields: u32,
}

impl Default for DataLimits {
    fn default() -> Self {
        Self {
            size: 50 * 1024 * 1024,
            line: 64 * 1024,
            received_fields: 50,
        }
    }
}

/// Why a letter is refused; the gravest reason is the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DataFault {
    /// CR without LF: forbidden by RFC 5321 section 2.3.8, and the tool of SMTP smuggling.
    #[error("the letter has a carriage return without a line feed")]
    BareCarriageReturn,
    /// LF without CR, likewise.
    #[error("the letter has a line feed without a carriage return")]
    BareLineFeed,
    /// The letter is larger than the limit.
    #[error("the letter is larger than {limit} octets")]
    TooLarge {
        /// The limit, in octets.
        limit: u64,
    },
    /// A line is longer than the limit.
    #[error("the letter has a line of more than {limit} octets")]
    LineTooLong {
        /// The limit, in octets.
        limit: usize,
    },
    /// There are too many `Received:` fields.
    #[error("the letter has more than {limit} Received: fields")]
    TooManyHops {
        /// The limit.
        limit: u32,
    },
}

/// What is known of a letter that came in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSummary {
    /// Octets that were yielded.
    pub size: u64,
    /// `Received:` fields in the header.
    pub received_fields: u32,
    /// Whether an octet had its high bit set; then it needs 8BITMIME to travel on (RFC 6152).
    pub content: Content,
}

/// Which octets a letter is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// US-ASCII only.
    #[default]
    SevenBit,
    /// At least one octet above 127.
    EightBit,
}

/// One step of a [`DataReceiver`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataEvent {
    /// Content of the letter, transparency removed.
    Chunk(Bytes),
    /// The letter is refused. Its octets are swallowed from here on until its end comes.
    Fault(DataFault),
    /// The end of data was read; what follows in the buffer is the next command.
    End(Result<DataSummary, DataFault>),
    /// More input is needed.
    Pending,
}

const RECEIVED: &[u8; 9] = b"received:";

/// Reads a letter up to CRLF.CRLF, which alone ends it.
///
/// Content is yielded as slices of the input; only a line that began with a dot moves octets. The
/// result does not depend on how the input was cut.
#[derive(Debug)]
pub struct DataReceiver {
    limits: DataLimits,
    place: Place,
    section: Section,
    line_length: usize,
    summary: DataSummary,
    fault: Option<DataFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    InLine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Header,
    Body,
}

/// What begins at a line start, as far as the input shows it.
enum LineStart {
    Unknown,
    EndOfData,
    Stuffed,
    Plain,
}

/// How far one pass over the buffer came.
struct Pass {
    consumed: usize,
    written: usize,
    ended: bool,
}

impl DataReceiver {
    /// A receiver for one letter. `DATA` itself ended with CRLF, so a dot may come at once.
    pub fn new(limits: DataLimits) -> Self {
        Self {
            limits,
            place: Place::LineStart,
            section: Section::Header,
            line_length: 0,
            summary: DataSummary {
                size: 0,
                received_fields: 0,
                content: Content::SevenBit,
            },
            fault: None,
        }
    }

    /// Octets of content so far, as the size limit counts them.
    pub fn size(&self) -> u64 {
        self.summary.size
    }

    /// Takes what it can from `input`. Call until it says [`DataEvent::Pending`] or
    /// [`DataEvent::End`]; a few octets whose meaning is still open stay in the buffer.
    pub fn receive(&mut self, input: &mut BytesMut) -> DataEvent {
        if self.place == Place::LineStart && matches!(line_start(input), LineStart::EndOfData) {
            let _ = input.split_to(3);
            return DataEvent::End(match self.fault {
                None => Ok(self.summary),
                Some(fault) => Err(fault),
            });
        }
        let known = self.fault;
        let pass = self.pass(input);
        let mut chunk = input.split_to(pass.consumed);
        chunk.truncate(pass.written);
        self.summary.size += chunk.len() as u64;
        if self.summary.size > self.limits.size {
            self.fail(DataFault::TooLarge {
                limit: self.limits.size,
            });
        }
        match (known, self.fault) {
            (None, Some(fault)) => DataEvent::Fault(fault),
            (Some(_), _) if pass.ended => self.receive(input),
            (None, None) if !chunk.is_empty() => {
                if !chunk.is_ascii() {
                    self.summary.content = Content::EightBit;
                }
                DataEvent::Chunk(chunk.freeze())
            }
            _ if pass.ended => self.receive(input),
            _ => DataEvent::Pending,
        }
    }

    /// Goes over the buffer line by line, moving content over removed dots, and stops before the
    /// final dot or where the input no longer tells what comes.
    fn pass(&mut self, buffer: &mut [u8]) -> Pass {
        let (mut read, mut written, mut segment) = (0, 0, 0);
        let mut ended = false;
        loop {
            if self.place == Place::LineStart {
                match line_start(&buffer[read..]) {
                    LineStart::Unknown => break,
                    LineStart::EndOfData => {
                        ended = true;
                        break;
                    }
                    LineStart::Stuffed => {
                        written = keep(buffer, segment, read, written);
                        read += 1;
                        segment = read;
                    }
                    LineStart::Plain => {
                        if self.section == Section::Header && !self.header_line(&buffer[read..]) {
                            break;
                        }
                    }
                }
                self.place = Place::InLine;
                self.line_length = 0;
            }
            let rest = &buffer[read..];
            let Some(found) = memchr2(b'\r', b'\n', rest) else {
                self.count_line(rest.len());
                read = buffer.len();
                break;
            };
            self.count_line(found);
            let at = read + found;
            match (buffer[at], buffer.get(at + 1)) {
                (b'\n', _) => {
                    self.fail(DataFault::BareLineFeed);
                    read = at + 1;
                }
                (_, None) => {
                    read = at;
                    break;
                }
                (_, Some(b'\n')) => {
                    read = at + 2;
                    self.place = Place::LineStart;
                }
                (_, Some(_)) => {
                    self.fail(DataFault::BareCarriageReturn);
                    read = at + 1;
                }
            }
        }
        written = keep(buffer, segment, read, written);
        Pass {
            consumed: read,
            written,
            ended,
        }
    }

    /// Looks at the start of a header line; false if it cannot be told yet what it is.
    fn header_line(&mut self, line: &[u8]) -> bool {
        let seen = &line[..line.len().min(RECEIVED.len())];
        if seen.eq_ignore_ascii_case(&RECEIVED[..seen.len()]) {
            if seen.len() < RECEIVED.len() {
                return false;
            }
            self.summary.received_fields += 1;
            if self.summary.received_fields > self.limits.received_fields {
                self.fail(DataFault::TooManyHops {
                    limit: self.limits.received_fields,
                });
            }
            return true;
        }
        match line {
            [b'\r'] => return false,
            [b'\r', b'\n', ..] => self.section = Section::Body,
            _ => {}
        }
        true
    }

    fn count_line(&mut self, octets: usize) {
        self.line_length = self.line_length.saturating_add(octets);
        if self.line_length > self.limits.line {
            self.fail(DataFault::LineTooLong {
                limit: self.limits.line,
            });
        }
    }

    fn fail(&mut self, fault: DataFault) {
        // The gravest one stands, so that the outcome does not depend on how the input was cut.
        self.fault = Some(self.fault.map_or(fault, |known| known.min(fault)));
    }
}

/// What the octets at a line start mean.
fn line_start(rest: &[u8]) -> LineStart {
    match rest {
        [] | [b'.'] | [b'.', b'\r'] => LineStart::Unknown,
        [b'.', b'\r', b'\n', ..] => LineStart::EndOfData,
        [b'.', ..] => LineStart::Stuffed,
        _ => LineStart::Plain,
    }
}

/// Moves `segment..read` to where content ends so far; returns the new end.
fn keep(buffer: &mut [u8], segment: usize, read: usize, written: usize) -> usize {
    if segment != written {
        buffer.copy_within(segment..read, written);
    }
    written + (read - segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Outcome {
        content: Vec<u8>,
        end: Option<Result<DataSummary, DataFault>>,
        rest: Vec<u8>,
    }

    fn receive(wire: &[u8], chunk: usize, limits: DataLimits) -> Outcome {
        let mut receiver = DataReceiver::new(limits);
        let (mut input, mut content, mut end) = (BytesMut::new(), Vec::new(), None);
        for piece in wire.chunks(chunk) {
            input.extend_from_slice(piece);
            while end.is_none() {
                match receiver.receive(&mut input) {
                    DataEvent::Chunk(bytes) => content.extend_from_slice(&bytes),
                    DataEvent::Fault(_) => {}
                    DataEvent::End(result) => end = Some(result),
                    DataEvent::Pending => break,
                }
            }
        }
        Outcome {
            content,
            end,
            rest: input.to_vec(),
        }
    }

    fn whole(wire: &[u8]) -> Outcome {
        receive(wire, wire.len().max(1), DataLimits::default())
    }

    #[test]
    fn only_crlf_dot_crlf_ends_a_letter() {
        let outcome = whole(b"a\r\n.\r\nQUIT\r\n");
        assert_eq!(outcome.content, b"a\r\n");
        assert!(matches!(outcome.end, Some(Ok(s)) if s.size == 3));
        assert_eq!(outcome.rest, b"QUIT\r\n");
        // An empty letter: DATA's own CRLF stands before the dot.
        assert!(matches!(whole(b".\r\n").end, Some(Ok(s)) if s.size == 0));
    }

    #[test]
    fn smuggled_ends_do_not_end_a_letter() {
        for (smuggled, fault) in [
            (&b"\n.\n"[..], DataFault::BareLineFeed),
            (b"\n.\r\n", DataFault::BareLineFeed),
            (b"\r\n.\n", DataFault::BareLineFeed),
            (b"\r.\r", DataFault::BareCarriageReturn),
            (b"\r.\r\n", DataFault::BareCarriageReturn),
            (b"\r\n.\r", DataFault::BareCarriageReturn),
            (b"\r\n\x00.\r\r\n", DataFault::BareCarriageReturn),
            (b"\r\r\n.\r\n", DataFault::BareCarriageReturn),
        ] {
            let mut wire = b"Subject: x\r\n\r\nhello".to_vec();
            wire.extend_from_slice(smuggled);
            wire.extend_from_slice(b"MAIL FROM:<evil@example.org>\r\n");
            let mut ended = wire.clone();
            ended.extend_from_slice(b".\r\nQUIT\r\n");
            let outcome = whole(&ended);
            assert_eq!(outcome.end, Some(Err(fault)), "{smuggled:?}");
            // One of them does end the letter by the letter of the law: it was refused anyway.
            assert!(outcome.rest.ends_with(b"QUIT\r\n"), "{smuggled:?}");
        }
    }

    #[test]
    fn transparency_dots_come_off() {
        let outcome = whole(b"..\r\n.x\r\na.b\r\n...\r\n.\r\n");
        assert_eq!(outcome.content, b".\r\nx\r\na.b\r\n..\r\n");
        assert!(matches!(outcome.end, Some(Ok(s)) if s.size == 15));
    }

    #[test]
    fn limits_refuse_and_the_next_command_is_found() {
        let limits = DataLimits {
            size: 20,
            line: 8,
            received_fields: 1,
        };
        let fault = |wire: &[u8]| receive(wire, 3, limits).end;
        assert_eq!(
            fault(b"1234567\r\n1234567\r\n123\r\n.\r\n"),
            Some(Err(DataFault::TooLarge { limit: 20 }))
        );
        assert!(matches!(
            fault(b"1234567\r\n1234567\r\n\r\n.\r\n"),
            Some(Ok(_))
        ));
        assert_eq!(
            fault(b"123456789\r\n.\r\n"),
            Some(Err(DataFault::LineTooLong { limit: 8 }))
        );
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let hops = |wire: &[u8]| match receive(wire, 2, DataLimits::default()).end {
            Some(Ok(summary)) => summary.received_fields,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            hops(b"RECEIVED: a\r\n x\r\nReceived:\r\nReceive: n\r\n\r\nReceived: b\r\n.\r\n"),
            2
        );
        let mut wire = b"Received: from a\r\n".repeat(51);
        wire.extend_from_slice(b"\r\n.\r\n");
        assert_eq!(
            whole(&wire).end,
            Some(Err(DataFault::TooManyHops { limit: 50 }))
        );
    }

    #[test]
    fn eight_bit_content_is_noticed_and_kept() {
        let outcome = whole(b"gr\xfc\xdfe\r\n.\r\n");
        assert_eq!(outcome.content, b"gr\xfc\xdfe\r\n");
        assert!(matches!(outcome.end, Some(Ok(s)) if s.content == Content::EightBit));
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(
            wire in proptest::collection::vec(
                prop_oneof![
                    4 => Just(b"\r\n".to_vec()),
                    2 => Just(b".".to_vec()),
                    1 => Just(b"\r".to_vec()),
                    1 => Just(b"\n".to_vec()),
                    2 => Just(b"Received:".to_vec()),
                    3 => "[a-z]{1,4}".prop_map(String::into_bytes),
                ],
                0..30,
            ),
            chunk in 1usize..7,
        ) {
            let wire = wire.concat();
            let limits = DataLimits { size: 60, line: 12, received_fields: 2 };
            let one = receive(&wire, wire.len().max(1), limits);
            let many = receive(&wire, chunk, limits);
            prop_assert_eq!(one.end, many.end);
            if let Some(end) = one.end {
                // All input arrives in the end, also that behind the letter.
                prop_assert_eq!(one.rest, many.rest);
                if end.is_ok() {
                    prop_assert_eq!(one.content, many.content);
                }
            }
        }

        #[test]
        fn what_is_stuffed_comes_out_the_same(
            lines in proptest::collection::vec("[.a]{0,5}", 0..10),
            chunk in 1usize..9,
        ) {
            let letter: String = lines.iter().flat_map(|l| [l.as_str(), "\r\n"]).collect();
            let mut wire = BytesMut::new();
            let mut stuffer = crate::DotStuffer::new();
            for piece in letter.as_bytes().chunks(chunk) {
                stuffer.stuff(piece, &mut wire);
            }
            stuffer.finish(&mut wire);
            let outcome = receive(&wire, chunk, DataLimits::default());
            prop_assert_eq!(outcome.content, letter.as_bytes());
            prop_assert!(matches!(outcome.end, Some(Ok(_))));
        }
    }
}
