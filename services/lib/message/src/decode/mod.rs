//! From what travels to what a person reads: transfer encodings, charsets, encoded words.

mod charset;
mod encoded_word;
mod transfer;

pub use charset::CharsetDecoder;
pub use encoded_word::decode_text;
pub use transfer::{Encoding, TransferDecoder};

/// Decodes the text of a part as it is read: transfer encoding first, then charset.
///
/// Feeding a part's raw octets in any chunks gives its text as UTF-8; what cannot be decoded
/// becomes U+FFFD.
pub struct TextDecoder {
    transfer: TransferDecoder,
    charset: CharsetDecoder,
    octets: Vec<u8>,
}

impl TextDecoder {
    /// A decoder for a part with this encoding and this charset label; an empty or unknown label
    /// is read as UTF-8, which ASCII is a part of.
    pub fn new(encoding: Encoding, charset: &str) -> Self {
        Self {
            transfer: TransferDecoder::new(encoding),
            charset: CharsetDecoder::new(charset),
            octets: Vec::new(),
        }
    }

    /// Decodes the next octets, and appends what they give to `text`.
    pub fn feed(&mut self, octets: &[u8], text: &mut String) {
        self.octets.clear();
        self.transfer.feed(octets, &mut self.octets);
        self.charset.feed(&self.octets, text);
    }

    /// Appends what the end of the part leaves.
    pub fn finish(mut self, text: &mut String) {
        self.octets.clear();
        self.transfer.finish(&mut self.octets);
        self.charset.feed(&self.octets, text);
        self.charset.finish(text);
    }
}

#[cfg(test)]
mod tests;
