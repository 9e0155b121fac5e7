//! What a MIME header says of a part's content (RFC 2045, 2183, 3282, 2557, 1864).

mod token;

use std::collections::BTreeMap;

use crate::decode::Encoding;
use crate::header::{Field, fields};
use crate::scan::Kind;
use token::Cursor;
pub(crate) use token::skip_comments;

/// Parameters kept of one field; more are passed over.
const MAX_PARAMETERS: usize = 100;

/// A parameter: its name in lower case, and its value as it stands, without quotes. The sections
/// of a continued parameter (RFC 2231 section 3) are put together; a value in RFC 2231 encoding
/// keeps it, and its name ends in `*`.
pub type Parameter = (String, Vec<u8>);

/// `Content-Type` (RFC 2045 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// The type, lower case.
    pub media: String,
    /// The subtype, lower case.
    pub subtype: String,
    /// Parameters in order.
    pub parameters: Vec<Parameter>,
}

impl ContentType {
    /// A type without parameters, from lower-case `type/subtype`.
    pub fn plain(media: &str, subtype: &str) -> Self {
        Self {
            media: media.into(),
            subtype: subtype.into(),
            parameters: Vec::new(),
        }
    }

    /// Whether this is that type, given in lower case.
    pub fn is(&self, media: &str, subtype: &str) -> bool {
        self.media == media && self.subtype == subtype
    }

    /// The value of a parameter, its name given in lower case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        find(&self.parameters, name)
    }

    /// The `charset` parameter in lower case, if it is there and ASCII.
    pub fn charset(&self) -> Option<String> {
        let value = self.parameter("charset")?;
        let text = std::str::from_utf8(value).ok().filter(|t| t.is_ascii())?;
        Some(text.trim().to_ascii_lowercase())
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        let media = cursor.token()?;
        cursor.take(b'/').then_some(())?;
        let subtype = cursor.token()?;
        Some(Self {
            media: lower(media),
            subtype: lower(subtype),
            parameters: parameters(&mut cursor),
        })
    }
}

/// `Content-Disposition` (RFC 2183).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition {
    /// `inline`, `attachment`, or another word, lower case.
    pub kind: String,
    /// Parameters in order.
    pub parameters: Vec<Parameter>,
}

impl Disposition {
    fn parse(value: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        let kind = lower(cursor.token()?);
        Some(Self {
            kind,
            parameters: parameters(&mut cursor),
        })
    }
}

/// The content fields of a part's header. Where a field comes twice, the first counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartFields {
    /// `Content-Type`; if it is missing or unreadable, the default (RFC 2045 section 5.2).
    pub content_type: ContentType,
    /// `Content-Disposition`, if there is a readable one.
    pub disposition: Option<Disposition>,
    /// Tags of `Content-Language` (RFC 3282).
    pub languages: Vec<String>,
    /// `Content-Location` (RFC 2557), on one line.
    pub location: Option<Vec<u8>>,
    /// `Content-ID`, on one line.
    pub id: Option<Vec<u8>>,
    /// `Content-Description`, on one line, its encoded words kept.
    pub description: Option<Vec<u8>>,
    /// `Content-MD5` (RFC 1864).
    pub md5: Option<Vec<u8>>,
    /// The word in `Content-Transfer-Encoding`, lower case; `7bit` if there is none.
    pub encoding: String,
}

impl Default for PartFields {
    fn default() -> Self {
        Self {
            content_type: ContentType::plain("text", "plain"),
            disposition: None,
            languages: Vec::new(),
            location: None,
            id: None,
            description: None,
            md5: None,
            encoding: "7bit".into(),
        }
    }
}

impl PartFields {
    /// Reads a header block. `default_type` is the content type of a part that names none:
    /// `message/rfc822` inside `multipart/digest` (RFC 2046 section 5.1.5), else `text/plain`.
    pub(crate) fn parse(block: &[u8], default_type: &str) -> Self {
        let (media, subtype) = default_type.split_once('/').unwrap_or(("text", "plain"));
        let mut found = Self::default();
        let mut content_type = None;
        let mut encoding = None;
        for field in fields(block) {
            let is_content = field
                .name
                .get(..8)
                .is_some_and(|p| p.eq_ignore_ascii_case(b"content-"));
            if !is_content {
                continue;
            }
            match field.name[8..].to_ascii_lowercase().as_slice() {
                b"type" if content_type.is_none() => {
                    let readable = ContentType::parse(&field.unfolded());
                    content_type = Some(readable.unwrap_or(ContentType::plain("text", "plain")));
                }
                b"transfer-encoding" if encoding.is_none() => {
                    encoding = Cursor::new(&field.unfolded()).token().map(lower);
                }
                b"disposition" if found.disposition.is_none() => {
                    found.disposition = Disposition::parse(&field.unfolded());
                }
                b"language" if found.languages.is_empty() => found.languages = languages(&field),
                b"location" => keep_first(&mut found.location, &field),
                b"id" => keep_first(&mut found.id, &field),
                b"description" => keep_first(&mut found.description, &field),
                b"md5" => keep_first(&mut found.md5, &field),
                _ => {}
            }
        }
        found.content_type = content_type.unwrap_or(ContentType::plain(media, subtype));
        if found.content_type.media == "multipart" && found.boundary().is_none() {
            // Without a boundary it has no parts, and IMAP knows no such multipart.
            found.content_type = ContentType::plain("text", "plain");
        }
        found.encoding = encoding.unwrap_or(found.encoding);
        found
    }

    /// The boundary of a multipart, without trailing blanks (RFC 2046 section 5.1.1).
    pub(crate) fn boundary(&self) -> Option<&[u8]> {
        let boundary = self.content_type.parameter("boundary")?.trim_ascii_end();
        (!boundary.is_empty()).then_some(boundary)
    }

    /// What the part is made of, by its content type.
    pub(crate) fn kind(&self) -> Kind {
        match (
            self.content_type.media.as_str(),
            self.content_type.subtype.as_str(),
        ) {
            ("multipart", _) => Kind::Multipart,
            // message/global is the same with UTF-8 in headers (RFC 6532 section 3.7).
            ("message", "rfc822" | "global") => Kind::Message,
            _ => Kind::Leaf,
        }
    }

    /// The transfer encoding.
    pub fn transfer_encoding(&self) -> Encoding {
        Encoding::of(&self.encoding)
    }

    /// Whether a person would call the part an attachment: it says so, or it has a name and is not
    /// text shown inline.
    pub fn is_attachment(&self) -> bool {
        let (kind, named) = match &self.disposition {
            Some(d) => (d.kind.as_str(), has_name(&d.parameters, "filename")),
            None => ("", false),
        };
        match kind {
            "attachment" => true,
            "inline" => false,
            _ => {
                let named = named || has_name(&self.content_type.parameters, "name");
                named && self.content_type.media != "text"
            }
        }
    }
}

fn find<'a>(parameters: &'a [Parameter], name: &str) -> Option<&'a [u8]> {
    parameters
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, value)| value.as_slice())
}

fn has_name(parameters: &[Parameter], name: &str) -> bool {
    parameters
        .iter()
        .any(|(n, _)| n.strip_suffix('*').unwrap_or(n) == name)
}

fn lower(token: &[u8]) -> String {
    String::from_utf8_lossy(token).to_ascii_lowercase()
}

fn keep_first(slot: &mut Option<Vec<u8>>, field: &Field<'_>) {
    let value = field.unfolded();
    if slot.is_none() && !value.is_empty() {
        *slot = Some(value.into_owned());
    }
}

fn languages(field: &Field<'_>) -> Vec<String> {
    let value = field.unfolded();
    let mut cursor = Cursor::new(&value);
    let mut tags = Vec::new();
    while let Some(tag) = cursor.token() {
        if tags.len() < MAX_PARAMETERS {
            tags.push(String::from_utf8_lossy(tag).into_owned());
        }
        if !cursor.take(b',') {
            break;
        }
    }
    tags
}

/// `*(";" attribute "=" value)`; what does not fit is passed over up to the next semicolon.
fn parameters(cursor: &mut Cursor<'_>) -> Vec<Parameter> {
    let mut plain: Vec<Parameter> = Vec::new();
    let mut sections: BTreeMap<(String, u32), (Vec<u8>, bool)> = BTreeMap::new();
    while cursor.skip_past(b';') {
        if plain.len() + sections.len() >= MAX_PARAMETERS {
            break;
        }
        let Some(name) = cursor.token().map(lower) else {
            continue;
        };
        if !cursor.take(b'=') {
            continue;
        }
        let value = cursor.value();
        match section_of(&name) {
            Some((base, number, extended)) => {
                sections
                    .entry((base.to_owned(), number))
                    .or_insert((value, extended));
            }
            None if find(&plain, &name).is_none() => plain.push((name, value)),
            None => {}
        }
    }
    join_sections(sections, &mut plain);
    plain
}

/// The base name, number and encoding mark of `name*number` or `name*number*` (RFC 2231 section 3).
fn section_of(name: &str) -> Option<(&str, u32, bool)> {
    let (base, rest) = name.split_once('*')?;
    let (number, extended) = match rest.strip_suffix('*') {
        Some(number) => (number, true),
        None => (rest, false),
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| number.parse().ok()).flatten()?;
    Some((base, number, extended))
}

/// Appends continued parameters, their sections in order from 0 up to the first gap.
fn join_sections(sections: BTreeMap<(String, u32), (Vec<u8>, bool)>, into: &mut Vec<Parameter>) {
    let mut sections = sections.into_iter().peekable();
    while let Some(((base, number), (mut value, mut extended))) = sections.next() {
        // The number is the sender's: it may be the largest there is.
        let mut expected = number.saturating_add(1);
        while let Some(((next, n), _)) = sections.peek() {
            if *next != base {
                break;
            }
            let in_order = *n == expected;
            let Some((_, (more, is_extended))) = sections.next() else {
                break;
            };
            if in_order {
                value.extend(more);
                extended |= is_extended;
                expected = expected.saturating_add(1);
            }
        }
        let name = if extended { format!("{base}*") } else { base };
        if number == 0 && find(into, &name).is_none() {
            into.push((name, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_type(value: &str) -> ContentType {
        ContentType::parse(value.as_bytes()).expect("readable")
    }

    #[test]
    fn parameters_are_read_as_they_come() {
        let t = content_type(
            "TEXT/Plain (comment) ; Charset=\"UTF-8\"; x=a\\b; broken; format = flowed;",
        );
        assert!(t.is("text", "plain"));
        assert_eq!(t.charset().as_deref(), Some("utf-8"));
        assert_eq!(t.parameter("x"), Some(&b"a\\b"[..]));
        assert_eq!(t.parameter("format"), Some(&b"flowed"[..]));
        assert_eq!(t.parameter("broken"), None);
    }

    #[test]
    fn continued_parameters_are_joined() {
        let t =
            content_type("a/b; name*1=\" world\"; name*0=hello; f*0*=utf-8''%41; f*1=b; g*1=lost");
        assert_eq!(t.parameter("name"), Some(&b"hello world"[..]));
        assert_eq!(t.parameter("f*"), Some(&b"utf-8''%41b"[..]));
        assert_eq!(t.parameters.len(), 2);
    }

    #[test]
    fn a_section_may_have_the_largest_number() {
        let t = content_type("text/plain; a*4294967295=x; a*0=y; b*4294967295*=x; c*4294967296=x");
        assert_eq!(t.parameter("a"), Some(&b"y"[..]));
        assert_eq!(t.parameter("b"), None);
        assert_eq!(t.parameter("c"), None);
    }

    #[test]
    fn boundaries_may_be_sloppy() {
        let block = b"Content-Type: multipart/mixed;\r\n boundary=----=_Part_1:2?3\r\n";
        let fields = PartFields::parse(block, "text/plain");
        assert_eq!(fields.boundary(), Some(&b"----=_Part_1:2?3"[..]));
    }

    #[test]
    fn a_multipart_without_boundary_is_text() {
        let fields = PartFields::parse(
            b"Content-Type: multipart/mixed; boundary=\"  \"\r\n",
            "text/plain",
        );
        assert_eq!(fields.content_type, ContentType::plain("text", "plain"));
    }

    #[test]
    fn attachments_are_told_from_inline_parts() {
        for (block, expected) in [
            ("Content-Disposition: attachment\r\n", true),
            ("Content-Type: image/png; name=x\r\n", true),
            (
                "Content-Type: image/png; name=x\r\nContent-Disposition: inline; filename=x\r\n",
                false,
            ),
            ("Content-Type: text/plain; name=x\r\n", false),
            (
                "Content-Type: application/pdf\r\nContent-Disposition: other; filename*=utf-8''x\r\n",
                true,
            ),
        ] {
            let fields = PartFields::parse(block.as_bytes(), "text/plain");
            assert_eq!(fields.is_attachment(), expected, "{block}");
        }
    }
}
