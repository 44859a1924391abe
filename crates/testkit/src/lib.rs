//! What tests and benchmarks stand on: an S3 server with faults, a real application on SQLite, processes, randomness.
//!
//! Nothing here is part of a shipped binary. It may use the system's clocks and `expect`, because a broken test bench
//! should say so at once; seeds make its workloads repeatable all the same.

#![allow(clippy::disallowed_methods, reason = "a test bench measures real time")]

pub mod app;
pub mod bolt;
pub mod dirs;
pub mod diskfull;
pub mod etcd;
pub mod held;
pub mod line;
pub mod pki;
pub mod procs;
pub mod rng;
pub mod s3;
