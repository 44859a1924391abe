//! Transaction ids: the numbers that order the files of a replica.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A transaction id, never 0. As text: 16 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Txid(NonZeroU64);

impl Txid {
    /// The first transaction of every replica; a file that starts here is a full image.
    pub const FIRST: Txid = Txid(NonZeroU64::MIN);

    /// `None` for 0.
    pub const fn new(value: u64) -> Option<Txid> {
        match NonZeroU64::new(value) {
            Some(value) => Some(Txid(value)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The id that follows. Stays at the last id instead of wrapping: a second object of that name
    /// is then refused by the store, while a wrapped one would restart history.
    pub const fn next(self) -> Txid {
        Txid(self.0.saturating_add(1))
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.get())
    }
}

impl FromStr for Txid {
    type Err = Error;

    /// Exactly 16 lowercase hex digits: other spellings would be other object names.
    fn from_str(text: &str) -> Result<Txid> {
        if text.len() != 16 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::Name { rule: "a transaction id is 16 lowercase hex digits" });
        }
        u64::from_str_radix(text, 16)
            .ok()
            .and_then(Txid::new)
            .ok_or(Error::Name { rule: "transaction ids start at 1" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sixteen_lowercase_hex_digits() {
        for (text, value) in [
            ("0000000000000001", Some(1)),
            ("00000000000000ff", Some(255)),
            ("ffffffffffffffff", Some(u64::MAX)),
            ("0000000000000000", None),
            ("00000000000000FF", None),
            ("+000000000000001", None),
            ("1", None),
            ("00000000000000001", None),
            ("", None),
            ("00000000000000é", None),
        ] {
            let parsed = text.parse::<Txid>().ok();
            assert_eq!(parsed.map(Txid::get), value, "{text}");
            if let Some(txid) = parsed {
                assert_eq!(txid.to_string(), text);
            }
        }
    }

    #[test]
    fn next_never_wraps() {
        assert_eq!(Txid::FIRST.next().get(), 2);
        let last = Txid::new(u64::MAX).unwrap();
        assert_eq!(last.next(), last);
        assert_eq!(Txid::new(0), None);
    }
}
