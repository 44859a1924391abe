//! The acknowledgements: what the application told its users was committed, and when.
//!
//! One line `<seq> <unix µs>` per transaction, written after the commit returned. Lines of several writers interleave,
//! and a kill may leave a torn last line, which is no acknowledgement.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// One acknowledged transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ack {
    /// Which transaction.
    pub seq: u64,
    /// Microseconds since the Unix epoch, after the commit.
    pub unix_us: u64,
}

/// All acknowledgements in a file, by transaction; none where there is no file.
pub fn read_acks(path: &Path) -> Vec<Ack> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let mut acks: Vec<_> = whole
        .lines()
        .filter_map(|line| {
            let (seq, unix_us) = line.split_once(' ')?;
            Some(Ack { seq: seq.parse().ok()?, unix_us: unix_us.parse().ok()? })
        })
        .collect();
    acks.sort();
    acks
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

pub(super) fn append(mut file: &File, seq: u64) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    file.write_all(format!("{seq} {}\n", now.as_micros()).as_bytes())
}
