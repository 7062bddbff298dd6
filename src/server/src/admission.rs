//! How many connections there are, over all shards and of each address.
//!
//! Owned by shard 0, whichever port a connection came to. A place is given for each accepted socket,
//! travels to the shard that serves it, and is given back by being dropped there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tailwater_shards::{Counter, ShardId};

use crate::config::ConnectionLimits;

/// Addresses without connections are forgotten once this many more than needed are remembered.
const STALE_ADDRESSES_MAX: usize = 1024;

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Turned {
    #[error("there are max.connections = {0} connections")]
    Full(usize),
    #[error("its address has max.connections.per.ip = {0} connections")]
    AddressFull(usize),
}

impl Turned {
    /// What it is counted as.
    pub(crate) fn counter(self) -> Counter {
        match self {
            Self::Full(_) => Counter::RefusedConnections,
            Self::AddressFull(_) => Counter::RefusedConnectionsOfAddress,
        }
    }
}

/// One connection's place in the counts.
#[derive(Debug)]
pub(crate) struct Place {
    of_shard: Arc<AtomicUsize>,
    of_address: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of_shard.fetch_sub(1, Ordering::Relaxed);
        self.of_address.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counts. Other shards only ever lower them, by dropping places.
pub(crate) struct Admission {
    connections_max: usize,
    per_address_max: usize,
    shards: Vec<Arc<AtomicUsize>>,
    addresses: BTreeMap<IpAddr, Arc<AtomicUsize>>,
}

impl Admission {
    pub(crate) fn new(shards: u16, limits: &ConnectionLimits) -> Self {
        Self {
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_ip_max,
            shards: (0..shards).map(|_| Arc::default()).collect(),
            addresses: BTreeMap::new(),
        }
    }

    /// Gives a place on the shard with the fewest connections; of equals, the first.
    ///
    /// # Errors
    /// At a limit: the connection is to be closed at once.
    pub(crate) fn admit(&mut self, address: IpAddr) -> Result<(ShardId, Place), Turned> {
        let counts = self
            .shards
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let fewest = counts.enumerate().min_by_key(|(_, count)| *count);
        let (index, _) = fewest.expect("a server has at least one shard");
        let shard = ShardId(u16::try_from(index).expect("shards are counted in u16"));
        Ok((shard, self.admit_to(shard, address)?))
    }

    /// Gives a place on that shard, to whose own port the connection came. The limits are those of
    /// all ports together: one shard may have as many as all may.
    ///
    /// # Errors
    /// As [`Admission::admit`].
    pub(crate) fn admit_to(&mut self, shard: ShardId, address: IpAddr) -> Result<Place, Turned> {
        if self.open() >= self.connections_max {
            return Err(Turned::Full(self.connections_max));
        }
        self.forget_stale();
        let of_address = self.addresses.entry(address).or_default();
        if of_address.load(Ordering::Relaxed) >= self.per_address_max {
            return Err(Turned::AddressFull(self.per_address_max));
        }
        let of_shard = self
            .shards
            .get(usize::from(shard.0))
            .expect("there is that shard");
        of_shard.fetch_add(1, Ordering::Relaxed);
        of_address.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            of_shard: Arc::clone(of_shard),
            of_address: Arc::clone(of_address),
        })
    }

    /// Connections that are open.
    fn open(&self) -> usize {
        self.shards
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    fn forget_stale(&mut self) {
        if self.addresses.len() > self.open() + STALE_ADDRESSES_MAX {
            self.addresses
                .retain(|_, count| count.load(Ordering::Relaxed) > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn limits(all: usize, per_ip: usize) -> ConnectionLimits {
        ConnectionLimits {
            connections_max: all,
            connections_per_ip_max: per_ip,
            ..ConnectionLimits::default()
        }
    }

    #[test]
    fn a_connection_goes_to_the_shard_with_the_fewest() {
        let mut admission = Admission::new(3, &limits(100, 100));
        let mut places: Vec<_> = (0..6)
            .map(|_| admission.admit(address(1)).unwrap())
            .collect();
        let shards: Vec<_> = places.iter().map(|(shard, _)| shard.0).collect();
        assert_eq!(shards, [0, 1, 2, 0, 1, 2]);
        places.remove(4);
        assert_eq!(admission.admit(address(1)).unwrap().0, ShardId(1));
    }

    #[test]
    fn the_limits_hold_over_all_ports_together_and_the_rest_goes_where_room_is() {
        let mut admission = Admission::new(2, &limits(5, 4));
        let _own: Vec<_> = (0..3)
            .map(|_| admission.admit_to(ShardId(0), address(1)).unwrap())
            .collect();
        let (shard, _place) = admission.admit(address(1)).unwrap();
        assert_eq!(shard, ShardId(1), "its own port's count there too");
        let per_address = admission.admit_to(ShardId(1), address(1)).unwrap_err();
        assert_eq!(per_address, Turned::AddressFull(4));
        let _fifth = admission.admit_to(ShardId(0), address(2)).unwrap();
        let all = admission.admit_to(ShardId(1), address(3)).unwrap_err();
        assert_eq!(all, Turned::Full(5));
        assert_eq!(admission.admit(address(3)).unwrap_err(), Turned::Full(5));
    }

    #[test]
    fn a_place_comes_back_when_its_connection_ends() {
        let mut admission = Admission::new(2, &limits(2, 100));
        let first = admission.admit(address(1)).unwrap();
        let _second = admission.admit(address(2)).unwrap();
        assert_eq!(admission.admit(address(3)).unwrap_err(), Turned::Full(2));
        drop(first);
        assert!(admission.admit(address(3)).is_ok());
    }

    #[test]
    fn one_address_cannot_take_more_than_its_share() {
        let mut admission = Admission::new(2, &limits(100, 1));
        let first = admission.admit(address(1)).unwrap();
        assert_eq!(
            admission.admit(address(1)).unwrap_err(),
            Turned::AddressFull(1)
        );
        assert!(admission.admit(address(2)).is_ok());
        drop(first);
        assert!(admission.admit(address(1)).is_ok());
    }

    #[test]
    fn addresses_that_left_are_forgotten() {
        let mut admission = Admission::new(1, &limits(usize::MAX, 1));
        for n in 0..5_000_u32 {
            drop(admission.admit(IpAddr::from(n.to_be_bytes())).unwrap());
        }
        assert!(admission.addresses.len() <= STALE_ADDRESSES_MAX + 2);
    }
}
