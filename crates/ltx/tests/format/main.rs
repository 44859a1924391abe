//! The format as a whole, through the public interface: golden files of other writers, round trips,
//! damage, merging, proving in parts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod damage;
mod golden;
mod merging;
mod pieces;
mod refusals;
mod round_trip;
mod sample;
