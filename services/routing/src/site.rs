//! The name of a site: a set of hosts that take mail for a domain. Domains with the same hosts are
//! one site, and share connections and concurrency.

use crate::plan::Candidate;

/// The port that hosts of MX records listen on (RFC 5321 section 4.5.4.2).
pub const SMTP_PORT: u16 = 25;

/// A longer name is cut and made unique by a hash.
const LONGEST: usize = 120;

/// The name of a set of hosts: names of equal preference joined by `,`, preferences by `>`, and
/// the port if it is not 25. It is the same in every process and does not depend on what of the
/// set can be reached at the moment. `hosts` are in order of preference and name.
pub fn name(hosts: &[Candidate], port: u16) -> String {
    let groups = hosts.chunk_by(|a, b| a.preference == b.preference);
    let names = |group: &[Candidate]| {
        group
            .iter()
            .map(|candidate| candidate.host.as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut name = groups.map(names).collect::<Vec<_>>().join(">");
    if port != SMTP_PORT {
        name = format!("{name}:{port}");
    }
    if name.len() <= LONGEST {
        return name;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let cut = name.floor_char_boundary(LONGEST - 18);
    format!("{}~{}", &name[..cut], &hash[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(hosts: &[(u16, &str)]) -> Vec<Candidate> {
        let candidate = |&(preference, host): &(u16, &str)| Candidate {
            preference,
            host: host.to_owned(),
        };
        hosts.iter().map(candidate).collect()
    }

    #[test]
    fn a_site_is_its_hosts() {
        let set = hosts(&[(10, "a.example"), (10, "b.example"), (20, "c.example")]);
        assert_eq!(name(&set, 25), "a.example,b.example>c.example");
        assert_eq!(name(&set[..1], 2525), "a.example:2525");
        // The numbers do not matter, only the order.
        let other = hosts(&[(1, "a.example"), (1, "b.example"), (2, "c.example")]);
        assert_eq!(name(&set, 25), name(&other, 25));
    }

    #[test]
    fn long_sites_stay_apart() {
        let long = |last: &str| {
            let hosts: Vec<_> = (0..20)
                .map(|n| Candidate {
                    preference: n,
                    host: format!("host{n:02}.example.org"),
                })
                .chain([Candidate {
                    preference: 99,
                    host: last.to_owned(),
                }])
                .collect();
            name(&hosts, 25)
        };
        assert_eq!(long("x").len(), LONGEST - 18 + 17);
        assert_ne!(long("x"), long("y"));
    }
}
