//! When a message counts as received: distinct families among the ports that are active now, as the inbox itself counts. Pure.

use alloy::primitives::Address;
use relayer_adapter_api::Family;
use std::collections::BTreeMap;

/// A port brought the message in this block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    pub port: Address,
    pub block: u64,
}

/// Active ports of an inbox with their families.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports(BTreeMap<Address, Family>);

/// Something happened to a port, in chain order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortChange {
    Activated { port: Address, family: Family },
    Removed { port: Address },
}

impl Ports {
    /// Configured ports hold until the chain says otherwise: the observer may have started after they were activated.
    pub fn new(configured: impl IntoIterator<Item = (Address, Family)>, changes: &[PortChange]) -> Self {
        let mut ports: BTreeMap<_, _> = configured.into_iter().collect();
        for change in changes {
            match *change {
                PortChange::Activated { port, family } => {
                    ports.insert(port, family);
                }
                PortChange::Removed { port } => {
                    ports.remove(&port);
                }
            }
        }
        Self(ports)
    }
}

/// The block in which `families` distinct families had brought the message, if they have. `votes` in chain order.
pub fn reached(votes: &[Vote], ports: &Ports, families: usize) -> Option<u64> {
    let mut seen: Vec<Family> = Vec::new();
    for vote in votes {
        if let Some(family) = ports.0.get(&vote.port)
            && !seen.contains(family)
        {
            seen.push(*family);
        }
        if seen.len() >= families && !seen.is_empty() {
            return Some(vote.block);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    fn ports(changes: &[PortChange]) -> Ports {
        Ports::new(
            [(port(1), Family(1)), (port(2), Family(1)), (port(3), Family(2))],
            changes,
        )
    }

    fn check(votes: &[(u8, u64)], ports: &Ports, families: usize, expected: Option<u64>) {
        let votes: Vec<Vote> = votes
            .iter()
            .map(|(n, block)| Vote {
                port: port(*n),
                block: *block,
            })
            .collect();
        assert_eq!(reached(&votes, ports, families), expected, "{votes:?}");
    }

    #[test]
    fn one_family_is_reached_by_the_first_vote() {
        check(&[(1, 7), (3, 9)], &ports(&[]), 1, Some(7));
        check(&[], &ports(&[]), 1, None);
    }

    #[test]
    fn a_second_port_of_one_family_counts_nothing() {
        check(&[(1, 7), (2, 8)], &ports(&[]), 2, None);
        check(&[(1, 7), (2, 8), (3, 9)], &ports(&[]), 2, Some(9));
    }

    #[test]
    fn votes_of_removed_and_unknown_ports_count_nothing() {
        let removed = ports(&[PortChange::Removed { port: port(1) }]);
        check(&[(1, 7)], &removed, 1, None);
        check(&[(1, 7), (2, 8)], &removed, 1, Some(8));
        check(&[(9, 7)], &ports(&[]), 1, None);
    }

    #[test]
    fn a_port_activated_on_chain_counts_without_configuration() {
        let known = ports(&[PortChange::Activated {
            port: port(9),
            family: Family(3),
        }]);
        check(&[(9, 7)], &known, 1, Some(7));
    }

    #[test]
    fn no_quorum_of_zero_families_without_a_vote() {
        check(&[], &ports(&[]), 0, None);
    }
}
