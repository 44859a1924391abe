//! Page sizes SQLite can have, and the page that SQLite never writes.

use crate::error::{Error, Result};

/// Byte range 0x4000_0000.. is where SQLite puts its POSIX locks (`PENDING_BYTE` in `os.h`).
const LOCK_OFFSET: u32 = 0x4000_0000;

/// Bytes per page: a power of two from 512 to 65536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// Every page size there is.
    pub const ALL: [PageSize; 8] = [
        PageSize(512),
        PageSize(1024),
        PageSize(2048),
        PageSize(4096),
        PageSize(8192),
        PageSize(16384),
        PageSize(32768),
        PageSize(65536),
    ];

    /// Refuses anything that is not a SQLite page size.
    pub const fn new(bytes: u32) -> Result<PageSize> {
        if bytes >= 512 && bytes <= 65536 && bytes.is_power_of_two() {
            Ok(PageSize(bytes))
        } else {
            Err(Error::Header { rule: "page size is not a power of two from 512 to 65536", offset: 8 })
        }
    }

    /// Bytes per page, as the header stores it.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Bytes per page, for slices.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The page that covers SQLite's lock bytes. It holds no data, is in no file, and is written as
    /// zeros into a database.
    pub const fn lock_page(self) -> u32 {
        LOCK_OFFSET / self.0 + 1
    }

    /// How many pages a complete image of `commit` pages holds: all but the lock page.
    pub(crate) fn pages_of_image(self, commit: u32) -> u64 {
        u64::from(commit) - u64::from(commit >= self.lock_page())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_from_512_to_65536() {
        for size in PageSize::ALL {
            assert_eq!(PageSize::new(size.get()).unwrap(), size);
        }
        for size in [0, 1, 256, 511, 513, 4095, 65535, 65537, 131072, u32::MAX] {
            assert!(PageSize::new(size).is_err(), "{size}");
        }
    }

    #[test]
    fn lock_pages() {
        for (size, page) in [(512, 2097153), (1024, 1048577), (4096, 262145), (8192, 131073), (65536, 16385)]
        {
            assert_eq!(PageSize::new(size).unwrap().lock_page(), page);
        }
    }

    #[test]
    fn an_image_skips_the_lock_page() {
        let size = PageSize::new(65536).unwrap();
        assert_eq!(size.pages_of_image(16384), 16384);
        assert_eq!(size.pages_of_image(16385), 16384);
        assert_eq!(size.pages_of_image(16386), 16385);
    }
}
