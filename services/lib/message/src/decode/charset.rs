//! Charsets (RFC 2978) to UTF-8.

use encoding_rs::{CoderResult, Decoder, UTF_8};

/// Decodes octets of one charset to UTF-8, in chunks.
pub struct CharsetDecoder {
    decoder: Decoder,
}

impl CharsetDecoder {
    /// A decoder for this charset label (any case); unknown labels are read as UTF-8.
    pub fn new(label: &str) -> Self {
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8);
        Self {
            decoder: encoding.new_decoder_without_bom_handling(),
        }
    }

    /// Appends the text of the next octets.
    pub fn feed(&mut self, octets: &[u8], text: &mut String) {
        self.decode(octets, text, false);
    }

    /// Appends what an incomplete sequence at the end leaves: U+FFFD.
    pub fn finish(mut self, text: &mut String) {
        self.decode(&[], text, true);
    }

    fn decode(&mut self, mut octets: &[u8], text: &mut String, last: bool) {
        loop {
            let room = self
                .decoder
                .max_utf8_buffer_length(octets.len())
                .unwrap_or(octets.len());
            text.reserve(room.max(16));
            let (result, read, _) = self.decoder.decode_to_string(octets, text, last);
            octets = &octets[read..];
            if result == CoderResult::InputEmpty {
                return;
            }
        }
    }
}
