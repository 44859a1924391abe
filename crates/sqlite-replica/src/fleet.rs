//! Many databases in one process: which there are, which of them have a writer, and what becomes of each.
//!
//! [`Fleet::run`] keeps one writer per database. A database that fails does not end the others: what may pass is tried again
//! with back-off, what was refused or fenced stays stopped and visible. [`FleetHandle`] is for everybody else in the process:
//! the list of databases with their states, and "make it durable now".
//! Promises: P3 and P4 (nothing is written twice to one replica, nothing that was refused is tried until it changes), P7
//! (bounded writers). It knows no files of configuration and no metrics. Decision 0005.

mod board;
mod config;
mod find;
mod glance;
mod handle;
mod hints;
mod limits;
mod lull;
mod member;
mod outcome;
mod overlap;
mod presence;
mod search;
mod slots;
mod supervise;
mod tree;
mod turns;

pub use board::{State, Status};
pub use config::{Conflict, Database, Fill, Filling, FleetConfig, Found, News, Stores, Target};
pub use find::Selection;
pub use handle::FleetHandle;
pub use limits::Limits;
pub use outcome::Outcome;
pub use supervise::Fleet;
