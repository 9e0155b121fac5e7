//! The base subject, by which SORT and THREAD compare (RFC 5256 section 2.1).

use crate::decode::decode_text;

/// Octets of a subject that are looked at.
const MAX_SUBJECT: usize = 2000;

/// The base subject of an unfolded `Subject` value: decoded, blanks made one space, without
/// `Re:`, `Fwd:`, `[list]` and the like. Its case is kept.
pub fn base_subject(value: &[u8]) -> String {
    let decoded = decode_text(&value[..value.len().min(MAX_SUBJECT)]);
    let text = decoded.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut base = text.as_str();
    loop {
        base = strip_leaders(strip_trailers(base));
        // Step 6: "[fwd:" … "]" around it all.
        let inner = strip_prefix_any_case(base, "[fwd:").and_then(|rest| rest.strip_suffix(']'));
        match inner {
            Some(inner) => base = inner,
            None => return base.to_owned(),
        }
    }
}

/// Step 2: "(fwd)" and blanks at the end.
fn strip_trailers(mut text: &str) -> &str {
    loop {
        text = text.trim();
        let cut = text
            .len()
            .checked_sub(5)
            .filter(|&at| text.is_char_boundary(at));
        match cut {
            Some(at) if text[at..].eq_ignore_ascii_case("(fwd)") => text = &text[..at],
            _ => return text,
        }
    }
}

/// Steps 3 to 5: leaders, then a blob, unless nothing would be left.
fn strip_leaders(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        if let Some(rest) = strip_leader(text) {
            text = rest;
            continue;
        }
        match strip_blob(text) {
            Some(rest) if !rest.is_empty() => text = rest,
            _ => return text,
        }
    }
}

/// `*blob ("re" / "fw" / "fwd") *WSP [blob] ":"`
fn strip_leader(mut text: &str) -> Option<&str> {
    while let Some(rest) = strip_blob(text) {
        text = rest;
    }
    let rest = ["re", "fwd", "fw"]
        .iter()
        .find_map(|word| strip_prefix_any_case(text, word))?;
    let rest = rest.trim_start();
    strip_blob(rest).unwrap_or(rest).strip_prefix(':')
}

/// `"[" *BLOBCHAR "]" *WSP`
fn strip_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    inner[end..].strip_prefix(']').map(str::trim_start)
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_and_suffixes_come_off() {
        for (subject, base) in [
            ("hello", "hello"),
            ("Re: hello", "hello"),
            ("RE : [list] Fwd[2]: hello (FWD) (fwd) ", "hello"),
            ("[list] hello", "hello"),
            ("[list]", "[list]"),
            ("[a] [b]", "[b]"),
            ("[Fwd: Re: hello]", "hello"),
            ("[fwd: [list] hello (fwd)]", "hello"),
            ("Reminder: x", "Reminder: x"),
            ("=?utf-8?q?Re=3A_caf=C3=A9?=", "café"),
            ("a\t  b", "a b"),
            ("re:", ""),
            ("", ""),
        ] {
            assert_eq!(base_subject(subject.as_bytes()), base, "{subject}");
        }
    }

    proptest! {
        #[test]
        fn a_base_subject_is_its_own(subject in r"[\[\]a:é (rRefFwWdD)]{0,40}") {
            let base = base_subject(subject.as_bytes());
            prop_assert_eq!(base_subject(base.as_bytes()), base);
        }
    }
}
