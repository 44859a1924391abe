//! CRC-64/GO-ISO, and the three checksums built from it.
//!
//! - file checksum: over the content of a file in order (see `docs/formats/ltx.md`), bit 63 set;
//! - page checksum: over page number and page, bit 63 set;
//! - rolling checksum: all page checksums of a database, xored, so that a changed page costs one
//!   update and the order of pages does not matter.
//!
//! The polynomial work is done by `crc-fast` (SIMD, table fallback).

use crc_fast::{CrcAlgorithm, Digest};

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64GoIso;

/// Set in every checksum, so that 0 always means "none".
pub const FLAG: u64 = 1 << 63;

/// A running CRC-64/GO-ISO.
#[derive(Clone)]
pub struct Crc64(Digest);

impl Crc64 {
    /// Nothing read yet.
    pub fn new() -> Crc64 {
        Crc64(Digest::new(ALGORITHM))
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The CRC of everything appended so far. Carries no flag.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }

    /// The CRC of one slice.
    pub fn of(bytes: &[u8]) -> u64 {
        crc_fast::checksum(ALGORITHM, bytes)
    }
}

impl Default for Crc64 {
    fn default() -> Crc64 {
        Crc64::new()
    }
}

impl std::fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crc64({:016x})", self.value())
    }
}

/// The CRC of two parts in a row from the CRC of each. Takes time logarithmic in `len_b` (bytes).
pub fn combine(a: u64, b: u64, len_b: u64) -> u64 {
    crc_fast::checksum_combine(ALGORITHM, a, b, len_b)
}

/// The checksum of one page of a database.
pub fn page_checksum(pgno: u32, page: &[u8]) -> u64 {
    let mut crc = Crc64::new();
    crc.update(&pgno.to_be_bytes());
    crc.update(page);
    FLAG | crc.value()
}

/// The checksum of a whole database, kept up to date page by page.
///
/// The lock page does not take part; leaving it out is up to the caller, who knows the page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rolling(u64);

impl Rolling {
    /// A database without pages.
    pub const fn empty() -> Rolling {
        Rolling(FLAG)
    }

    /// Continues from a value stored earlier.
    pub const fn from_value(value: u64) -> Rolling {
        Rolling(value | FLAG)
    }

    /// Takes one page checksum out and puts another in; `None` where the page did not or does not
    /// exist.
    pub const fn replace(&mut self, old: Option<u64>, new: Option<u64>) {
        if let Some(old) = old {
            self.0 ^= old;
        }
        if let Some(new) = new {
            self.0 ^= new;
        }
        self.0 |= FLAG;
    }

    /// The checksum, flag included.
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl Default for Rolling {
    fn default() -> Rolling {
        Rolling::empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit from the definition: reflected polynomial, all ones in and out.
    fn slow(bytes: &[u8]) -> u64 {
        let mut crc = u64::MAX;
        for byte in bytes {
            crc ^= u64::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xd800_0000_0000_0000 } else { crc >> 1 };
            }
        }
        !crc
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
    }

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(Crc64::of(b"123456789"), 0xb909_56c7_75a4_1001);
        assert_eq!(slow(b"123456789"), 0xb909_56c7_75a4_1001);
        assert_eq!(Crc64::of(b""), 0);
    }

    #[test]
    fn fast_equals_slow_at_every_length_and_alignment() {
        let data = bytes(1200);
        for len in (0..400).chain([511, 512, 513, 1023, 1024, 1180]) {
            for skip in [0, 1, 3, 7, 13] {
                let slice = &data[skip..skip + len.min(data.len() - skip)];
                assert_eq!(Crc64::of(slice), slow(slice), "{len} bytes from {skip}");
            }
        }
    }

    #[test]
    fn parts_combine_in_order() {
        let data = bytes(70_000);
        for cut in [0, 1, 5, 6, 100, 4096, 65_536, 69_999, 70_000] {
            let (a, b) = data.split_at(cut);
            assert_eq!(combine(Crc64::of(a), Crc64::of(b), b.len() as u64), Crc64::of(&data), "{cut}");
            let mut crc = Crc64::new();
            crc.update(a);
            crc.update(b);
            assert_eq!(crc.value(), Crc64::of(&data));
        }
    }

    #[test]
    fn rolling_does_not_depend_on_order() {
        let pages: Vec<u64> = (1..=3).map(|n| page_checksum(n, &bytes(512))).collect();
        let mut forward = Rolling::empty();
        let mut backward = Rolling::empty();
        pages.iter().for_each(|p| forward.replace(None, Some(*p)));
        pages.iter().rev().for_each(|p| backward.replace(None, Some(*p)));
        assert_eq!(forward, backward);
        backward.replace(Some(pages[1]), None);
        backward.replace(None, Some(pages[1]));
        assert_eq!(forward, backward);
        pages.iter().for_each(|p| forward.replace(Some(*p), None));
        assert_eq!(forward, Rolling::empty());
        assert_eq!(Rolling::empty().value(), 1 << 63);
    }
}
