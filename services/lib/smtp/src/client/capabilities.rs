//! What a server said it can do, in its answer to `EHLO` or `LHLO`.

use postino_types::Reply;

use crate::sasl::Mechanism;

/// The extensions a server offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// STARTTLS (RFC 3207).
    pub start_tls: bool,
    /// SIZE (RFC 1870).
    pub size: Option<SizeLimit>,
    /// The mechanisms of AUTH (RFC 4954) that this crate speaks.
    pub auth: Vec<Mechanism>,
}

/// What `SIZE` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeLimit {
    /// There is no fixed limit (no number, or 0).
    Open,
    /// At most so many octets.
    Octets(u64),
}

impl Capabilities {
    /// Reads them off the lines of the reply; the first is the server's name.
    pub fn of(reply: &Reply) -> Self {
        let mut offered = Self::default();
        for line in reply.lines().iter().skip(1) {
            // `AUTH=` is how old servers write it.
            let line = line.to_ascii_uppercase().replace("AUTH=", "AUTH ");
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("PIPELINING") => offered.pipelining = true,
                Some("8BITMIME") => offered.eight_bit_mime = true,
                Some("SMTPUTF8") => offered.smtp_utf8 = true,
                Some("STARTTLS") => offered.start_tls = true,
                Some("SIZE") => offered.size = Some(size(words.next())),
                Some("AUTH") => offered.auth.extend(words.filter_map(Mechanism::by_name)),
                _ => {}
            }
        }
        offered
    }
}

fn size(word: Option<&str>) -> SizeLimit {
    match word.and_then(|w| w.parse().ok()) {
        None | Some(0) => SizeLimit::Open,
        Some(octets) => SizeLimit::Octets(octets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_read_in_any_case() {
        let lines = [
            "mx.example.org",
            "pipelining",
            "SIZE 1000",
            "AUTH=LOGIN PLAIN X",
            "XCLIENT",
        ];
        let reply = Reply::from_lines(250, None, lines.map(str::to_owned).to_vec());
        let offered = Capabilities::of(&reply);
        assert!(offered.pipelining && !offered.start_tls);
        assert_eq!(offered.size, Some(SizeLimit::Octets(1000)));
        assert_eq!(offered.auth, [Mechanism::Login, Mechanism::Plain]);
    }
}
