//! Fields of a protobuf message without decoding it: values of a cluster are large and mostly not of interest.

/// One field.
pub(crate) enum Field<'a> {
    /// Bytes, strings and messages.
    Bytes(u64, &'a [u8]),
    /// Numbers of any kind.
    Number,
}

/// The fields of a message; ends early at the first that makes no sense.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let tag = self.varint()?;
        match tag & 7 {
            0 => self.varint().map(|_| Field::Number),
            1 => self.take(8).map(|_| Field::Number),
            5 => self.take(4).map(|_| Field::Number),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(Field::Bytes(tag >> 3, self.take(length)?))
            }
            _ => None,
        }
    }
}

impl<'a> Fields<'a> {
    /// The first field of bytes with this number.
    pub(crate) fn bytes(message: &'a [u8], number: u64) -> Option<&'a [u8]> {
        Fields(message).find_map(|field| match field {
            Field::Bytes(found, bytes) if found == number => Some(bytes),
            _ => None,
        })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}
