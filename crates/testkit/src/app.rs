//! A small but real application on SQLite: several connections, three kinds of tables, a schedule that is known.
//!
//! What transaction n does follows from the seed and n alone (module `plan`), whoever executes it. So a database can be
//! proven to be exactly the transactions 1..n, nothing missing and nothing of n+1, by replaying the plan
//! ([`verify`], for promises P1 and P2), without trusting anything the application wrote about itself.
//! Runs in the test's process ([`run`]) or as the binary `hw-app`, which can be killed.

mod acks;
mod args;
mod compare;
mod plan;
mod schema;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use acks::{Ack, read_acks};
pub use args::{AppArgs, Checkpoint};
pub use compare::{Comparison, TableComparison, compare_dbs, db_digest};
pub use verify::{Report, verify};
pub use writer::{AppReport, run, run_until};
