//! Message ids (RFC 5322 section 3.6.4).

use crate::content::skip_comments;

/// Octets of an id that is kept; a longer one is passed over.
const MAX_ID: usize = 998;

/// The message ids in an unfolded `Message-ID`, `In-Reply-To` or `References` field, with their
/// angle brackets, blanks inside them taken out. At most the `limit` last ones: these are the
/// nearest ancestors.
pub fn message_ids(value: &[u8], limit: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut rest = skip_comments(value);
    while let Some(open) = memchr::memchr(b'<', rest) {
        let after = &rest[open + 1..];
        let Some(close) = memchr::memchr(b'>', after) else {
            break;
        };
        // An unclosed id before this one does not swallow it.
        let start = memchr::memrchr(b'<', &after[..close]).map_or(0, |inner| inner + 1);
        if let Some(id) = clean(&after[start..close]) {
            ids.push(format!("<{id}>"));
        }
        rest = skip_comments(&after[close + 1..]);
    }
    ids.drain(..ids.len().saturating_sub(limit));
    ids
}

fn clean(id: &[u8]) -> Option<String> {
    if id.len() > MAX_ID {
        return None;
    }
    let text = String::from_utf8_lossy(id);
    let id: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !c.is_control())
        .collect();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_among_other_words() {
        for (value, expected) in [
            ("<a@b>", vec!["<a@b>"]),
            (
                " (c <x@y>) <a@b> <c @d>,<e@f> tail",
                vec!["<a@b>", "<c@d>", "<e@f>"],
            ),
            ("Your message of <a@b", vec![]),
            ("<open <a@b>", vec!["<a@b>"]),
            ("<>", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(message_ids(value.as_bytes(), 9), expected, "{value}");
        }
        assert_eq!(message_ids(b"<1><2><3>", 2), vec!["<2>", "<3>"]);
    }
}
