//! Encoded words in header fields (RFC 2047).

use std::borrow::Cow;

use super::transfer::hex;
use super::{CharsetDecoder, Encoding, TransferDecoder};

/// A header value as text: encoded words are decoded, blanks between two of them dropped (RFC 2047
/// section 6.2); raw octets above 127 are read as UTF-8.
///
/// Neighbours in one charset and encoding are decoded together, since mailers cut characters in
/// half (against section 5).
pub fn decode_text(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut run: Option<Run<'_>> = None;
    let mut rest = value;
    while let Some(at) = find(rest, b"=?") {
        let Some((word, after)) = parse_word(&rest[at..]) else {
            flush(&mut run, &mut text);
            push(&rest[..at + 2], &mut text);
            rest = &rest[at + 2..];
            continue;
        };
        let between = &rest[..at];
        if run.is_none() || !between.iter().all(|b| matches!(b, b' ' | b'\t')) {
            flush(&mut run, &mut text);
            push(between, &mut text);
        }
        match &mut run {
            Some(open) if open.charset.eq_ignore_ascii_case(word.charset) => {
                open.octets.extend(word.octets);
            }
            _ => {
                flush(&mut run, &mut text);
                run = Some(word);
            }
        }
        rest = after;
    }
    flush(&mut run, &mut text);
    push(rest, &mut text);
    text
}

/// Octets of encoded text that are looked through for its end; RFC 2047 section 2 allows 75.
const MAX_WORD: usize = 4096;

/// Decoded octets of encoded words in one charset.
struct Run<'a> {
    charset: &'a str,
    octets: Vec<u8>,
}

fn flush(run: &mut Option<Run<'_>>, text: &mut String) {
    if let Some(run) = run.take() {
        let mut decoder = CharsetDecoder::new(run.charset);
        decoder.feed(&run.octets, text);
        decoder.finish(text);
    }
}

fn push(octets: &[u8], text: &mut String) {
    match String::from_utf8_lossy(octets) {
        Cow::Borrowed(valid) => text.push_str(valid),
        Cow::Owned(repaired) => text.push_str(&repaired),
    }
}

/// `=?charset?encoding?text?=` at the start of `text`, and what follows it.
fn parse_word(text: &[u8]) -> Option<(Run<'_>, &[u8])> {
    let body = text.strip_prefix(b"=?")?;
    let (charset, body) = split(body, b'?')?;
    let (encoding, body) = split(body, b'?')?;
    let end = find(&body[..body.len().min(MAX_WORD)], b"?=")?;
    let (encoded, after) = (&body[..end], &body[end + 2..]);
    // RFC 2231 section 5: a language may follow the charset.
    let charset = std::str::from_utf8(charset).ok()?.split('*').next()?;
    let printable = |c: &u8| c.is_ascii_graphic() || *c == b' ' || *c == b'\t' || !c.is_ascii();
    if charset.is_empty() || !encoded.iter().all(printable) {
        return None;
    }
    let octets = match encoding {
        b"B" | b"b" => decode_b(encoded),
        b"Q" | b"q" => decode_q(encoded),
        _ => return None,
    };
    Some((Run { charset, octets }, after))
}

fn decode_b(encoded: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(encoded.len());
    let mut decoder = TransferDecoder::new(Encoding::Base64);
    decoder.feed(encoded, &mut octets);
    decoder.finish(&mut octets);
    octets
}

/// The Q encoding (RFC 2047 section 4.2).
fn decode_q(encoded: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (octet, tail) {
            (b'=', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match (octet, escaped) {
            (_, Some((high, low))) => {
                octets.push((high << 4) | low);
                rest = &tail[2..];
            }
            (b'_', _) => octets.push(b' '),
            (octet, _) => octets.push(octet),
        }
    }
    octets
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let found = memchr::memchr(at, text)?;
    Some((&text[..found], &text[found + 1..]))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}
