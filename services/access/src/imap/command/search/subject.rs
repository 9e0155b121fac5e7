//! A stored message as SEARCH sees it.

use postino_imap::Date;
use postino_imap::DateTime;
use postino_imap::View;
use postino_imap::response::Recent;
use postino_imap::search::{Known, Subject};
use postino_message::decode::TextDecoder;
use postino_message::{Part, Searcher, fields, first_field, parse_date};
use postino_proto::store::v1::MessageRow;
use postino_types::{Flag, FlagSet, ModSeq, Uid};

use crate::imap::command::fetch::internal_date;
use crate::imap::notify::parse_row;
use crate::store_error::StoreError;

/// A message and what was loaded of it.
pub(super) struct Letter {
    sequence: u32,
    pub(super) uid: Uid,
    flags: FlagSet,
    mod_seq: ModSeq,
    recent: Recent,
    size: u64,
    internal_date: Date,
    /// Its header, once it was loaded.
    pub(super) header: Option<Vec<u8>>,
    /// Which texts its body holds, once it was searched.
    pub(super) found: Option<Vec<String>>,
}

impl Letter {
    pub(super) fn new(sequence: u32, row: &MessageRow, view: &View) -> Result<Self, StoreError> {
        let (uid, flags, mod_seq) = parse_row(row)?;
        Ok(Self {
            sequence,
            uid,
            flags,
            mod_seq,
            recent: view.is_recent(uid),
            size: row.size,
            internal_date: internal_date(row).date(),
            header: None,
            found: None,
        })
    }

    fn with_header(&self, test: impl FnOnce(&[u8]) -> bool) -> Known<bool> {
        match &self.header {
            Some(header) => Known::Yes(test(header)),
            None => Known::NotLoaded,
        }
    }
}

fn holds(value: &str, text: &str) -> bool {
    Searcher::new(text).feed(value)
}

impl Subject for Letter {
    fn sequence(&self) -> u32 {
        self.sequence
    }

    fn uid(&self) -> Uid {
        self.uid
    }

    fn has_flag(&self, flag: &Flag) -> bool {
        self.flags.contains(flag)
    }

    fn recent(&self) -> Recent {
        self.recent
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn internal_date(&self) -> Date {
        self.internal_date
    }

    fn mod_seq(&self) -> ModSeq {
        self.mod_seq
    }

    fn sent_date(&self) -> Known<Option<Date>> {
        let Some(header) = &self.header else {
            return Known::NotLoaded;
        };
        let date = first_field(header, "Date").and_then(|field| parse_date(&field.unfolded()));
        Known::Yes(date.map(|date| DateTime::with_offset(date.seconds, date.offset_minutes).date()))
    }

    fn field_contains(&self, name: &str, text: &str) -> Known<bool> {
        self.with_header(|header| {
            fields(header)
                .filter(|field| field.is(name))
                .any(|field| holds(&field.decoded(), text))
        })
    }

    fn header_contains(&self, text: &str) -> Known<bool> {
        self.with_header(|header| {
            fields(header).any(|field| {
                let name = String::from_utf8_lossy(field.name);
                holds(&format!("{name}:{}", field.decoded()), text)
            })
        })
    }

    fn body_contains(&self, text: &str) -> Known<bool> {
        match &self.found {
            Some(found) => Known::Yes(found.iter().any(|f| f == text)),
            None => Known::NotLoaded,
        }
    }
}

/// Looks for several texts in one pass over the parts of a message.
pub(super) struct TextSearch {
    searchers: Vec<(String, Searcher)>,
    decoder: Option<TextDecoder>,
    text: String,
}

impl TextSearch {
    pub(super) fn new(texts: &[String]) -> Self {
        let searcher = |text: &String| (text.clone(), Searcher::new(text));
        Self {
            searchers: texts.iter().map(searcher).collect(),
            decoder: None,
            text: String::new(),
        }
    }

    pub(super) fn start_part(&mut self, part: &Part) {
        self.decoder = Some(TextDecoder::new(part.transfer_encoding(), &part.charset));
        for (_, searcher) in &mut self.searchers {
            searcher.next_text();
        }
    }

    pub(super) fn feed(&mut self, octets: &[u8]) {
        if let Some(decoder) = &mut self.decoder {
            decoder.feed(octets, &mut self.text);
            self.search();
        }
    }

    pub(super) fn end_part(&mut self) {
        if let Some(decoder) = self.decoder.take() {
            decoder.finish(&mut self.text);
            self.search();
        }
    }

    fn search(&mut self) {
        for (_, searcher) in &mut self.searchers {
            searcher.feed(&self.text);
        }
        self.text.clear();
    }

    /// Whether all texts were found already.
    pub(super) fn is_complete(&self) -> bool {
        self.searchers.iter().all(|(_, searcher)| searcher.found())
    }

    pub(super) fn found(self) -> Vec<String> {
        let found = self.searchers.into_iter().filter(|(_, s)| s.found());
        found.map(|(text, _)| text).collect()
    }
}

#[cfg(test)]
mod tests {
    use postino_message::{Limits, Scanner, deliver};

    use super::*;

    #[test]
    fn texts_are_found_decoded_and_within_one_part() {
        let letter = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\
            --b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=\r\n=DFe\r\n\
            --b\r\n\r\nzwei\r\n--b--\r\n";
        let mut scanner = Scanner::new(Limits::default());
        scanner.feed(letter);
        let email = deliver(&scanner.finish(), b"", b"").email;
        let texts = ["grüße", "ZWEI", "nicht da", "zwei\r\n--b"].map(String::from);
        let mut search = TextSearch::new(&texts);
        for part in email.parts.iter().filter(|part| part.is_text()) {
            search.start_part(part);
            for chunk in letter[part.body.start as usize..part.body.end as usize].chunks(3) {
                search.feed(chunk);
            }
            search.end_part();
        }
        assert!(!search.is_complete());
        assert_eq!(search.found(), ["grüße", "ZWEI"]);
    }
}
