//! The transport map: domains whose mail goes to a given host, whatever the DNS says.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use postino_types::Domain;

/// A text that is no entry of the transport map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// There is no `=`.
    #[error("a route is DOMAIN=HOST:PORT, .SUBDOMAINS-OF=HOST:PORT or *=HOST:PORT: {0:?}")]
    Form(String),
    /// The part before `=`.
    #[error("not a domain in a route: {0:?}")]
    Domain(String),
    /// The part after `=`.
    #[error("not HOST:PORT in a route: {0:?}")]
    NextHop(String),
}

/// The host that a route leads to. Its name is looked up by address only: no MX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    /// A name or an IP address (without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl NextHop {
    /// The address, if the host is given as one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for NextHop {
    type Err = TransportError;

    /// `HOST:PORT`, `ADDRESS:PORT` or `[IPV6]:PORT`; without a port it is 25.
    fn from_str(text: &str) -> Result<Self, TransportError> {
        let bad = || TransportError::NextHop(text.to_owned());
        let (host, port) = match text.rsplit_once(':') {
            // More than one colon outside brackets: an IPv6 address without a port.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, "25"),
            Some((host, port)) if !text.ends_with(']') => (host, port),
            _ => (text, "25"),
        };
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(bad)?;
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(Self {
                host: address.to_string(),
                port,
            }),
            Err(_) => {
                let name: Domain = host.parse().map_err(|_| bad())?;
                Ok(Self {
                    host: name.to_string(),
                    port,
                })
            }
        }
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What a route applies to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Pattern {
    /// One domain.
    Exactly(String),
    /// Every domain below this one.
    Below(String),
    /// Every domain: the smart host.
    Any,
}

/// The transport map. The most special entry wins: the domain itself, then its nearest parent
/// with a `.parent` entry, then `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transports {
    routes: HashMap<Pattern, NextHop>,
}

impl Transports {
    /// Reads entries `DOMAIN=HOST:PORT`, `.DOMAIN=HOST:PORT` (all below it) and `*=HOST:PORT`; a
    /// later entry for the same pattern replaces an earlier one.
    pub fn parse<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, TransportError> {
        let parse = |entry: S| {
            let entry = entry.as_ref();
            let (pattern, hop) = entry
                .split_once('=')
                .ok_or_else(|| TransportError::Form(entry.to_owned()))?;
            Ok((parse_pattern(pattern.trim())?, hop.trim().parse()?))
        };
        Ok(Self {
            routes: entries.into_iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// Where the map sends a domain's mail; `None` leaves it to the DNS. Address literals are
    /// matched by an entry for the literal or by `*`.
    pub fn find(&self, domain: &Domain) -> Option<&NextHop> {
        if self.routes.is_empty() {
            return None;
        }
        let name = domain.as_str();
        let exact = self.routes.get(&Pattern::Exactly(name.to_owned()));
        let parents = || {
            let dots = name.match_indices('.').filter(|_| !domain.is_literal());
            dots.map(|(dot, _)| Pattern::Below(name[dot + 1..].to_owned()))
                .find_map(|pattern| self.routes.get(&pattern))
        };
        exact
            .or_else(parents)
            .or_else(|| self.routes.get(&Pattern::Any))
    }
}

fn parse_pattern(text: &str) -> Result<Pattern, TransportError> {
    let domain = |text: &str| {
        let domain: Result<Domain, _> = text.parse();
        domain
            .map(|d| d.to_string())
            .map_err(|_| TransportError::Domain(text.to_owned()))
    };
    match text.strip_prefix('.').or_else(|| text.strip_prefix("*.")) {
        Some(parent) => Ok(Pattern::Below(domain(parent)?)),
        None if text == "*" => Ok(Pattern::Any),
        None => Ok(Pattern::Exactly(domain(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_special_route_wins() {
        let map = Transports::parse([
            "*=smart.example:587",
            ".example.com=inner.example:2525",
            "*.b.example.com=[2001:db8::1]:26",
            "example.com=127.0.0.1:2500",
        ])
        .expect("valid");
        let find = |name: &str| {
            map.find(&name.parse().expect("domain"))
                .expect("*")
                .to_string()
        };
        assert_eq!(find("EXAMPLE.com"), "127.0.0.1:2500");
        assert_eq!(find("a.example.com"), "inner.example:2525");
        assert_eq!(find("a.b.example.com"), "[2001:db8::1]:26");
        assert_eq!(find("b.example.com"), "inner.example:2525");
        assert_eq!(find("elsewhere.net"), "smart.example:587");
        assert_eq!(find("[192.0.2.1]"), "smart.example:587");
        let empty = Transports::default();
        assert_eq!(empty.find(&"example.com".parse().expect("domain")), None);
    }

    #[test]
    fn next_hops_have_one_meaning() {
        for (text, expected) in [
            ("mx.example", "mx.example:25"),
            ("MX.Example:2525", "mx.example:2525"),
            ("192.0.2.1", "192.0.2.1:25"),
            ("2001:db8::1", "[2001:db8::1]:25"),
            ("[2001:db8::1]", "[2001:db8::1]:25"),
            ("[2001:db8::1]:2525", "[2001:db8::1]:2525"),
        ] {
            assert_eq!(
                text.parse::<NextHop>().map(|hop| hop.to_string()),
                Ok(expected.into())
            );
        }
        for bad in [
            "", ":25", "a:0", "a:65536", "a:x", "a b:25", "[::1", "-a:25",
        ] {
            assert!(bad.parse::<NextHop>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bad_entries_say_what_is_wrong() {
        let error = |entry: &str| Transports::parse([entry]).expect_err("bad");
        assert!(matches!(error("example.com"), TransportError::Form(_)));
        assert!(matches!(error("a b=mx:25"), TransportError::Domain(_)));
        assert!(matches!(error("a.b=mx:x"), TransportError::NextHop(_)));
    }
}
