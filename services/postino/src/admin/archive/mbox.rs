//! An mbox file, in its variant "mboxrd" (RFC 4155 names the family): messages behind `From ` lines,
//! and one `>` more before each line of a message that looks like one. Flags stand in the fields
//! `Status`, `X-Status` and `X-Keywords` at the head of a message, as c-client, mutt and Dovecot
//! write them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use postino_types::{Flag, FlagSet};

use super::Attributes;
use super::lines::{ToCrlf, ToLf};

const FROM: &[u8] = b"From ";
/// The time in a `From ` line: what asctime(3) writes, in UTC.
const TIME: &str = "%a %b %e %H:%M:%S %Y";
/// The longest part of a line that is looked at in one piece.
const PIECE: u64 = 64 << 10;

/// A file that is being written.
pub(super) struct Writer {
    file: BufWriter<File>,
    /// Of the message under way; its `From ` line waits for the first octets, which tell its sender.
    started: bool,
    attributes: Attributes,
    lines: ToLf,
    quote: Quote,
    last: u8,
}

impl Writer {
    /// Makes the file, which must not be there, and the folders above it.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        Ok(Self {
            file: BufWriter::new(options.open(path)?),
            started: false,
            attributes: Attributes::default(),
            lines: ToLf::default(),
            quote: Quote::default(),
            last: b'\n',
        })
    }

    /// Begins a message.
    pub(super) fn begin(&mut self, attributes: Attributes) {
        self.attributes = attributes;
        self.started = false;
        self.lines = ToLf::default();
        self.quote = Quote::default();
        self.last = b'\n';
    }

    /// Adds octets of the message.
    pub(super) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if !self.started {
            self.start(chunk)?;
        }
        let mut lf = Vec::with_capacity(chunk.len());
        self.lines.convert(chunk, &mut lf);
        self.put(&lf)
    }

    fn start(&mut self, head: &[u8]) -> io::Result<()> {
        self.started = true;
        let time = time_text(self.attributes.arrived_ms);
        writeln!(self.file, "From {} {time}", sender(head))?;
        self.file
            .write_all(flag_fields(&self.attributes.flags).as_bytes())
    }

    fn put(&mut self, lf: &[u8]) -> io::Result<()> {
        let mut quoted = Vec::with_capacity(lf.len() + 1);
        self.quote.convert(lf, &mut quoted);
        if let Some(last) = lf.last() {
            self.last = *last;
        }
        self.file.write_all(&quoted)
    }

    /// Ends the message. Returns whether it can be read back as it was: a message whose lines do
    /// not all end with CRLF cannot.
    pub(super) fn finish(&mut self) -> io::Result<bool> {
        if !self.started {
            self.start(b"")?;
        }
        let mut lf = Vec::new();
        let exact = std::mem::take(&mut self.lines).finish(&mut lf);
        self.put(&lf)?;
        let mut rest = Vec::new();
        self.quote.finish(&mut rest);
        self.file.write_all(&rest)?;
        let whole = self.last == b'\n';
        if !whole {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(b"\n")?;
        Ok(exact && whole)
    }

    /// Ends the file: all of it is on disk.
    pub(super) fn close(self) -> io::Result<()> {
        let file = self.file.into_inner();
        file.map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// Puts one `>` more before `>`s and `From ` at the start of a line, wherever chunks are cut.
#[derive(Debug, Default)]
struct Quote {
    inside_line: bool,
    /// How many octets of `From ` have been seen, after any number of `>`, and not written.
    held: usize,
}

impl Quote {
    fn convert(&mut self, lf: &[u8], out: &mut Vec<u8>) {
        for &octet in lf {
            if !self.inside_line {
                if octet == FROM[self.held] {
                    self.held += 1;
                    if self.held == FROM.len() {
                        out.push(b'>');
                        self.release(out);
                    }
                    continue;
                }
                let quoted_so_far = self.held == 0 && octet == b'>';
                if !quoted_so_far {
                    self.release(out);
                }
            }
            out.push(octet);
            if octet == b'\n' {
                self.inside_line = false;
            }
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FROM[..self.held]);
        self.held = 0;
        self.inside_line = true;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.release(out);
    }
}

/// The sender for the `From ` line: that of the `Return-Path` field, which delivery put first.
fn sender(head: &[u8]) -> String {
    let line = head.split(|octet| *octet == b'\r').next().unwrap_or(head);
    let text = String::from_utf8_lossy(line);
    let path = text.strip_prefix("Return-Path: <");
    let path = path.and_then(|rest| rest.strip_suffix('>'));
    match path {
        Some(path) if !path.is_empty() && !path.contains(char::is_whitespace) => path.to_owned(),
        _ => "MAILER-DAEMON".to_owned(),
    }
}

fn time_text(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or_default();
    time.to_zoned(TimeZone::UTC).strftime(TIME).to_string()
}

/// The time in a `From ` line, if there is one that can be read.
fn time_of(from: &str) -> Option<i64> {
    let words: Vec<&str> = from.split_whitespace().collect();
    // The sender may be anything; the time stands at the end, perhaps before a zone.
    let times = words.windows(5).rev();
    let time = times.filter_map(|five| DateTime::strptime(TIME, five.join(" ")).ok());
    let zoned = time.take(1).last()?.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

fn flag_fields(flags: &FlagSet) -> String {
    let has = |flag: &Flag, letter| if flags.contains(flag) { letter } else { "" };
    let mut fields = format!("Status: {}O\n", has(&Flag::Seen, "R"));
    let x_status = [
        has(&Flag::Deleted, "D"),
        has(&Flag::Flagged, "F"),
        has(&Flag::Answered, "A"),
        has(&Flag::Draft, "T"),
    ]
    .concat();
    if !x_status.is_empty() {
        fields.push_str(&format!("X-Status: {x_status}\n"));
    }
    let keywords: Vec<&str> = flags
        .iter()
        .filter(|flag| matches!(flag, Flag::Keyword(_)))
        .map(Flag::as_str)
        .collect();
    if !keywords.is_empty() {
        fields.push_str(&format!("X-Keywords: {}\n", keywords.join(" ")));
    }
    fields
}

/// Adds the flags that a field of the header tells. Returns whether it is such a field.
fn read_flag_field(line: &[u8], flags: &mut FlagSet) -> bool {
    let line = String::from_utf8_lossy(line);
    let Some((name, value)) = line.split_once(':') else {
        return false;
    };
    if name.eq_ignore_ascii_case("X-Keywords") {
        flags.extend(
            value
                .split_whitespace()
                .filter_map(|word| word.parse().ok()),
        );
        return true;
    }
    let letters: &[(char, Flag)] = match name {
        "Status" => &[('R', Flag::Seen)],
        "X-Status" => &[
            ('D', Flag::Deleted),
            ('F', Flag::Flagged),
            ('A', Flag::Answered),
            ('T', Flag::Draft),
        ],
        _ => return false,
    };
    let told = letters.iter().filter(|(letter, _)| value.contains(*letter));
    flags.extend(told.map(|(_, flag)| flag.clone()));
    true
}

/// A file that is being read.
pub(super) struct Reader<R> {
    source: R,
    /// A line, or a part of a long one.
    piece: Vec<u8>,
    inside_line: bool,
    /// The `From ` line of the next message.
    from: Option<String>,
    started: bool,
}

/// Where in a message the reader is.
enum Place {
    /// Before the first field that is not about flags: those that stand here were put there.
    Flags,
    Header,
    Body,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            piece: Vec::new(),
            inside_line: false,
            from: None,
            started: false,
        }
    }

    /// Reads the next message and writes its octets, with CRLF, into `out`. Returns what its
    /// `From ` line and its flag fields tell, `arrived_ms` 0 if there is no time; `None` at the end.
    pub(super) fn next(&mut self, out: &mut impl Write) -> io::Result<Option<Attributes>> {
        if !self.started {
            self.started = true;
            if self.advance()? {
                self.from = self.separator();
                if self.from.is_none() {
                    let reason = "not an mbox file: it does not start with \"From \"";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
            }
        }
        let Some(from) = self.from.take() else {
            return Ok(None);
        };
        let mut attributes = Attributes {
            flags: FlagSet::new(),
            arrived_ms: time_of(&from).unwrap_or(0),
        };
        self.message(&mut attributes.flags, out)?;
        Ok(Some(attributes))
    }

    fn message(&mut self, flags: &mut FlagSet, out: &mut impl Write) -> io::Result<()> {
        let (mut place, mut crlf) = (Place::Flags, ToCrlf::default());
        // An empty line is written once something follows that is no separator.
        let mut empty = Vec::new();
        let mut converted = Vec::new();
        loop {
            let line_start = !self.inside_line;
            if !self.advance()? {
                return Ok(());
            }
            if line_start && !empty.is_empty() {
                self.from = self.separator();
                if self.from.is_some() {
                    return Ok(());
                }
            }
            converted.clear();
            crlf.convert(&empty, &mut converted);
            empty.clear();
            if line_start && matches!(self.piece.as_slice(), b"\n" | b"\r\n") {
                place = Place::Body;
                empty.extend_from_slice(&self.piece);
            } else if !(line_start && self.takes_flags(&mut place, flags)) {
                let piece = unquoted(&self.piece, line_start);
                crlf.convert(piece, &mut converted);
            }
            out.write_all(&converted)?;
        }
    }

    /// Whether the line is one of the flag fields that were put in front.
    fn takes_flags(&self, place: &mut Place, flags: &mut FlagSet) -> bool {
        match place {
            Place::Body => false,
            Place::Header => {
                read_flag_field(&self.piece, flags);
                false
            }
            Place::Flags if read_flag_field(&self.piece, flags) => true,
            Place::Flags => {
                *place = Place::Header;
                false
            }
        }
    }

    /// The piece, if it is a `From ` line.
    fn separator(&self) -> Option<String> {
        let is_one = self.piece.starts_with(FROM);
        is_one.then(|| String::from_utf8_lossy(&self.piece).into_owned())
    }

    /// Reads the next piece; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        self.piece.clear();
        let mut limited = io::Read::take(&mut self.source, PIECE);
        limited.read_until(b'\n', &mut self.piece)?;
        self.inside_line = self.piece.last().is_some_and(|last| *last != b'\n');
        Ok(!self.piece.is_empty())
    }
}

fn unquoted(piece: &[u8], line_start: bool) -> &[u8] {
    let quotes = piece.iter().take_while(|octet| **octet == b'>').count();
    match line_start && quotes > 0 && piece[quotes..].starts_with(FROM) {
        true => &piece[1..],
        false => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> FlagSet {
        let flags = text.split_whitespace().map(|flag| flag.parse().unwrap());
        flags.collect()
    }

    fn read_all(text: &[u8]) -> Vec<(Attributes, Vec<u8>)> {
        let mut reader = Reader::new(text);
        let mut messages = Vec::new();
        let mut octets = Vec::new();
        while let Some(attributes) = reader.next(&mut octets).unwrap() {
            messages.push((attributes, std::mem::take(&mut octets)));
        }
        messages
    }

    #[test]
    fn messages_come_back_as_they_were_written() {
        let letters: [(&[u8], &str); 4] = [
            (
                b"Return-Path: <a@x.test>\r\nSubject: 1\r\n\r\nFrom me\r\n>From\r\n>>From you\r\n",
                "",
            ),
            (
                b"Subject: 2\r\n\r\n\r\n\r\nFrom \r\nFro\r\n\r\n",
                "\\Seen \\Answered $work",
            ),
            (b"\r\nno header\r\n", "\\Deleted \\Draft \\Flagged"),
            (b"Status: RO\r\n\r\nold field\r\n", ""),
        ];
        for cut in [1, 2, 3, 1000] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a/b.mbox");
            let mut writer = Writer::create(&path).unwrap();
            for (octets, flags_text) in letters {
                writer.begin(Attributes {
                    flags: flags(flags_text),
                    arrived_ms: 1_700_000_000_000,
                });
                for chunk in octets.chunks(cut) {
                    writer.write(chunk).unwrap();
                }
                assert!(writer.finish().unwrap());
            }
            writer.close().unwrap();
            let file = fs::read(&path).unwrap();
            let read = read_all(&file);
            // The last letter's own field reads as a flag and cannot be told from ours.
            for ((octets, flags_text), (attributes, got)) in letters.iter().zip(&read).take(3) {
                assert_eq!(
                    String::from_utf8_lossy(got),
                    String::from_utf8_lossy(octets)
                );
                assert_eq!(attributes.flags, flags(flags_text));
                assert_eq!(attributes.arrived_ms, 1_700_000_000_000);
            }
            assert_eq!(read.len(), letters.len());
        }
    }

    #[test]
    fn the_file_is_what_others_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mbox");
        let mut writer = Writer::create(&path).unwrap();
        writer.begin(Attributes {
            flags: flags("\\Seen"),
            arrived_ms: 1_700_000_000_000,
        });
        writer
            .write(b"Return-Path: <a@x.test>\r\n\r\nFrom here\r\nend")
            .unwrap();
        assert!(!writer.finish().unwrap(), "the last line had no end");
        writer.close().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "From a@x.test Tue Nov 14 22:13:20 2023\nStatus: RO\nReturn-Path: <a@x.test>\n\n\
             >From here\nend\n\n"
        );
    }

    #[test]
    fn foreign_files_are_read() {
        let text =
            b"From - Thu Jan  1 00:00:01 1970\nSubject: a\nStatus: R\n\nbody\nFrom x, not one\n\n\
            From b@x.test Fri Nov 24 10:00:00 2023 +0000\r\nSubject: b\r\n\r\nbody\r\n";
        let read = read_all(text);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].0.arrived_ms, 1000);
        assert_eq!(read[0].0.flags, flags("\\Seen"));
        assert_eq!(
            String::from_utf8_lossy(&read[0].1),
            "Subject: a\r\nStatus: R\r\n\r\nbody\r\nFrom x, not one\r\n"
        );
        assert_eq!(read[1].0.arrived_ms, 1_700_820_000_000);
        assert_eq!(read[1].1, b"Subject: b\r\n\r\nbody\r\n");
        assert!(Reader::new(&b"hello\n"[..]).next(&mut Vec::new()).is_err());
        assert!(read_all(b"").is_empty());
    }

    #[test]
    fn a_line_may_be_long() {
        let long = vec![b'x'; 200_000];
        let text = [b"From - \n\n".as_slice(), &long, b"\n"].concat();
        let read = read_all(&text);
        assert_eq!(read[0].1.len(), 2 + long.len() + 2);
    }
}
