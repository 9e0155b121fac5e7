//! Tokens of the structured MIME fields (RFC 2045 section 5.1), read leniently.

/// Parentheses inside each other that a comment may have.
const MAX_COMMENT_DEPTH: usize = 50;

/// A place in an unfolded field value.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// The next token, if one is next, after blanks and comments.
    pub(super) fn token(&mut self) -> Option<&'a [u8]> {
        self.skip_blanks();
        let length = self.rest.iter().take_while(|&&b| is_token(b)).count();
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        (length > 0).then_some(token)
    }

    /// Takes this octet, if it is next.
    pub(super) fn take(&mut self, octet: u8) -> bool {
        self.skip_blanks();
        match self.rest.split_first() {
            Some((&first, rest)) if first == octet => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Goes past the next octet of this kind that is not in quotes or in a comment.
    pub(super) fn skip_past(&mut self, octet: u8) -> bool {
        while !self.take(octet) {
            match self.rest.first() {
                None => return false,
                Some(b'"') => {
                    self.quoted();
                }
                Some(_) => self.rest = &self.rest[1..],
            }
        }
        true
    }

    /// A parameter's value without quotes. Unquoted, it goes up to the next blank or semicolon:
    /// boundaries with characters that need quotes are common.
    pub(super) fn value(&mut self) -> Vec<u8> {
        self.skip_blanks();
        if self.rest.first() == Some(&b'"') {
            return self.quoted();
        }
        let ends = |&b: &u8| matches!(b, b';' | b' ' | b'\t');
        let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(length);
        self.rest = rest;
        value.to_vec()
    }

    /// The content of a quoted string; one that is not closed goes up to the end.
    fn quoted(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        let mut octets = self.rest[1..].iter();
        while let Some(&octet) = octets.next() {
            match octet {
                b'"' => break,
                b'\\' => content.extend(octets.next()),
                octet => content.push(octet),
            }
        }
        self.rest = octets.as_slice();
        content
    }

    fn skip_blanks(&mut self) {
        self.rest = skip_comments(self.rest);
    }
}

/// What follows blanks and comments (CFWS, RFC 5322 section 3.2.2).
pub(crate) fn skip_comments(mut text: &[u8]) -> &[u8] {
    let mut depth = 0usize;
    while let Some((&octet, rest)) = text.split_first() {
        match octet {
            b' ' | b'\t' => {}
            b'(' if depth < MAX_COMMENT_DEPTH => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => {
                text = rest.get(1..).unwrap_or_default();
                continue;
            }
            _ if depth > 0 => {}
            _ => return text,
        }
        text = rest;
    }
    text
}

fn is_token(octet: u8) -> bool {
    !octet.is_ascii_control() && octet != b' ' && !b"()<>@,;:\\\"/[]?=".contains(&octet)
}
