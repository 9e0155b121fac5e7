//! Address lists of header fields (RFC 5322 sections 3.4 and 4.4), as ENVELOPE needs them.

/// Addresses read from one list. More would make an ENVELOPE many times larger than its header.
const MAX_ADDRESSES: usize = 5000;

/// An address. Encoded words are kept; quotes and comments are taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, or else the comment after the address.
    pub name: Option<Vec<u8>>,
    /// The source route of obsolete addresses, such as `@a,@b`.
    pub route: Option<Vec<u8>>,
    /// The local part.
    pub local: Vec<u8>,
    /// The domain; `None` if the address has none.
    pub domain: Option<Vec<u8>>,
}

/// An element of an address list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressItem {
    /// An address, inside a group or not.
    Mailbox(Mailbox),
    /// A group with this name starts.
    GroupStart(Vec<u8>),
    /// The group ends.
    GroupEnd,
}

/// Reads the unfolded value of an address field. Broken lists give what can be made out of them;
/// a group that is not closed ends with the list.
pub fn addresses(value: &[u8]) -> Vec<AddressItem> {
    let mut list = List {
        items: Vec::new(),
        in_group: false,
        phrase: Phrase::default(),
    };
    let mut lexer = Lexer { rest: value };
    while let Some(token) = lexer.next() {
        if list.items.len() >= MAX_ADDRESSES {
            list.phrase = Phrase::default();
            break;
        }
        match token {
            Token::Word { text, after_blank } => list.phrase.push(text, after_blank),
            Token::Comment(text) => list.phrase.comment = Some(text),
            Token::Special(b':') if !list.in_group => list.start_group(),
            Token::Special(b'<') => list.angle(&mut lexer),
            Token::Special(b'@') => list.at(&mut lexer),
            Token::Special(b',') => list.end_address(),
            Token::Special(b';') => list.end_group(),
            Token::Special(_) => {}
        }
    }
    list.end_group();
    list.items
}

enum Token {
    Word { text: Vec<u8>, after_blank: bool },
    Comment(Vec<u8>),
    Special(u8),
}

struct Lexer<'a> {
    rest: &'a [u8],
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<Token> {
        let blanks = self
            .rest
            .iter()
            .take_while(|b| b.is_ascii_whitespace())
            .count();
        self.rest = &self.rest[blanks..];
        let after_blank = blanks > 0;
        match *self.rest.first()? {
            b'"' => Some(Token::Word {
                text: self.enclosed(b'"'),
                after_blank,
            }),
            b'(' => Some(Token::Comment(self.comment())),
            b'[' => {
                let mut text = self.enclosed(b']');
                text.insert(0, b'[');
                text.push(b']');
                Some(Token::Word { text, after_blank })
            }
            special if is_special(special) => {
                self.rest = &self.rest[1..];
                Some(Token::Special(special))
            }
            _ => {
                let ends =
                    |&b: &u8| is_special(b) || b.is_ascii_whitespace() || b"\"([".contains(&b);
                let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(length);
                self.rest = rest;
                Some(Token::Word {
                    text: text.to_vec(),
                    after_blank,
                })
            }
        }
    }

    /// The content up to a closing octet, without backslashes; the end of the list closes it, too.
    fn enclosed(&mut self, close: u8) -> Vec<u8> {
        let mut text = Vec::new();
        let mut octets = self.rest[1..].iter();
        while let Some(&octet) = octets.next() {
            match octet {
                b'\\' => text.extend(octets.next()),
                octet if octet == close => break,
                octet => text.push(octet),
            }
        }
        self.rest = octets.as_slice();
        text
    }

    /// The content of a comment; parentheses inside it are kept.
    fn comment(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut depth = 1usize;
        let mut octets = self.rest[1..].iter();
        while let Some(&octet) = octets.next() {
            match octet {
                b'\\' => {
                    text.extend(octets.next());
                    continue;
                }
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            text.push(octet);
        }
        self.rest = octets.as_slice();
        text.trim_ascii().to_vec()
    }
}

fn is_special(octet: u8) -> bool {
    b"<>@,;:)]".contains(&octet)
}

/// Words that are a display name, a group's name, or a local part: what follows tells.
#[derive(Default)]
struct Phrase {
    words: Vec<(Vec<u8>, bool)>,
    comment: Option<Vec<u8>>,
    /// The address that was already read; what follows it is only a comment.
    done: Option<Mailbox>,
}

impl Phrase {
    fn push(&mut self, text: Vec<u8>, after_blank: bool) {
        if self.done.is_none() {
            self.words.push((text, after_blank));
        }
    }

    /// The words with one space where there were blanks.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (word, after_blank) in &self.words {
            if *after_blank && !text.is_empty() {
                text.push(b' ');
            }
            text.extend_from_slice(word);
        }
        text
    }
}

struct List {
    items: Vec<AddressItem>,
    in_group: bool,
    phrase: Phrase,
}

impl List {
    fn start_group(&mut self) {
        let phrase = std::mem::take(&mut self.phrase);
        self.items.push(AddressItem::GroupStart(phrase.text()));
        self.in_group = true;
    }

    /// `[name] "<" [route ":"] local ["@" domain] ">"`, after the `<`.
    fn angle(&mut self, lexer: &mut Lexer<'_>) {
        let mut route = Vec::new();
        let mut local = Vec::new();
        let mut domain: Option<Vec<u8>> = None;
        while let Some(token) = lexer.next() {
            match token {
                Token::Special(b'>') => break,
                Token::Special(b':') if local.is_empty() => {
                    if let Some(domain) = domain.take() {
                        route.push(b'@');
                        route.extend(domain);
                    }
                }
                Token::Special(b',') if local.is_empty() => {
                    if let Some(domain) = domain.take() {
                        route.push(b'@');
                        route.extend(domain);
                        route.push(b',');
                    }
                }
                Token::Special(b'@') => domain = Some(domain.unwrap_or_default()),
                Token::Word { text, .. } => domain.as_mut().unwrap_or(&mut local).extend(text),
                Token::Comment(_) | Token::Special(_) => {}
            }
        }
        let name = Some(self.phrase.text()).filter(|name| !name.is_empty());
        self.finish(Mailbox {
            name,
            route: Some(route).filter(|r| !r.is_empty()),
            local,
            domain: domain.filter(|d| !d.is_empty()),
        });
    }

    /// `local "@" domain`, after the `@`.
    fn at(&mut self, lexer: &mut Lexer<'_>) {
        let mut domain = Vec::new();
        loop {
            let before = lexer.rest;
            match lexer.next() {
                Some(Token::Word { text, after_blank }) if domain.is_empty() || !after_blank => {
                    domain.extend(text);
                }
                Some(_) => {
                    lexer.rest = before;
                    break;
                }
                None => break,
            }
        }
        // Words before the last blank are a name that lacks its angle brackets.
        let start = self
            .phrase
            .words
            .iter()
            .rposition(|(_, after_blank)| *after_blank)
            .unwrap_or(0);
        let local = self
            .phrase
            .words
            .split_off(start)
            .into_iter()
            .flat_map(|(word, _)| word)
            .collect();
        let name = Some(self.phrase.text()).filter(|name| !name.is_empty());
        let domain = Some(domain).filter(|d| !d.is_empty());
        self.finish(Mailbox {
            name,
            route: None,
            local,
            domain,
        });
    }

    fn finish(&mut self, mailbox: Mailbox) {
        self.phrase.words.clear();
        self.phrase.done.get_or_insert(mailbox);
    }

    fn end_address(&mut self) {
        let mut phrase = std::mem::take(&mut self.phrase);
        let bare = phrase.text();
        let mailbox = match phrase.done.take() {
            Some(mailbox) => mailbox,
            None if bare.is_empty() => return,
            None => Mailbox {
                name: None,
                route: None,
                local: bare,
                domain: None,
            },
        };
        let name = mailbox.name.or(phrase.comment.filter(|c| !c.is_empty()));
        self.items
            .push(AddressItem::Mailbox(Mailbox { name, ..mailbox }));
    }

    fn end_group(&mut self) {
        self.end_address();
        if std::mem::take(&mut self.in_group) {
            self.items.push(AddressItem::GroupEnd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The list in a short form: `name|route|local|domain`, `{group` and `}`.
    fn read(value: &str) -> Vec<String> {
        let text = |v: Option<Vec<u8>>| String::from_utf8(v.unwrap_or_default()).expect("UTF-8");
        addresses(value.as_bytes())
            .into_iter()
            .map(|item| match item {
                AddressItem::Mailbox(m) => format!(
                    "{}|{}|{}|{}",
                    text(m.name),
                    text(m.route),
                    text(Some(m.local)),
                    text(m.domain)
                ),
                AddressItem::GroupStart(name) => format!("{{{}", text(Some(name))),
                AddressItem::GroupEnd => "}".into(),
            })
            .collect()
    }

    #[test]
    fn lists_are_read() {
        for (value, expected) in [
            ("a@b", vec!["||a|b"]),
            (
                "John Doe <jdoe@x.example>, b@c",
                vec!["John Doe||jdoe|x.example", "||b|c"],
            ),
            (r#""Doe, \"J\"" <j@x>"#, vec![r#"Doe, "J"||j|x"#]),
            (
                "=?utf-8?q?J=C3=B6?= Doe <j@x>",
                vec!["=?utf-8?q?J=C3=B6?= Doe||j|x"],
            ),
            ("j@x (John (old) Doe)", vec!["John (old) Doe||j|x"]),
            ("Name <@a,@b:c@d>", vec!["Name|@a,@b|c|d"]),
            (
                "A Group:Ed <e@x>,j@y;, z@z",
                vec!["{A Group", "Ed||e|x", "||j|y", "}", "||z|z"],
            ),
            (
                "Undisclosed recipients:;",
                vec!["{Undisclosed recipients", "}"],
            ),
            ("open: a@b", vec!["{open", "||a|b", "}"]),
            ("nobody", vec!["||nobody|"]),
            ("<nobody>", vec!["||nobody|"]),
            ("<>", vec!["|||"]),
            (r#""a b"@c"#, vec!["||a b|c"]),
            ("a@[192.0.2.1]", vec!["||a|[192.0.2.1]"]),
            ("Mary Smith mary@x", vec!["Mary Smith||mary|x"]),
            ("a@b c@d", vec!["||a|b"]),
            (",, ,", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[test]
    fn a_list_is_bounded() {
        assert_eq!(
            addresses("a,".repeat(100_000).as_bytes()).len(),
            MAX_ADDRESSES
        );
    }

    proptest! {
        #[test]
        fn no_list_panics(value in r#"[a-c<>@,;:()\[\]"\\ .]{0,60}"#) {
            let items = addresses(value.as_bytes());
            let starts = items.iter().filter(|i| matches!(i, AddressItem::GroupStart(_))).count();
            let ends = items.iter().filter(|i| matches!(i, AddressItem::GroupEnd)).count();
            prop_assert_eq!(starts, ends);
        }
    }
}
