//! `restore etcd` and `restore list|verify|drill|unlock` of etcd snapshots, as processes: what an operator sees who has the bucket and the key.
//!
//! The snapshots are small bbolt files that `etcd-shipper ship --file` adopts, so no etcd runs; the drill and the check of the restored file
//! by etcd's own tools need real ones and say so where they skip.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

mod back;
mod damage;
mod proofs;
mod scene;
mod strange;

const NONE: &[&str] = &[];
