//! `SEARCH` (RFC 3501 section 6.4.4).

use postino_types::{Flag, ModSeq};

use crate::cursor::{Cursor, Parsed, SyntaxError};
use crate::date::Date;
use crate::sequence::SequenceSet;
use crate::string::{LiteralKind, put_astring};

/// `SEARCH`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The charset of the strings.
    pub charset: Charset,
    /// What is looked for.
    pub program: SearchProgram,
}

/// The charset of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charset {
    /// None was named.
    Default,
    /// `UTF-8` or `US-ASCII`
    Utf8,
    /// One that is answered with `NO [BADCHARSET (…)]`; the strings were not read.
    Unsupported,
}

/// Keys that all have to match.
pub type SearchProgram = Vec<SearchKey>;

/// Which date of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DateField {
    /// INTERNALDATE
    Internal,
    /// The Date header
    Sent,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// Has the flag: `SEEN`, `KEYWORD x` …
    Flag(Flag),
    /// Lacks the flag: `UNSEEN`, `UNKEYWORD x` …
    NoFlag(Flag),
    /// `RECENT`
    Recent,
    /// `OLD`
    Old,
    /// `NEW`: recent and not seen
    New,
    /// Sequence numbers
    Sequence(SequenceSet),
    /// `UID`
    Uid(SequenceSet),
    /// `LARGER`
    Larger(u64),
    /// `SMALLER`
    Smaller(u64),
    /// `BEFORE`, `SENTBEFORE`
    Before(DateField, Date),
    /// `ON`, `SENTON`
    On(DateField, Date),
    /// `SINCE`, `SENTSINCE`
    Since(DateField, Date),
    /// `HEADER name text`; `FROM`, `TO`, `CC`, `BCC` and `SUBJECT` are this, too. An empty text
    /// asks only for the field.
    Header(Box<str>, Box<str>),
    /// `BODY`
    Body(Box<str>),
    /// `TEXT`
    Text(Box<str>),
    /// `MODSEQ` (RFC 7162 section 3.1.5): at least this
    ModSeq(ModSeq),
    /// `NOT`
    Not(Box<SearchKey>),
    /// `OR`
    Or(Box<SearchKey>, Box<SearchKey>),
    /// A list in parentheses
    And(SearchProgram),
}

impl Search {
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.space()?;
        let mut charset = Charset::Default;
        if cursor.take_word("CHARSET") {
            cursor.space()?;
            let name = cursor.astring()?;
            cursor.space()?;
            let known = ["UTF-8", "US-ASCII"]
                .iter()
                .any(|k| k.eq_ignore_ascii_case(&name));
            if !known {
                // The rest may hold strings in that charset, which cannot be read as UTF-8.
                cursor.word(|_| true, "a search key is missing")?;
                return Ok(Self {
                    charset: Charset::Unsupported,
                    program: vec![SearchKey::All],
                });
            }
            charset = Charset::Utf8;
        }
        let mut program = Vec::new();
        loop {
            cursor.count()?;
            program.push(SearchKey::parse(cursor)?);
            if cursor.is_at_end() {
                return Ok(Self { charset, program });
            }
            cursor.space()?;
        }
    }

    pub(crate) fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        out.extend_from_slice(b"SEARCH ");
        match self.charset {
            Charset::Default => {}
            Charset::Utf8 => out.extend_from_slice(b"CHARSET UTF-8 "),
            Charset::Unsupported => out.extend_from_slice(b"CHARSET X-UNSUPPORTED "),
        }
        encode_keys(&self.program, literals, out);
    }
}

fn encode_keys(keys: &[SearchKey], literals: LiteralKind, out: &mut Vec<u8>) {
    for (at, key) in keys.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        key.encode(literals, out);
    }
}

/// The keys that stand for a header field.
const HEADER_KEYS: [&str; 5] = ["FROM", "TO", "CC", "BCC", "SUBJECT"];

fn system_flag(name: &str) -> Option<Flag> {
    Flag::SYSTEM
        .into_iter()
        .find(|flag| flag.as_str()[1..].eq_ignore_ascii_case(name))
}

impl SearchKey {
    fn parse(cursor: &mut Cursor<'_>) -> Parsed<Self> {
        cursor.nested(|cursor| match cursor.peek() {
            Some(b'(') => cursor
                .list(crate::cursor::Empty::Refused, Self::parse)
                .map(Self::And),
            Some(b'0'..=b'9' | b'*') => SequenceSet::parse(cursor).map(Self::Sequence),
            _ => {
                let name = cursor.keyword()?;
                Self::parse_named(cursor, &name)
            }
        })
    }

    fn parse_named(cursor: &mut Cursor<'_>, name: &str) -> Parsed<Self> {
        if let Some(key) = Self::without_argument(name) {
            return Ok(key);
        }
        cursor.space()?;
        if HEADER_KEYS.contains(&name) {
            return cursor.astring().map(|text| Self::Header(name.into(), text));
        }
        Ok(match name {
            "KEYWORD" => Self::Flag(keyword(cursor)?),
            "UNKEYWORD" => Self::NoFlag(keyword(cursor)?),
            "UID" => Self::Uid(SequenceSet::parse(cursor)?),
            "LARGER" => Self::Larger(cursor.number64()?),
            "SMALLER" => Self::Smaller(cursor.number64()?),
            "BEFORE" => Self::Before(DateField::Internal, Date::parse(cursor)?),
            "ON" => Self::On(DateField::Internal, Date::parse(cursor)?),
            "SINCE" => Self::Since(DateField::Internal, Date::parse(cursor)?),
            "SENTBEFORE" => Self::Before(DateField::Sent, Date::parse(cursor)?),
            "SENTON" => Self::On(DateField::Sent, Date::parse(cursor)?),
            "SENTSINCE" => Self::Since(DateField::Sent, Date::parse(cursor)?),
            "HEADER" => {
                let field = cursor.astring()?.to_ascii_uppercase();
                cursor.space()?;
                Self::Header(field.into(), cursor.astring()?)
            }
            "BODY" => Self::Body(cursor.astring()?),
            "TEXT" => Self::Text(cursor.astring()?),
            "MODSEQ" => Self::ModSeq(mod_seq(cursor)?),
            "NOT" => Self::Not(Box::new(Self::parse(cursor)?)),
            "OR" => {
                let left = Self::parse(cursor)?;
                cursor.space()?;
                Self::Or(Box::new(left), Box::new(Self::parse(cursor)?))
            }
            _ => return Err(SyntaxError("unknown search key")),
        })
    }

    fn without_argument(name: &str) -> Option<Self> {
        Some(match name {
            "ALL" => Self::All,
            "RECENT" => Self::Recent,
            "OLD" => Self::Old,
            "NEW" => Self::New,
            name => match name.strip_prefix("UN").and_then(system_flag) {
                Some(flag) => Self::NoFlag(flag),
                None => Self::Flag(system_flag(name)?),
            },
        })
    }

    fn encode(&self, literals: LiteralKind, out: &mut Vec<u8>) {
        let word = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
        let flag_key = |flag: &Flag, negation: &str| match flag {
            Flag::Keyword(_) => format!("{negation}KEYWORD {flag}"),
            _ => format!("{negation}{}", &flag.as_str()[1..].to_ascii_uppercase()),
        };
        let date_key = |field: &DateField, name: &str, date: &Date| match field {
            DateField::Internal => format!("{name} {date}"),
            DateField::Sent => format!("SENT{name} {date}"),
        };
        match self {
            Self::All => word(out, "ALL"),
            Self::Flag(flag) => word(out, &flag_key(flag, "")),
            Self::NoFlag(flag) => word(out, &flag_key(flag, "UN")),
            Self::Recent => word(out, "RECENT"),
            Self::Old => word(out, "OLD"),
            Self::New => word(out, "NEW"),
            Self::Sequence(set) => word(out, &set.to_string()),
            Self::Uid(set) => word(out, &format!("UID {set}")),
            Self::Larger(size) => word(out, &format!("LARGER {size}")),
            Self::Smaller(size) => word(out, &format!("SMALLER {size}")),
            Self::Before(field, date) => word(out, &date_key(field, "BEFORE", date)),
            Self::On(field, date) => word(out, &date_key(field, "ON", date)),
            Self::Since(field, date) => word(out, &date_key(field, "SINCE", date)),
            Self::Header(field, text) => {
                word(out, "HEADER ");
                put_astring(out, field, literals);
                out.push(b' ');
                put_astring(out, text, literals);
            }
            Self::Body(text) => {
                word(out, "BODY ");
                put_astring(out, text, literals);
            }
            Self::Text(text) => {
                word(out, "TEXT ");
                put_astring(out, text, literals);
            }
            Self::ModSeq(value) => word(out, &format!("MODSEQ {value}")),
            Self::Not(key) => {
                word(out, "NOT ");
                key.encode(literals, out);
            }
            Self::Or(left, right) => {
                word(out, "OR ");
                left.encode(literals, out);
                out.push(b' ');
                right.encode(literals, out);
            }
            Self::And(keys) => {
                out.push(b'(');
                encode_keys(keys, literals, out);
                out.push(b')');
            }
        }
    }
}

fn keyword(cursor: &mut Cursor<'_>) -> Parsed<Flag> {
    cursor
        .atom()?
        .parse()
        .map_err(|_| SyntaxError("the keyword is not valid"))
}

/// `MODSEQ [entry-name entry-type] value`: the value counts for all flags, whatever the entry.
fn mod_seq(cursor: &mut Cursor<'_>) -> Parsed<ModSeq> {
    if cursor.peek() == Some(b'"') {
        cursor.string()?;
        cursor.space()?;
        let kind = cursor.keyword()?;
        if !matches!(kind.as_str(), "ALL" | "PRIV" | "SHARED") {
            return Err(SyntaxError("unknown entry type"));
        }
        cursor.space()?;
    }
    // Zero is valid here (mod-sequence-valzer): it matches all.
    Ok(ModSeq::new(cursor.number64()?).unwrap_or(ModSeq::MIN))
}
