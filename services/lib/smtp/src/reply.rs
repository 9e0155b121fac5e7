//! Replies on the wire (RFC 5321 section 4.2): the encoder, and a parser for the client.

use bytes::{BufMut, BytesMut};
use memchr::memchr;
use postino_types::{EnhancedStatus, Reply, StatusClass};

/// Longest reply line, CRLF counted (RFC 5321 section 4.5.3.1.5).
const MAX_LINE: usize = 512;

/// Appends the reply as one or more lines, each with the code and, if the reply has one, the
/// enhanced code (RFC 2034 section 4). Octets that SMTP cannot carry become `?`.
pub fn encode_reply(reply: &Reply, output: &mut BytesMut) {
    let status = reply.status().map(|s| s.to_string()).unwrap_or_default();
    let room = MAX_LINE - "250-".len() - status.len() - " \r\n".len();
    let empty = [String::new()];
    let lines = match reply.lines() {
        [] => &empty[..],
        lines => lines,
    };
    let mut pieces = lines.iter().flat_map(|line| pieces(line, room)).peekable();
    while let Some(piece) = pieces.next() {
        let separator = match pieces.peek() {
            Some(_) => '-',
            None => ' ',
        };
        let gap = match status.is_empty() || piece.is_empty() {
            true => "",
            false => " ",
        };
        let line = format!("{}{separator}{status}{gap}{piece}\r\n", reply.code());
        output.put_slice(line.as_bytes());
    }
}

/// Cuts a line of text so that each piece fits on a reply line.
fn pieces(line: &str, room: usize) -> impl Iterator<Item = String> {
    let ascii: String = line
        .chars()
        .map(|c| if c.is_ascii() { c } else { '?' })
        .collect();
    let count = ascii.len().div_ceil(room).max(1);
    (0..count).map(move |n| ascii[n * room..ascii.len().min((n + 1) * room)].to_owned())
}

/// How much of a reply is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Octets of one line.
    pub line: usize,
    /// Lines of one reply.
    pub lines: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self {
            line: 4096,
            lines: 256,
        }
    }
}

/// Why the peer's answer is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line without a code of three digits, 2 to 5 first.
    #[error("not a reply of SMTP")]
    NoCode,
    /// A line is longer than the limit.
    #[error("a reply line is too long")]
    LineTooLong,
    /// The reply has more lines than the limit.
    #[error("a reply has too many lines")]
    TooManyLines,
}

/// Reads replies off a buffer, however the network cut them.
///
/// Tolerant where servers differ and no harm follows: a bare LF ends a line, the text may be
/// missing, lines of one reply may disagree (the last one counts).
#[derive(Debug, Default)]
pub struct ReplyParser {
    limits: ReplyLimits,
    lines: Vec<String>,
    status: Option<EnhancedStatus>,
}

impl ReplyParser {
    /// A parser with these limits.
    pub fn new(limits: ReplyLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The next whole reply, or `None` if more input is needed. After an error the conversation
    /// cannot go on.
    pub fn next_reply(&mut self, input: &mut BytesMut) -> Option<Result<Reply, ReplyError>> {
        loop {
            let Some(end) = memchr(b'\n', input) else {
                return (input.len() > self.limits.line).then_some(Err(ReplyError::LineTooLong));
            };
            let line = input.split_to(end + 1);
            let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
            match self.take_line(line) {
                Ok(None) => {}
                Ok(Some(reply)) => return Some(Ok(reply)),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        if line.len() > self.limits.line {
            return Err(ReplyError::LineTooLong);
        }
        if self.lines.len() >= self.limits.lines {
            return Err(ReplyError::TooManyLines);
        }
        let line = String::from_utf8_lossy(line);
        let (code, rest) = split_code(&line).ok_or(ReplyError::NoCode)?;
        let (last, text) = match rest.as_bytes().first() {
            Some(b'-') => (false, &rest[1..]),
            Some(b' ') => (true, &rest[1..]),
            None => (true, rest),
            Some(_) => return Err(ReplyError::NoCode),
        };
        let text = match split_status(code, text) {
            Some((status, text)) => {
                self.status = Some(status);
                text
            }
            None => text,
        };
        self.lines.push(text.to_owned());
        Ok(last.then(|| {
            let lines = std::mem::take(&mut self.lines);
            Reply::from_lines(code, self.status.take(), lines)
        }))
    }
}

/// The code and what follows it.
fn split_code(line: &str) -> Option<(u16, &str)> {
    let digits = line.get(..3)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let code = digits.parse().ok().filter(|c| (200..600).contains(c))?;
    Some((code, &line[3..]))
}

/// The enhanced code and the text behind it, if its class is that of the reply (RFC 2034
/// section 4).
fn split_status(code: u16, text: &str) -> Option<(EnhancedStatus, &str)> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let status: EnhancedStatus = word.parse().ok()?;
    let fits = match status.class() {
        StatusClass::Success => code / 100 == 2,
        StatusClass::PersistentTransient => code / 100 == 4,
        StatusClass::Permanent => code / 100 == 5,
    };
    fits.then_some((status, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(reply: &Reply) -> String {
        let mut output = BytesMut::new();
        encode_reply(reply, &mut output);
        String::from_utf8(output.to_vec()).expect("ASCII")
    }

    fn parse(wire: &[u8]) -> Option<Result<Reply, ReplyError>> {
        ReplyParser::default().next_reply(&mut BytesMut::from(wire))
    }

    #[test]
    fn replies_have_a_code_on_every_line() {
        let reply = Reply::from_lines(
            550,
            Some(EnhancedStatus::permanent(1, 1)),
            vec!["No such user".into(), "here".into()],
        );
        let wire = "550-5.1.1 No such user\r\n550 5.1.1 here\r\n";
        assert_eq!(encoded(&reply), wire);
        assert_eq!(parse(wire.as_bytes()), Some(Ok(reply)));
        assert_eq!(encoded(&Reply::plain(334, "")), "334 \r\n");
        assert_eq!(
            encoded(&Reply::plain(250, "grüße")),
            "250 gr?e\r\n".replace("?", "??")
        );
    }

    #[test]
    fn long_lines_are_cut() {
        let reply = Reply::new(550, EnhancedStatus::permanent(1, 1), "x".repeat(1200));
        let wire = encoded(&reply);
        assert_eq!(wire.lines().count(), 3);
        assert!(wire.split_inclusive("\r\n").all(|l| l.len() <= MAX_LINE));
    }

    #[test]
    fn the_parser_takes_what_servers_send() {
        assert_eq!(parse(b"250\r\n"), Some(Ok(Reply::plain(250, ""))));
        assert_eq!(parse(b"250 ok\n"), Some(Ok(Reply::plain(250, "ok"))));
        // An enhanced code of another class is text.
        assert_eq!(
            parse(b"250 5.1.1 odd\r\n"),
            Some(Ok(Reply::plain(250, "5.1.1 odd")))
        );
        assert_eq!(
            parse(b"451-4.7.1 wait\r\n550 no\r\n").map(|r| r.map(|r| r.code())),
            Some(Ok(550))
        );
        assert_eq!(parse(b"250-a\r\n"), None);
        for bad in [
            &b"\r\n"[..],
            b"25\r\n",
            b"HTTP/1.1\r\n",
            b"150 a\r\n",
            b"2500\r\n",
        ] {
            assert_eq!(parse(bad), Some(Err(ReplyError::NoCode)), "{bad:?}");
        }
    }

    #[test]
    fn endless_replies_are_cut_off() {
        assert_eq!(parse(&[b'2'; 5000]), Some(Err(ReplyError::LineTooLong)));
        assert_eq!(
            parse(&b"250-a\r\n".repeat(300)),
            Some(Err(ReplyError::TooManyLines))
        );
    }

    proptest! {
        #[test]
        fn replies_come_back(
            code in 200u16..600,
            detail in 0u16..1000,
            lines in proptest::collection::vec("[a-z][ -~]{0,40}", 1..4),
        ) {
            let status = match code / 100 {
                2 => Some(EnhancedStatus::success(1, detail)),
                4 => Some(EnhancedStatus::temporary(1, detail)),
                5 => Some(EnhancedStatus::permanent(1, detail)),
                _ => None,
            };
            let reply = Reply::from_lines(code, status, lines);
            let wire = encoded(&reply);
            let mut parser = ReplyParser::default();
            let mut input = BytesMut::new();
            let mut got = None;
            for byte in wire.bytes() {
                prop_assert!(got.is_none());
                input.extend_from_slice(&[byte]);
                got = parser.next_reply(&mut input);
            }
            prop_assert_eq!(got, Some(Ok(reply)));
        }

        #[test]
        fn no_input_panics(wire in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&wire);
            let mut line = b"250-".to_vec();
            line.extend(wire);
            let _ = parse(&line);
        }
    }
}
