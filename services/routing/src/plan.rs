//! Which hosts a domain's mail goes to, and in which order: decided from the records alone.
//!
//! Two steps, since addresses are only asked for once the hosts are known: [`candidates`] reads
//! the MX answer, [`decide`] adds the addresses. Both are pure; the random source is an argument.

use std::net::IpAddr;

use postino_types::{Domain, EnhancedStatus, Reply};

use crate::records::{Addresses, Answer, MxRecord};
use crate::site;

/// A host that a domain's mail may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Lower is tried first.
    pub preference: u16,
    /// Host name, lower case.
    pub host: String,
}

/// The hosts that a domain names, before their addresses are known; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// In order of preference, then name: not yet shuffled.
    pub hosts: Vec<Candidate>,
    /// Where they come from.
    pub source: Source,
}

/// Where the hosts of a domain come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// MX records.
    Mx,
    /// The domain itself, since it has no MX (RFC 5321 section 5.1, "implicit MX").
    Implicit,
}

/// Who we are: mail must not be sent to ourselves (RFC 5321 section 5.1).
#[derive(Debug, Clone, Default)]
pub struct Ourselves {
    /// Our own host name, lower case.
    pub hostname: String,
    /// Addresses under which the world reaches our MX.
    pub addresses: Vec<IpAddr>,
}

/// Bounds of what one domain may make us do, and the port of its hosts.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most hosts of a domain; the least preferred ones go.
    pub hosts: usize,
    /// Most addresses of a host.
    pub addresses: usize,
    /// The port of hosts that the DNS names.
    pub port: u16,
}

/// A host to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedHost {
    /// Its preference; equal ones are in random order.
    pub preference: u16,
    /// Its name.
    pub name: String,
    /// Its addresses in the order to try; never empty.
    pub addresses: Vec<IpAddr>,
}

/// Where a domain's mail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The name of the set of hosts.
    pub site: String,
    /// The TCP port of all of them.
    pub port: u16,
    /// In the order to try; never empty.
    pub hosts: Vec<PlannedHost>,
}

/// The plan for a host that is given, by a route or as an address literal; no MX applies.
pub fn decide_given(
    domain: &Domain,
    host: &str,
    port: u16,
    answer: &Answer<IpAddr>,
    bounds: Bounds,
    rng: &mut fastrand::Rng,
) -> Result<Planned, Reply> {
    if let Answer::Failed(why) = answer {
        return Err(lookup_failed(domain, why));
    }
    let addresses = order_addresses(answer.records(), bounds.addresses, rng);
    if addresses.is_empty() {
        return Err(no_usable_host(domain));
    }
    let candidate = Candidate {
        preference: 0,
        host: host.to_owned(),
    };
    let site = site::name(&[candidate], port);
    let hosts = vec![PlannedHost {
        preference: 0,
        name: host.to_owned(),
        addresses,
    }];
    Ok(Planned { site, port, hosts })
}

/// The hosts that a domain names in its MX answer, or the reply that its mail fails with.
pub fn candidates(
    domain: &Domain,
    answer: &Answer<MxRecord>,
    bounds: Bounds,
) -> Result<Candidates, Reply> {
    let records = match answer {
        Answer::Found(records) => records,
        Answer::NoRecords => return Ok(implicit(domain)),
        Answer::NoName => return Err(no_such_domain(domain)),
        Answer::Failed(why) => return Err(lookup_failed(domain, why)),
    };
    let mut hosts: Vec<Candidate> = records
        .iter()
        // A root exchange beside real hosts is a mistake; it names no host (RFC 7505 section 3).
        .filter(|mx| !mx.exchange.is_empty())
        .map(|mx| Candidate {
            preference: mx.preference,
            host: mx.exchange.to_ascii_lowercase(),
        })
        .collect();
    if hosts.is_empty() {
        return match records.is_empty() {
            true => Ok(implicit(domain)),
            false => Err(null_mx(domain)),
        };
    }
    hosts.sort_by(|a, b| (a.preference, &a.host).cmp(&(b.preference, &b.host)));
    // A host that is named twice is tried once, at its better preference.
    let mut seen = std::collections::HashSet::new();
    hosts.retain(|candidate| seen.insert(candidate.host.clone()));
    hosts.truncate(bounds.hosts.max(1));
    Ok(Candidates {
        hosts,
        source: Source::Mx,
    })
}

fn implicit(domain: &Domain) -> Candidates {
    let host = Candidate {
        preference: 0,
        host: domain.as_str().to_owned(),
    };
    Candidates {
        hosts: vec![host],
        source: Source::Implicit,
    }
}

/// The plan: hosts with addresses, equal preferences shuffled, ourselves and all that is not
/// preferred over us left out. `addresses` holds an entry for each candidate; a missing one counts
/// as a failed look-up.
pub fn decide(
    domain: &Domain,
    candidates: &Candidates,
    addresses: &[Addresses],
    ourselves: &Ourselves,
    bounds: Bounds,
    rng: &mut fastrand::Rng,
) -> Result<Planned, Reply> {
    let mut hosts = Vec::with_capacity(candidates.hosts.len());
    let mut failure = None;
    let mut own_preference = None;
    for candidate in &candidates.hosts {
        let answer = addresses
            .iter()
            .find(|a| a.host == candidate.host)
            .map(|a| &a.answer);
        let found = match answer {
            Some(Answer::Found(found)) => found.as_slice(),
            Some(Answer::NoRecords | Answer::NoName) => &[],
            Some(Answer::Failed(why)) => {
                failure.get_or_insert(why.as_str());
                &[]
            }
            None => {
                failure.get_or_insert("the look-up did not end");
                &[]
            }
        };
        if ourselves.is(&candidate.host, found) {
            own_preference.get_or_insert(candidate.preference);
        }
        let usable = order_addresses(found, bounds.addresses, rng);
        if !usable.is_empty() {
            let (preference, name) = (candidate.preference, candidate.host.clone());
            hosts.push(PlannedHost {
                preference,
                name,
                addresses: usable,
            });
        }
    }
    if let Some(own) = own_preference {
        // RFC 5321 section 5.1: drop ourselves and every host of the same or lower preference.
        hosts.retain(|host| host.preference < own);
    }
    if !hosts.is_empty() {
        shuffle_equals(&mut hosts, rng);
        let site = site::name(&candidates.hosts, bounds.port);
        return Ok(Planned {
            site,
            port: bounds.port,
            hosts,
        });
    }
    Err(match (own_preference, failure) {
        // A better host than us may exist behind the failure.
        (_, Some(why)) => lookup_failed(domain, why),
        (Some(_), None) => loops_back(domain),
        (None, None) if candidates.source == Source::Implicit => no_such_domain(domain),
        (None, None) => no_usable_host(domain),
    })
}

impl Ourselves {
    fn is(&self, host: &str, addresses: &[IpAddr]) -> bool {
        host.eq_ignore_ascii_case(&self.hostname)
            || addresses
                .iter()
                .any(|address| self.addresses.contains(address))
    }
}

/// Addresses in the order to try: each family shuffled, then alternating with IPv6 first, so that
/// one broken family costs one attempt (RFC 8305 section 4). Addresses that can belong to no mail
/// host are dropped.
fn order_addresses(found: &[IpAddr], most: usize, rng: &mut fastrand::Rng) -> Vec<IpAddr> {
    let usable = |address: &&IpAddr| !address.is_unspecified() && !address.is_multicast();
    let (mut v6, mut v4): (Vec<IpAddr>, Vec<IpAddr>) = found
        .iter()
        .filter(usable)
        .partition(|address| address.is_ipv6());
    rng.shuffle(&mut v6);
    rng.shuffle(&mut v4);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(v6.next());
        ordered.extend(v4.next());
        if ordered.len() == before {
            break;
        }
    }
    let mut seen = std::collections::HashSet::new();
    ordered.retain(|address| seen.insert(*address));
    ordered.truncate(most.max(1));
    ordered
}

/// Shuffles runs of equal preference (RFC 5321 section 5.1: "randomize them to spread the load").
fn shuffle_equals(hosts: &mut [PlannedHost], rng: &mut fastrand::Rng) {
    hosts.sort_by_key(|host| host.preference);
    for run in hosts.chunk_by_mut(|a, b| a.preference == b.preference) {
        rng.shuffle(run);
    }
}

fn no_such_domain(domain: &Domain) -> Reply {
    let text = format!("the domain {domain} does not exist or has no mail host");
    Reply::new(550, EnhancedStatus::permanent(1, 2), text)
}

/// RFC 7505 section 4.
fn null_mx(domain: &Domain) -> Reply {
    let text = format!("the domain {domain} accepts no mail");
    Reply::new(556, EnhancedStatus::permanent(1, 10), text)
}

/// RFC 5321 section 5.1: MX records of which none is usable are an error.
fn no_usable_host(domain: &Domain) -> Reply {
    let text = format!("no mail host of {domain} has an address");
    Reply::new(550, EnhancedStatus::permanent(4, 4), text)
}

pub(crate) fn loops_back(domain: &Domain) -> Reply {
    let text = format!("mail for {domain} would come back to this server");
    Reply::new(554, EnhancedStatus::permanent(4, 6), text)
}

fn lookup_failed(domain: &Domain, why: &str) -> Reply {
    let text = format!("the mail hosts of {domain} cannot be looked up at the moment: {why}");
    Reply::new(451, EnhancedStatus::temporary(4, 3), text)
}

#[cfg(test)]
mod tests;
