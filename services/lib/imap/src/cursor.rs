//! Reads the terminals of RFC 3501 section 9 from one complete command.

use std::borrow::Cow;

use crate::limits::Limits;

/// Why a command could not be read. The text is fit for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub &'static str);

/// The result of reading a terminal.
pub(crate) type Parsed<T> = Result<T, SyntaxError>;

/// A position in a command whose literals stand in place, each after its `{n}` and line end.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    limits: &'a Limits,
    depth: usize,
    arguments: usize,
}

/// ATOM-CHAR of RFC 3501 section 9.
pub(crate) fn is_atom_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte)
}

/// ASTRING-CHAR of RFC 3501 section 9.
pub(crate) fn is_astring_char(byte: u8) -> bool {
    is_atom_char(byte) || byte == b']'
}

/// A character of a tag: an ASTRING-CHAR but no `+`.
pub(crate) fn is_tag_char(byte: u8) -> bool {
    is_astring_char(byte) && byte != b'+'
}

/// list-char of RFC 3501 section 9: what an unquoted LIST pattern is made of.
fn is_list_char(byte: u8) -> bool {
    is_astring_char(byte) || byte == b'%' || byte == b'*'
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], limits: &'a Limits) -> Self {
        Self {
            rest: bytes,
            limits,
            depth: 0,
            arguments: 0,
        }
    }

    /// The next octet, without taking it.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// What has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes `byte` if it is next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn expect(&mut self, byte: u8, what: &'static str) -> Parsed<()> {
        match self.take(byte) {
            true => Ok(()),
            false => Err(SyntaxError(what)),
        }
    }

    pub(crate) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "a space is missing")
    }

    /// The command has to end here. Spaces before the line end are forgiven.
    pub(crate) fn end(&mut self) -> Parsed<()> {
        match self.rest.iter().all(|b| *b == b' ') {
            true => Ok(()),
            false => Err(SyntaxError("there is more than the command takes")),
        }
    }

    /// Counts one more element of the command against the limit.
    pub(crate) fn count(&mut self) -> Parsed<()> {
        self.arguments += 1;
        match self.arguments <= self.limits.arguments {
            true => Ok(()),
            false => Err(SyntaxError("too many arguments")),
        }
    }

    /// Runs `inner` one level deeper.
    pub(crate) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= self.limits.depth {
            return Err(SyntaxError("nested too deeply"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// `(` one or more elements `)`, separated by single spaces; `()` too if `Empty` allows it.
    pub(crate) fn list<T>(
        &mut self,
        empty: Empty,
        mut element: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(b'(', "a parenthesis is missing")?;
        let mut elements = Vec::new();
        if empty == Empty::Allowed && self.take(b')') {
            return Ok(elements);
        }
        self.nested(|cursor| {
            loop {
                cursor.count()?;
                elements.push(element(cursor)?);
                if cursor.take(b')') {
                    return Ok(elements);
                }
                cursor.space()?;
            }
        })
    }

    /// One or more octets that are `accepted`.
    pub(crate) fn word(
        &mut self,
        accepted: impl Fn(u8) -> bool,
        what: &'static str,
    ) -> Parsed<&'a [u8]> {
        let length = self.rest.iter().take_while(|b| accepted(**b)).count();
        let (word, rest) = self.rest.split_at(length);
        match word.is_empty() {
            true => Err(SyntaxError(what)),
            false => {
                self.rest = rest;
                Ok(word)
            }
        }
    }

    /// An atom. It is ASCII by its grammar.
    pub(crate) fn atom(&mut self) -> Parsed<&'a str> {
        text(self.word(is_atom_char, "an atom is missing")?)
    }

    /// An atom in upper case.
    pub(crate) fn keyword(&mut self) -> Parsed<String> {
        self.atom().map(str::to_ascii_uppercase)
    }

    /// Takes `word`, in any case, if it is next and not the start of a longer atom.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let Some((head, rest)) = self.rest.split_at_checked(word.len()) else {
            return false;
        };
        let ends = rest.first().is_none_or(|b| !is_atom_char(*b));
        let found = ends && head.eq_ignore_ascii_case(word.as_bytes());
        if found {
            self.rest = rest;
        }
        found
    }

    pub(crate) fn number64(&mut self) -> Parsed<u64> {
        let digits = text(self.word(|b| b.is_ascii_digit(), "a number is missing")?)?;
        digits
            .parse()
            .map_err(|_| SyntaxError("the number is too large"))
    }

    pub(crate) fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| SyntaxError("the number is too large"))
    }

    /// `{n}` or `{n+}`, a line end, and n octets.
    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let broken = SyntaxError("a literal is broken");
        self.expect(b'{', "a string is missing")?;
        let length = usize::try_from(self.number64()?).map_err(|_| broken)?;
        self.take(b'+');
        self.expect(b'}', broken.0)?;
        self.take(b'\r');
        self.expect(b'\n', broken.0)?;
        let (content, rest) = self.rest.split_at_checked(length).ok_or(broken)?;
        self.rest = rest;
        match content.contains(&0) {
            // CHAR8 excludes NUL (RFC 3501 section 9).
            true => Err(SyntaxError("a literal holds NUL")),
            false => Ok(content),
        }
    }

    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.expect(b'"', "a string is missing")?;
        let mut content: Option<Vec<u8>> = None;
        let start = self.rest;
        let mut taken = 0;
        loop {
            let (first, rest) = self
                .rest
                .split_first()
                .ok_or(SyntaxError("a quote is not closed"))?;
            self.rest = rest;
            let byte = match first {
                b'"' => break,
                b'\\' => {
                    let (escaped, rest) = rest
                        .split_first()
                        .filter(|(b, _)| matches!(b, b'"' | b'\\'))
                        .ok_or(SyntaxError("a backslash quotes only \" and \\"))?;
                    content.get_or_insert_with(|| start[..taken].to_vec());
                    self.rest = rest;
                    taken += 1;
                    *escaped
                }
                b'\r' | b'\n' | 0 => return Err(SyntaxError("a quote is not closed")),
                byte => *byte,
            };
            taken += 1;
            if let Some(content) = &mut content {
                content.push(byte);
            }
        }
        Ok(match content {
            Some(content) => content.into(),
            None => start[..taken].into(),
        })
    }

    /// A quoted string or a literal, as octets.
    pub(crate) fn string_bytes(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            _ => self.literal().map(Cow::Borrowed),
        }
    }

    /// A quoted string, a literal or an atom-like word, as octets.
    pub(crate) fn astring_bytes(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string_bytes(),
            // Eight-bit characters are no ASTRING-CHARs, but clients send them unquoted.
            _ => self
                .word(|b| is_astring_char(b) || b >= 0x80, "a string is missing")
                .map(Cow::Borrowed),
        }
    }

    /// A string in UTF-8.
    pub(crate) fn string(&mut self) -> Parsed<Box<str>> {
        owned(self.string_bytes()?)
    }

    /// An astring in UTF-8.
    pub(crate) fn astring(&mut self) -> Parsed<Box<str>> {
        owned(self.astring_bytes()?)
    }

    /// `NIL` or a string in UTF-8.
    pub(crate) fn nstring(&mut self) -> Parsed<Option<Box<str>>> {
        match self.take_word("NIL") {
            true => Ok(None),
            false => self.string().map(Some),
        }
    }

    /// A pattern of LIST.
    pub(crate) fn list_pattern(&mut self) -> Parsed<Box<str>> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => text(self.word(
                |b| is_list_char(b) || b >= 0x80,
                "a mailbox pattern is missing",
            )?)
            .map(Into::into),
        }
    }
}

/// Whether a list may have no elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    Allowed,
    Refused,
}

fn text(bytes: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(bytes).map_err(|_| SyntaxError("a string is not valid UTF-8"))
}

fn owned(bytes: Cow<'_, [u8]>) -> Parsed<Box<str>> {
    text(&bytes).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(bytes: &[u8], f: impl FnOnce(&mut Cursor<'_>) -> Parsed<T>) -> Parsed<T> {
        let limits = Limits::default();
        let mut cursor = Cursor::new(bytes, &limits);
        let value = f(&mut cursor)?;
        cursor.end()?;
        Ok(value)
    }

    #[test]
    fn an_astring_has_three_spellings() {
        for spelling in [&b"a]b"[..], b"\"a]b\"", b"{3}\r\na]b", b"{3+}\r\na]b"] {
            assert_eq!(
                read(spelling, |c| c.astring()).as_deref(),
                Ok("a]b"),
                "{spelling:?}"
            );
        }
        assert_eq!(
            read(br#""a\"b\\c""#, |c| c.astring()).as_deref(),
            Ok(r#"a"b\c"#)
        );
        assert_eq!(read(b"\"\"", |c| c.astring()).as_deref(), Ok(""));
    }

    #[test]
    fn broken_strings_are_refused() {
        for bad in [
            &b"\"a"[..],
            b"\"a\\n\"",
            b"\"a\rb\"",
            b"{4}\r\nabc",
            b"{3}abc",
            b"{3}\r\na\0b",
            b"(",
            b"",
            b"\xff",
        ] {
            assert!(read(bad, |c| c.astring()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_are_bounded() {
        let limits = Limits {
            depth: 2,
            arguments: 3,
            ..Limits::default()
        };
        let mut many = Cursor::new(b"(a a a a)", &limits);
        assert!(many.list(Empty::Refused, |c| c.atom()).is_err());
        let mut deep = Cursor::new(b"", &limits);
        assert!(deep.nested(|c| c.nested(|c| c.nested(|_| Ok(())))).is_err());
    }
}
