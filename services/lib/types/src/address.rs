//! Domains and addresses of the envelope (RFC 5321 section 4.1.2).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Longest local part, in octets (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL_PART: usize = 64;
/// Longest domain, in octets (RFC 5321 section 4.5.3.1.2).
const MAX_DOMAIN: usize = 255;
/// Longest label of a domain name (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`.
    #[error("an address needs an @")]
    NoAt,
    /// The local part is empty or has characters that need quoting.
    #[error("the local part is not valid")]
    LocalPart,
    /// The domain is not a valid domain name or address literal.
    #[error("the domain is not valid")]
    Domain,
    /// A part is longer than RFC 5321 section 4.5.3.1 allows.
    #[error("the address is too long")]
    TooLong,
}

/// A mail domain in lower-case ASCII (A-labels), without a final dot, or an address literal.
///
/// Internationalised names are turned into A-labels (RFC 5890) while they are parsed, so two
/// spellings of one domain are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// The domain as text: lower-case ASCII, or `[…]`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an address literal such as `[192.0.2.1]` (RFC 5321 section 4.1.3).
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }

    /// The IP address inside an address literal.
    pub fn literal_address(&self) -> Option<std::net::IpAddr> {
        let inner = self.0.strip_prefix('[')?.strip_suffix(']')?;
        match inner.strip_prefix("ipv6:") {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok().map(Into::into),
            None => inner.parse::<std::net::Ipv4Addr>().ok().map(Into::into),
        }
    }

    fn parse_literal(text: &str) -> Result<Self, AddressError> {
        let domain = Self(text.to_ascii_lowercase().into());
        match domain.literal_address() {
            Some(_) => Ok(domain),
            None => Err(AddressError::Domain),
        }
    }
}

impl FromStr for Domain {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.starts_with('[') {
            return Self::parse_literal(text);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let ascii = if name.is_ascii() {
            name.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(name).map_err(|_| AddressError::Domain)?
        };
        if ascii.len() > MAX_DOMAIN {
            return Err(AddressError::TooLong);
        }
        match ascii.split('.').all(is_label) {
            true => Ok(Self(ascii.into())),
            false => Err(AddressError::Domain),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A label of letters, digits, hyphens and, as seen in the wild, underscores.
fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The part before the `@`, unquoted; its case is kept, but compares without case.
///
/// RFC 5321 section 2.4 leaves the meaning of the local part to its host. As the host, Postino
/// treats two spellings that differ in ASCII case only as one mailbox.
#[derive(Debug, Clone)]
pub struct LocalPart(Box<str>);

impl LocalPart {
    /// The content, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which local addresses are looked up: ASCII letters in lower case, all others
    /// as they are. Two local parts are equal if, and only if, this form is the same.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// The local part before a `+tag` and the tag, if there is one.
    pub fn split_tag(&self) -> (&str, Option<&str>) {
        match self.0.split_once('+') {
            Some((base, tag)) if !base.is_empty() => (base, Some(tag)),
            _ => (&self.0, None),
        }
    }

    /// Parses a dot-string or a quoted string (RFC 5321 section 4.1.2); UTF-8 is allowed in both
    /// (RFC 6531 section 3.3).
    fn parse(text: &str) -> Result<Self, AddressError> {
        let content = match text.strip_prefix('"') {
            Some(rest) => unquote(rest)?,
            None if is_dot_string(text) => text.to_owned(),
            None => return Err(AddressError::LocalPart),
        };
        match content.len() {
            0 => Err(AddressError::LocalPart),
            n if n > MAX_LOCAL_PART => Err(AddressError::TooLong),
            _ => Ok(Self(content.into())),
        }
    }
}

impl PartialEq for LocalPart {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for LocalPart {}

impl Hash for LocalPart {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

/// The content of a quoted string whose opening quote is already taken.
fn unquote(rest: &str) -> Result<String, AddressError> {
    let mut content = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' if chars.as_str().is_empty() => return Ok(content),
            '"' => break,
            '\\' => match chars.next() {
                Some(escaped @ ' '..='~') => content.push(escaped),
                _ => break,
            },
            ' '..='~' => content.push(c),
            c if !c.is_ascii() => content.push(c),
            _ => break,
        }
    }
    Err(AddressError::LocalPart)
}

/// An address with a domain: `local-part@domain`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress {
    local: LocalPart,
    domain: Domain,
}

impl EmailAddress {
    /// The address of `local` at `domain`.
    pub fn new(local: LocalPart, domain: Domain) -> Self {
        Self { local, domain }
    }

    /// The part before the `@`.
    pub fn local(&self) -> &LocalPart {
        &self.local
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The key under which a local address is looked up: ASCII lower case.
    pub fn folded(&self) -> String {
        format!("{}@{}", self.local.folded(), self.domain)
    }

    /// The same address without its `+tag`, if it has one.
    pub fn without_tag(&self) -> Option<Self> {
        let (base, tag) = self.local.split_tag();
        tag?;
        Some(Self {
            local: LocalPart(base.into()),
            domain: self.domain.clone(),
        })
    }

    /// Whether SMTPUTF8 is needed to send to or from it (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.0.is_ascii()
    }
}

impl FromStr for EmailAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // The last @ separates: a quoted local part may hold others.
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        Ok(Self {
            local: LocalPart::parse(local)?,
            domain: domain.parse()?,
        })
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// The reverse-path of `MAIL FROM`: an address, or null for a notification (RFC 5321 section 4.5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: failures of this letter are not reported.
    Null,
    /// Where failures of this letter are reported to.
    Address(EmailAddress),
}

impl ReversePath {
    /// The address, unless the path is null.
    pub fn address(&self) -> Option<&EmailAddress> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }

    /// Whether this is `<>`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl FromStr for ReversePath {
    type Err = AddressError;

    /// Takes the path without its angle brackets; empty is null.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text {
            "" => Ok(Self::Null),
            _ => text.parse().map(Self::Address),
        }
    }
}

impl fmt::Display for ReversePath {
    /// Writes the address without angle brackets; null is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The forward-path of `RCPT TO`: an address, or the bare `postmaster` (RFC 5321 section 4.1.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// `<postmaster>` without a domain; every server takes it (RFC 5321 section 4.5.1).
    Postmaster,
    /// A full address.
    Address(EmailAddress),
}

impl FromStr for Recipient {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.eq_ignore_ascii_case("postmaster") {
            true => Ok(Self::Postmaster),
            false => text.parse().map(Self::Address),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("postmaster"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> Result<EmailAddress, AddressError> {
        text.parse()
    }

    #[test]
    fn domains_fold_case_and_internationalised_names() {
        let domain: Domain = "ExAmple.ORG.".parse().expect("valid");
        assert_eq!(domain.as_str(), "example.org");
        let idn: Domain = "bücher.example".parse().expect("valid");
        assert_eq!(idn.as_str(), "xn--bcher-kva.example");
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a b",
            "a@b",
            "[300.1.1.1]",
            "[::1]",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<Domain>().is_err(), "{bad:?}");
        }
    }

    /// The directory's keys and equality must never disagree, whatever the letters.
    #[test]
    fn local_parts_are_equal_exactly_if_they_fold_alike() {
        let hash = |local: &LocalPart| {
            let mut hasher = std::hash::DefaultHasher::new();
            local.hash(&mut hasher);
            hasher.finish()
        };
        for (one, other, folded, equal) in [
            ("alice", "ALICE", "alice", true),
            ("Äl", "ÄL", "Äl", true),
            ("Äl", "äl", "Äl", false),
            // Unicode's lower case of the Kelvin sign is an ASCII k.
            ("\u{212a}", "k", "\u{212a}", false),
            ("\"A b\"", "\"a B\"", "a b", true),
            ("İ", "i̇", "İ", false),
        ] {
            let parse = |text: &str| LocalPart::parse(text).expect("a local part");
            let (one, other) = (parse(one), parse(other));
            assert_eq!(one.folded(), folded);
            assert_eq!(one == other, equal, "{one} {other}");
            assert_eq!(one.folded() == other.folded(), equal, "{one} {other}");
            assert!(!equal || hash(&one) == hash(&other), "{one} {other}");
        }
    }

    #[test]
    fn literals_hold_an_address() {
        let v6: Domain = "[IPv6:2001:db8::1]".parse().expect("valid");
        assert!(v6.is_literal());
        assert_eq!(
            v6.literal_address(),
            Some("2001:db8::1".parse().expect("valid"))
        );
    }

    #[test]
    fn local_parts_unquote_and_quote_again() {
        let quoted = address(r#""a b\"c"@example.org"#).expect("valid");
        assert_eq!(quoted.local().as_str(), "a b\"c");
        assert_eq!(quoted.to_string(), r#""a b\"c"@example.org"#);
        // A needless quote is the same mailbox (RFC 5321 section 4.1.2).
        assert_eq!(
            address(r#""alice"@example.org"#),
            address("ALICE@example.org")
        );
        for bad in [
            "@example.org",
            "a..b@x.org",
            ".a@x.org",
            "a@",
            "a",
            "\"a@x.org",
            "\"\"@x.org",
        ] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            address(&format!("{}@x.org", "a".repeat(65))),
            Err(AddressError::TooLong)
        );
    }

    #[test]
    fn tags_come_off_once() {
        let tagged = address("alice+news+more@example.org").expect("valid");
        assert_eq!(
            tagged.without_tag().map(|a| a.to_string()),
            Some("alice@example.org".into())
        );
        assert_eq!(
            address("+x@example.org").expect("valid").without_tag(),
            None
        );
    }

    #[test]
    fn paths_know_null_and_postmaster() {
        assert!("".parse::<ReversePath>().expect("valid").is_null());
        assert_eq!("PostMaster".parse(), Ok(Recipient::Postmaster));
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(local in "[ -~]{1,64}") {
            let quoted = format!("{}@example.org", LocalPart(local.clone().into()));
            let parsed = address(&quoted).expect("a quoted local part is valid");
            prop_assert_eq!(parsed.local().as_str(), local.as_str());
            prop_assert_eq!(parsed.to_string(), quoted);
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = text.parse::<Recipient>();
            let _ = text.parse::<ReversePath>();
        }
    }
}
