//! Unsigned LEB128 numbers, as the page index uses them: seven bits per byte, lowest first.

/// The longest encoding of a `u64`.
pub(crate) const MAX: usize = 10;

/// Writes `value` at the front of `out`; returns how many bytes it took.
pub(crate) fn put(out: &mut [u8; MAX], mut value: u64) -> usize {
    let mut len = 0;
    while value >= 0x80 {
        out[len] = (value as u8) | 0x80;
        value >>= 7;
        len += 1;
    }
    out[len] = value as u8;
    len + 1
}

/// Collects a number byte by byte; knows when it is complete and when it is malformed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// `Ok(Some)` when `byte` completes the number.
    ///
    /// Refuses numbers beyond 64 bits and a superfluous last byte of 0: writers never produce
    /// them, and one spelling per number keeps "the index equals the pages" a comparison of bytes.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<u64>, &'static str> {
        let bits = u64::from(byte & 0x7f);
        if self.shift == 63 && byte > 1 {
            return Err("a number exceeds 64 bits");
        }
        self.value |= bits << self.shift;
        if byte & 0x80 != 0 {
            self.shift += 7;
            return Ok(None);
        }
        if byte == 0 && self.shift > 0 {
            return Err("a number is longer than necessary");
        }
        let value = self.value;
        *self = Varint::default();
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<u64>, &'static str> {
        let mut varint = Varint::default();
        let mut last = Ok(None);
        for byte in bytes {
            last = varint.push(*byte);
            last?;
        }
        last
    }

    #[test]
    fn one_spelling_per_number() {
        for (value, bytes) in [
            (0u64, &[0u8][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = [0; MAX];
            let len = put(&mut out, value);
            assert_eq!(&out[..len], bytes);
            assert_eq!(parse(bytes), Ok(Some(value)));
        }
        assert!(parse(&[0x80, 0]).is_err());
        assert!(parse(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err());
        assert!(parse(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81]).is_err());
        assert_eq!(parse(&[0x80]), Ok(None));
    }
}
