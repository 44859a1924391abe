//! A simulator of one replica and everything around it, from one seed (decision 0006).
//!
//! Real: SQLite and its files, the tail, the writer, claims, restore. Simulated: time, ids, the network, the order of events,
//! the death of processes, and the loss of power at any system call. Everything happens in one thread; a [`World`] takes one
//! step after the other and writes down what it did, so that a failing seed is its own reproduction.
//!
//! The [`oracle`] keeps a tree of all committed states. It demands: every restore is one of them, bit for bit (P2); none is
//! older than what was reported durable (P1); "caught up" means that everything committed is durable; nobody writes after
//! somebody else's claim, and no number has two owners (P4); after a loss of power the volume is not behind what was reported (P1).

pub mod application;
pub mod disk;
mod entropy;
mod frugal;
pub mod interloper;
mod key;
pub mod network;
pub mod oracle;
pub mod pod;
mod sqlite;
mod syscalls;
pub mod volume;
pub mod world;

pub use world::{Outcome, World, run};
