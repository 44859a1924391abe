//! What every command line of this workspace shares, so that the binaries look and end alike.
//!
//! * [`Logs`]: the flag `--log-format`, and the logger behind it; [`Output`]: the words of `-o text|json`;
//! * [`start`], [`start_bounded`]: one thread, one runtime, errors on one line `program: what`, the exit code;
//! * [`Paper`]: the verbs `completions` and `man` (hidden: for packagers), made from the command line itself;
//! * [`duration`], [`moment`]: lengths of time and points in time as people write them;
//! * [`Finding`] and [`report`]: what a `check` found, one line each with a hint, and its exit code;
//! * [`exit_of`]: the exit code of an error of a room.
//!
//! It stands on the doors' floor: it knows clap, and no room. It decides nothing about data.

mod check;
mod duration;
mod exit;
mod moment;
mod output;
mod paper;
mod start;

pub use check::{Finding, Verdict, exit_of_findings, report};
pub use duration::duration;
pub use exit::exit_of;
pub use moment::moment;
pub use output::{Output, print};
pub use paper::Paper;
pub use start::{Failure, Logs, start, start_bounded};
