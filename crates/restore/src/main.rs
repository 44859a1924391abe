//! restore.
fn main() {}
