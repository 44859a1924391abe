//! Snapshots from fake and real servers, into stores that lie, and back.
//!
//! Fakes speak gRPC over real HTTP/2 and TLS, so that everything bad a server can do is done on the wire; what only a real etcd can
//! prove is in `real`, which prints why it skips where none is installed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod bad_input;
mod bench;
mod compaction;
mod doctor;
mod drilling;
mod fake;
mod gate;
mod hostile;
mod keeping;
mod real;
mod remembered;
mod talos;
