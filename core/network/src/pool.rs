//! Subnets for networks that name none: the lowest free one of the cluster's pools.

use skep_model::Cluster;
use skep_model::defaults;

use crate::error::AllocateError;
use crate::prefix::{Family, Prefix};

/// The cluster's address pools.
#[derive(Clone, Debug)]
pub struct Pools {
    pools: Vec<Prefix>,
    size: u8,
}

impl Pools {
    /// From the cluster object; what it does not say, or says wrongly, is Docker's default.
    pub fn of(cluster: Option<&Cluster>) -> Self {
        let named = cluster.map(|cluster| cluster.default_address_pool.as_slice()).unwrap_or_default();
        let mut pools: Vec<Prefix> = named.iter().filter_map(|pool| Prefix::parse(pool).ok()).collect();
        if pools.is_empty() {
            pools.extend(Prefix::parse(defaults::ADDRESS_POOL));
        }
        let size = cluster.map(|cluster| cluster.subnet_size).filter(|size| *size > 0);
        let size = u8::try_from(size.unwrap_or(defaults::SUBNET_SIZE)).unwrap_or(u8::MAX);
        Self { pools, size }
    }

    /// The lowest subnet that overlaps none of `taken`; `size` when the user asks for one.
    pub fn choose(&self, size: Option<u8>, taken: &[Prefix]) -> Result<Prefix, AllocateError> {
        let size = size.unwrap_or(self.size);
        let fitting = self.pools.iter().filter(|pool| pool.family == Family::V4 && pool.length <= size && size <= 32);
        for pool in fitting {
            if let Some(found) = lowest(*pool, size, taken) {
                return Ok(found);
            }
        }
        let pools: Vec<String> = self.pools.iter().map(ToString::to_string).collect();
        Err(AllocateError::PoolsExhausted { size, pools: pools.join(", ") })
    }
}

fn lowest(pool: Prefix, size: u8, taken: &[Prefix]) -> Option<Prefix> {
    let mut taken: Vec<Prefix> = taken.iter().copied().filter(|other| other.overlaps(pool)).collect();
    taken.sort_unstable();
    let mut candidate = Prefix::around(pool.family, pool.first, size);
    for other in taken {
        if !other.overlaps(candidate) {
            continue;
        }
        // The next subnet of our size behind the one in the way.
        let behind = other.last().max(candidate.last()).checked_add(1)?;
        candidate = Prefix::around(pool.family, behind, size);
    }
    (candidate.first >= pool.first && candidate.last() <= pool.last()).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Prefix {
        Prefix::parse(text).expect("a subnet")
    }

    #[test]
    fn lowest_free_subnet() {
        for (pool, size, taken, expected) in [
            ("10.0.0.0/8", 24, vec![], Some("10.0.0.0/24")),
            ("10.0.0.0/8", 24, vec!["10.0.0.0/24", "10.0.2.0/24"], Some("10.0.1.0/24")),
            ("10.0.0.0/8", 24, vec!["10.0.0.0/16"], Some("10.1.0.0/24")),
            ("10.0.0.0/8", 16, vec!["10.0.3.0/24"], Some("10.1.0.0/16")),
            ("10.0.0.0/8", 24, vec!["0.0.0.0/0"], None),
            ("10.0.0.0/30", 31, vec!["10.0.0.0/31"], Some("10.0.0.2/31")),
            ("10.0.0.0/30", 31, vec!["10.0.0.0/31", "10.0.0.2/31"], None),
            ("255.255.255.0/24", 25, vec!["255.255.255.0/25", "255.255.255.128/25"], None),
        ] {
            let taken: Vec<Prefix> = taken.into_iter().map(parse).collect();
            assert_eq!(lowest(parse(pool), size, &taken), expected.map(parse), "{pool} {size} {taken:?}");
        }
    }
}
