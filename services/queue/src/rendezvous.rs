//! Who of the live queue processes takes a shard or a site: rendezvous (highest random weight)
//! hashing. All who see the same peers agree, and a peer that goes moves only what it had.

/// The peer that a key belongs to; `None` without peers. `peers` may be in any order.
pub fn owner<'a, P: AsRef<str>>(key: &str, peers: &'a [P]) -> Option<&'a P> {
    let weigh = |peer: &P| weight(key, peer.as_ref());
    // The name decides between equal weights.
    peers.iter().max_by(|a, b| {
        weigh(a)
            .cmp(&weigh(b))
            .then_with(|| a.as_ref().cmp(b.as_ref()))
    })
}

/// The name of a shard as a key.
pub fn shard_key(shard: u32) -> String {
    format!("shard/{shard}")
}

/// The name of a site as a key.
pub fn site_key(site: &str) -> String {
    format!("site/{site}")
}

fn weight(key: &str, peer: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(peer.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_peer_that_goes_moves_only_what_it_had() {
        let all = ["a", "b", "c", "d"];
        let three = ["d", "c", "a"];
        let mut count: HashMap<&str, usize> = HashMap::new();
        for shard in 1..=64 {
            let key = shard_key(shard);
            let before = *owner(&key, &all).expect("peers");
            let after = *owner(&key, &three).expect("peers");
            assert!(
                before == "b" || before == after,
                "shard {shard} moved from {before} to {after}"
            );
            *count.entry(before).or_default() += 1;
        }
        assert!(all.iter().all(|peer| count[peer] >= 6), "spread: {count:?}");
    }

    #[test]
    fn the_choice_never_changes_between_versions() {
        let peers = ["queue-0", "queue-1", "queue-2"];
        let chosen: Vec<&str> = ["x.example", "y.example", "z.example"]
            .map(|s| *owner(&site_key(s), &peers).expect("peers"))
            .into();
        assert_eq!(chosen, GOLDEN);
        assert_eq!(owner::<&str>("any", &[]), None);
    }

    const GOLDEN: [&str; 3] = ["queue-1", "queue-0", "queue-2"];
}
