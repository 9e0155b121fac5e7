//! Mailbox names on the wire: modified UTF-7 (RFC 3501 section 5.1.3).

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// A text that is not modified UTF-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid modified UTF-7")]
pub struct Utf7Error;

/// Turns a name into its wire form: printable ASCII as it is, `&` as `&-`, the rest in base64 of
/// UTF-16.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut shifted: Vec<u8> = Vec::new();
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut out, &mut shifted);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    flush(&mut out, &mut shifted);
    out
}

fn flush(out: &mut String, shifted: &mut Vec<u8>) {
    if !shifted.is_empty() {
        out.push('&');
        out.push_str(&BASE64.encode(&shifted));
        out.push('-');
        shifted.clear();
    }
}

/// Turns a wire form into the name. Only the one proper wire form of a name is taken: a printable
/// character inside base64, or two adjacent shifts, would give one mailbox two names.
pub fn decode(wire: &str) -> Result<String, Utf7Error> {
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    while let Some((plain, after)) = rest.split_once('&') {
        name.push_str(plain);
        let (shifted, after) = after.split_once('-').ok_or(Utf7Error)?;
        match shifted {
            "" => name.push('&'),
            _ => decode_shifted(shifted, &mut name)?,
        }
        rest = after;
    }
    name.push_str(rest);
    match encode(&name) == wire {
        true => Ok(name),
        false => Err(Utf7Error),
    }
}

fn decode_shifted(shifted: &str, name: &mut String) -> Result<(), Utf7Error> {
    let bytes = BASE64.decode(shifted).map_err(|_| Utf7Error)?;
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return Err(Utf7Error);
    };
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    for c in char::decode_utf16(units) {
        name.push(c.map_err(|_| Utf7Error)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_names_go_both_ways() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("A&B", "A&-B"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("📬", "&2D3c7A-"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire).as_deref(), Ok(name));
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [
            "&",
            "&AP",
            "&AGE-",
            "&U,BTFw-&ZeVnLIqe-",
            "&2D0-",
            "ü",
            "&AP8/-",
            "&A-",
            "&A===-",
        ] {
            assert_eq!(decode(bad), Err(Utf7Error), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&name)), Ok(name));
        }

        #[test]
        fn nothing_panics(wire in ".{0,40}") {
            let _ = decode(&wire);
        }
    }
}
