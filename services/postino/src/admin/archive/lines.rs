//! Line ends: CRLF in the store, LF in files.

use std::io::{self, BufRead, Write};

/// Writes what `convert` makes of each block of a source.
pub(super) fn convert_all(
    source: &mut impl BufRead,
    sink: &mut impl Write,
    mut convert: impl FnMut(&[u8], &mut Vec<u8>),
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        let block = source.fill_buf()?;
        let length = block.len();
        if length == 0 {
            return Ok(());
        }
        convert(block, &mut out);
        sink.write_all(&out)?;
        out.clear();
        source.consume(length);
    }
}

/// Turns CRLF into LF, chunk by chunk, and notes whether that can be undone.
#[derive(Debug, Default)]
pub(super) struct ToLf {
    /// A CR at the end of the last chunk that has not been written.
    held: bool,
    bare: bool,
}

impl ToLf {
    /// Appends the converted octets of the next chunk to `out`.
    pub(super) fn convert(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for &octet in chunk {
            match octet {
                b'\n' => self.bare |= !self.held,
                _ if self.held => {
                    out.push(b'\r');
                    self.bare = true;
                }
                _ => {}
            }
            self.held = octet == b'\r';
            if !self.held {
                out.push(octet);
            }
        }
    }

    /// Appends what is left. Returns whether every line ended with CRLF and no CR stood elsewhere,
    /// so that [`ToCrlf`] gives the same octets back.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> bool {
        if self.held {
            out.push(b'\r');
            self.bare = true;
        }
        !self.bare
    }
}

/// Turns LF into CRLF, chunk by chunk; a CRLF stays as it is.
#[derive(Debug, Default)]
pub(super) struct ToCrlf {
    after_cr: bool,
}

impl ToCrlf {
    /// Appends the converted octets of the next chunk to `out`.
    pub(super) fn convert(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for &octet in chunk {
            if octet == b'\n' && !self.after_cr {
                out.push(b'\r');
            }
            out.push(octet);
            self.after_cr = octet == b'\r';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_lf(chunks: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut converter, mut out) = (ToLf::default(), Vec::new());
        for chunk in chunks {
            converter.convert(chunk, &mut out);
        }
        let exact = converter.finish(&mut out);
        (out, exact)
    }

    #[test]
    fn lines_go_there_and_back_wherever_they_are_cut() {
        let text = b"a\r\n\r\nb\r\n";
        for cut in 0..=text.len() {
            let (lf, exact) = to_lf(&[&text[..cut], &text[cut..]]);
            assert_eq!((lf.as_slice(), exact), (&b"a\n\nb\n"[..], true), "{cut}");
            let (mut converter, mut back) = (ToCrlf::default(), Vec::new());
            let cut = cut.min(lf.len());
            converter.convert(&lf[..cut], &mut back);
            converter.convert(&lf[cut..], &mut back);
            assert_eq!(back, text);
        }
    }

    #[test]
    fn what_cannot_be_undone_is_told() {
        for odd in [&b"a\nb\r\n"[..], b"a\rb\r\n", b"a\r\r\n", b"a\r"] {
            assert!(!to_lf(&[odd]).1, "{odd:?}");
        }
        assert_eq!(to_lf(&[b"a\r\r\n"]).0, b"a\r\n");
    }

    #[test]
    fn a_crlf_is_not_doubled() {
        let (mut converter, mut out) = (ToCrlf::default(), Vec::new());
        converter.convert(b"a\r", &mut out);
        converter.convert(b"\nb\n", &mut out);
        assert_eq!(out, b"a\r\nb\r\n");
    }
}
