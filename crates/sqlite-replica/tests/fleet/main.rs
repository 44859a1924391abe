//! Many databases in one process: real SQLite files, a store in memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]

mod apart;
mod by_hand;
mod cold;
mod damaged;
mod find;
mod replaced;
mod scene;
