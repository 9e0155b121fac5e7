//! What to do next about where replicas and leads are: a pure function of what is there.

use super::leads;
use super::picture::{Lead, Move, Picture};
use super::replicas;

/// How much may happen at once, and what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Replicas that a shard should have.
    pub(crate) replicas: usize,
    /// Moves that may be begun now.
    pub(crate) moves: usize,
    /// Leads that may be given away now.
    pub(crate) leads: usize,
}

/// The next steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) moves: Vec<Move>,
    pub(crate) leads: Vec<Lead>,
}

impl Plan {
    /// How many steps it has.
    pub(crate) fn len(&self) -> usize {
        self.moves.len() + self.leads.len()
    }
}

/// Plans the next few steps. Doing them and planning again comes to an end, where nothing is left
/// to do.
pub(crate) fn plan(picture: &Picture, limits: &Limits) -> Plan {
    let moves = replicas::moves(picture, limits.replicas, limits.moves);
    let mut rest = picture.clone();
    for planned in &moves {
        if let Some(shard) = rest.shards.get_mut(&planned.shard) {
            shard.changing = true;
        }
    }
    Plan {
        leads: leads::spread(&rest, limits.leads),
        moves,
    }
}

#[cfg(test)]
mod tests;
