//! Passwords in the one form in which they are compared.

use postino_types::Secret;
use zeroize::Zeroizing;

/// The longest password, in octets: hashing has a price that grows with it.
const LONGEST: usize = 1024;

/// A password as SASLprep prepares it (RFC 4013, as RFC 4616 section 2 asks); `None` if it is empty,
/// too long, or has characters that no password may have.
///
/// RFC 8265 succeeds SASLprep with another profile; the two agree on what people type.
pub(super) fn prepare(password: &Secret) -> Option<Zeroizing<String>> {
    if password.expose().len() > LONGEST {
        return None;
    }
    let prepared = stringprep::saslprep(password.expose()).ok()?;
    let prepared = Zeroizing::new(prepared.into_owned());
    (!prepared.is_empty()).then_some(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_are_one_password() {
        // RFC 4013 section 3: soft hyphen vanishes, roman numeral nine is IX.
        for (given, expected) in [
            ("I\u{ad}X", "IX"),
            ("\u{2168}", "IX"),
            ("postino-dev", "postino-dev"),
        ] {
            let prepared = prepare(&Secret::new(given)).expect("valid");
            assert_eq!(prepared.as_str(), expected);
        }
        for bad in ["", "\u{7}", "a\0b", "\u{627}1"] {
            assert!(prepare(&Secret::new(bad)).is_none(), "{bad:?}");
        }
        assert!(prepare(&Secret::new("x".repeat(1025))).is_none());
    }
}
