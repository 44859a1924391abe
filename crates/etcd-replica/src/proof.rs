//! Proving a snapshot from its bytes alone, and against the members it came from.
//!
//! Levels, each of which contains those below it; a manifest says which one was reached:
//! 0 received, 1 SHA-256 and exact length, 2 structure and content read, 3 HashKV equal on at least one live member,
//! 4 stored object read back, 5 restored by a drill.
//! Everything works through [`crate::ReadAt`] in bounded memory (P7): one bit per page, one bit per row, and a map of at most
//! [`newest::KEYS_PER_PASS`] hashed keys; larger clusters are walked several times instead.
//! What it does not do: repair, or take an unknown answer for a good one (P6).

pub(crate) mod content;
pub(crate) mod hashkv;
pub(crate) mod kubernetes;
mod newest;
pub(crate) mod row;
mod shape;
mod wire;

pub use content::{Content, prove};
pub use hashkv::{HashKv, MemberHash, Verdict};
pub(crate) use shape::compare as compare_digest;
pub use shape::{Shape, TRAILER, check_digest};

#[cfg(test)]
mod tests;
