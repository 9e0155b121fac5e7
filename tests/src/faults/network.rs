//! A network of hosts: a namespace for each store, and one for all other processes and the test
//! itself, joined by a bridge. What stores open to each other can be diverted to a proxy. Nothing of
//! it reaches the machine's own network. Needs root.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::proxy;

/// Where the hub's and the hosts' addresses come from.
const NET: [u8; 3] = [10, 77, 0];
/// The hub's number in it.
const HUB: u8 = 254;

/// The network of one run. Taken down when dropped by whoever made it.
#[derive(Debug)]
pub struct Network {
    name: String,
    hosts: usize,
    is_mine: bool,
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "ip {}: {said}",
        arguments.join(" ")
    );
    Ok(())
}

fn address(number: u8) -> Ipv4Addr {
    let [a, b, c] = NET;
    Ipv4Addr::new(a, b, c, number)
}

impl Network {
    /// Makes a network with so many hosts.
    pub fn make(hosts: usize) -> Result<Self> {
        ensure!((1..=20).contains(&hosts), "{hosts} hosts");
        let network = Self {
            name: format!("pst{}", std::process::id()),
            hosts,
            is_mine: true,
        };
        let hub = network.hub();
        ip(&["netns", "add", &hub])?;
        network.up(&hub, "lo")?;
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        network.place(&hub, "bridge", HUB)?;
        for number in 1..=hosts {
            let number = u8::try_from(number)?;
            let (host, port) = (network.host(number.into()), format!("host{number}"));
            ip(&["netns", "add", &host])?;
            network.up(&host, "lo")?;
            let pair = ["type", "veth", "peer", "name", "eth", "netns", &host];
            ip(&[&["-n", &hub, "link", "add", &port][..], &pair].concat())?;
            ip(&["-n", &hub, "link", "set", &port, "master", "bridge"])?;
            network.up(&hub, &port)?;
            network.place(&host, "eth", number)?;
        }
        Ok(network)
    }

    /// The network of this name, made by the process that started this one.
    pub fn named(name: &str, hosts: usize) -> Self {
        Self {
            name: name.to_owned(),
            hosts,
            is_mine: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn up(&self, namespace: &str, link: &str) -> Result<()> {
        ip(&["-n", namespace, "link", "set", link, "up"])
    }

    fn place(&self, namespace: &str, link: &str, number: u8) -> Result<()> {
        let at = format!("{}/24", address(number));
        ip(&["-n", namespace, "address", "add", &at, "dev", link])?;
        self.up(namespace, link)
    }

    /// The namespace of everything that is no store.
    pub fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn host(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// Where everything that is no store lives, as stores see it.
    pub fn hub_address(&self) -> Ipv4Addr {
        address(HUB)
    }

    /// Where a store lives, and what to put before its command so that it runs there.
    pub fn place_of(&self, store: usize) -> (Ipv4Addr, String) {
        let at = address(u8::try_from(store).unwrap_or(HUB));
        (at, format!("ip netns exec {}", self.host(store)))
    }

    /// What stores open to each other goes to the proxy on the hub instead, from now on.
    pub fn divert(&self) -> Result<()> {
        for from in 1..=self.hosts {
            let mut rules = String::new();
            for to in (1..=self.hosts).filter(|to| *to != from) {
                let (store, _) = self.place_of(to);
                let (hub, port) = (self.hub_address(), proxy::port(from, to));
                rules += &format!("ip daddr {store} meta l4proto tcp dnat to {hub}:{port}; ");
            }
            let chain = format!("chain out {{ type nat hook output priority -100; {rules}}}");
            let table = format!("table ip faults {{ {chain}; }}");
            let nft = ["netns", "exec", &self.host(from), "nft", &table];
            ip(&nft)?;
        }
        Ok(())
    }

    /// What a store sends to others is lost from now on, or no longer.
    pub fn mute(&self, store: usize, is_on: bool) -> Result<()> {
        let verb = if is_on { "add" } else { "del" };
        let host = self.host(store);
        for other in self.others(store) {
            let to = format!("{}/32", address(other));
            ip(&["-n", &host, "route", verb, "blackhole", &to])?;
        }
        Ok(())
    }

    /// What others send to a store is lost from now on, or no longer.
    pub fn deafen(&self, store: usize, is_on: bool) -> Result<()> {
        let verb = if is_on { "add" } else { "del" };
        let to = format!("{}/32", address(u8::try_from(store)?));
        for other in self.others(store) {
            let host = match other {
                HUB => self.hub(),
                other => self.host(other.into()),
            };
            ip(&["-n", &host, "route", verb, "blackhole", &to])?;
        }
        Ok(())
    }

    fn others(&self, store: usize) -> Vec<u8> {
        let stores = (1..=self.hosts).filter(|other| *other != store);
        let numbers = stores.filter_map(|other| u8::try_from(other).ok());
        numbers.chain([HUB]).collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if !self.is_mine {
            return;
        }
        // Links go with their namespaces; one that was not made is none to remove.
        for number in 1..=self.hosts {
            let _ = ip(&["netns", "del", &self.host(number)]);
        }
        let _ = ip(&["netns", "del", &self.hub()]);
    }
}
