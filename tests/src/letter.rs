//! Letters for tests: each known by its Message-ID, with a body that cannot be compressed.

use std::fmt::Write as _;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A letter of about `size` octets with CRLF line ends.
pub fn letter(id: &str, from: &str, to: &str, size: usize) -> Vec<u8> {
    let mut text = String::with_capacity(size + 512);
    let _ = write!(
        text,
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: letter {id}\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{id}>\r\n\r\n"
    );
    let mut bytes = text.into_bytes();
    random_lines(&mut bytes, size);
    bytes
}

/// Fills up to `size` octets with lines of 76 random characters.
fn random_lines(bytes: &mut Vec<u8>, size: usize) {
    let mut random = fastrand::Rng::new();
    while bytes.len() < size {
        let mut left = 76.min(size - bytes.len());
        while left > 0 {
            let mut word = random.u64(..);
            for _ in 0..left.min(10) {
                bytes.push(ALPHABET[(word & 63) as usize]);
                word >>= 6;
            }
            left -= left.min(10);
        }
        bytes.extend_from_slice(b"\r\n");
    }
}

/// The message as the sender made it: everything from its own first header on.
pub fn below_trace<'a>(stored: &'a [u8], sent: &[u8]) -> Option<&'a [u8]> {
    let start = stored.len().checked_sub(sent.len())?;
    Some(&stored[start..])
}

/// A Message-ID that no other test uses.
pub fn fresh_id() -> String {
    format!("{:016x}@e2e.test", fastrand::u64(..))
}
