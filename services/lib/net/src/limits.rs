//! How many connections a listener holds, and from whom.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The listener is full.
    #[error("too many connections")]
    Total,
    /// This address has enough.
    #[error("too many connections from this address")]
    PerAddress,
}

/// Counts the connections of one listener; clones share the counts.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    total: usize,
    per_address: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    addresses: HashMap<IpAddr, usize>,
}

impl ConnectionLimits {
    /// Limits for all connections, and for those of one address.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self {
            total,
            per_address,
            open: Arc::default(),
        }
    }

    /// Counts a connection until the permit is dropped.
    pub fn admit(&self, peer: IpAddr) -> Result<Permit, Refusal> {
        let network = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total {
            return Err(Refusal::Total);
        }
        let of_address = open.addresses.entry(network).or_default();
        if *of_address >= self.per_address {
            return Err(Refusal::PerAddress);
        }
        *of_address += 1;
        open.total += 1;
        Ok(Permit {
            network,
            open: Arc::clone(&self.open),
        })
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .total
    }
}

/// One connection that counts.
#[derive(Debug)]
pub struct Permit {
    network: IpAddr,
    open: Arc<Mutex<Open>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.addresses.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.addresses.remove(&self.network);
            }
        }
    }
}

/// One customer: an IPv4 address, or an IPv6 /64, within which addresses cost nothing
/// (RFC 6177 section 2).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn limits_hold_and_permits_come_back() {
        let limits = ConnectionLimits::new(3, 2);
        let first = limits.admit(ip("192.0.2.1")).expect("room");
        let second = limits.admit(ip("::ffff:192.0.2.1")).expect("room");
        assert_eq!(
            limits.admit(ip("192.0.2.1")).err(),
            Some(Refusal::PerAddress)
        );
        let _other = limits.admit(ip("2001:db8::1")).expect("room");
        assert_eq!(limits.admit(ip("192.0.2.9")).err(), Some(Refusal::Total));
        drop((first, second));
        assert_eq!(limits.open(), 1);
        assert!(limits.admit(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_slash_64_is_one_customer() {
        let limits = ConnectionLimits::new(9, 1);
        let _one = limits.admit(ip("2001:db8:0:1::1")).expect("room");
        assert!(limits.admit(ip("2001:db8:0:1:ffff::2")).is_err());
        assert!(limits.admit(ip("2001:db8:0:2::1")).is_ok());
    }
}
