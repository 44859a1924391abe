//! wal-streamer.
fn main() {}
