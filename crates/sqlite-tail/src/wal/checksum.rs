//! The running checksum of SQLite's WAL: two words, fed eight bytes at a time.

/// State of the running checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checksum {
    /// First word.
    pub s1: u32,
    /// Second word.
    pub s2: u32,
}

impl Checksum {
    /// Continues the checksum over `bytes`, whose length is a multiple of 8 (a rest is ignored, as SQLite has none).
    #[must_use]
    pub fn update(self, bytes: &[u8], big_endian: bool) -> Self {
        if big_endian { self.run(bytes, u32::from_be_bytes) } else { self.run(bytes, u32::from_le_bytes) }
    }

    #[inline]
    fn run(self, bytes: &[u8], word: impl Fn([u8; 4]) -> u32) -> Self {
        let (mut s1, mut s2) = (self.s1, self.s2);
        for pair in bytes.chunks_exact(8) {
            s1 = s1.wrapping_add(word([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(s2);
            s2 = s2.wrapping_add(word([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(s1);
        }
        Self { s1, s2 }
    }
}
