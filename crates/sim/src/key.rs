//! In which form the replica of a world is: every fourth seed seals it, and only who restores and who judges holds the identity.

use seal::{Identities, Protection, Recipients};
use std::sync::Arc;

/// A key pair of the simulator; nothing but its own worlds was ever sealed for it.
const RECIPIENT: &str = "age1yk9tp5n8kq9ne5wecfue6zvqdejrqhh2eka4u67urx8gfprk9glqvdqmax";
const IDENTITY: &str = "AGE-SECRET-KEY-1RHRVR3CYWJP6MD9DH750KWR3ATDP7J9X4QPWDRR920VY2GHJEU0SSCE306";

/// Sealed, or plain.
#[derive(Clone)]
pub struct Key(Option<Arc<Identities>>);

impl Key {
    /// Of the world of this seed.
    pub(crate) fn of(seed: u64) -> Key {
        let identities = || Identities::parse(IDENTITY, "simulator").expect("the key above is one");
        Key(seed.is_multiple_of(4).then(|| Arc::new(identities())))
    }

    /// Whether the replica is sealed.
    pub(crate) fn seals(&self) -> bool {
        self.0.is_some()
    }

    /// What pods are configured with: public keys only.
    pub(crate) fn protection(&self) -> Protection {
        match self.0 {
            Some(_) => Protection::Sealed(
                Recipients::parse(RECIPIENT, "simulator").expect("the recipient above is one"),
            ),
            None => Protection::Plain,
        }
    }

    /// What restores are given.
    pub(crate) fn identities(&self) -> Option<Arc<Identities>> {
        self.0.clone()
    }
}
