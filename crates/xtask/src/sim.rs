//! `cargo xtask sim`: the simulator, a program of its own because it replaces system calls of the process it runs in.

use crate::tools;
use anyhow::Result;
use std::process::Command;

/// Runs it with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    tools::run(Command::new("cargo").args(["run", "--quiet", "--package", "sim", "--"]).args(arguments))
}
