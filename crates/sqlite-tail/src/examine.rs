//! A quick look at the structure of a database, before anything of it is shipped over a good chain (P3).
//!
//! The header and the freelist are checked always: that is a bounded number of pages. SQLite's own `quick_check` runs where the
//! database is small enough to be read through at a start. What only breaks a constraint of the application's schema is
//! no damage; what needs a function or a collation that we do not have is not checked. `ok` therefore means: nothing was found.

use crate::{Error, Tail, View};
use rusqlite::ErrorCode;

/// Databases up to this size are read through.
const READ_THROUGH: u64 = 32 << 20;
/// Trunk pages of the freelist that are followed: each names about 1,000 pages of 4 KiB.
const TRUNKS: u32 = 4096;
/// Findings that are asked for; the first that is damage counts.
const FINDINGS: u32 = 100;

/// Findings of `quick_check` that are about the application's rules.
const CONSTRAINTS: [&str; 4] =
    ["NULL value in", "CHECK constraint failed", "NUMERIC value in", "TEXT value in"];

impl Tail {
    /// The first sign of damage, in one line; `None` if none was found.
    pub fn examine(&mut self) -> Result<Option<String>, Error> {
        let mut view = self.view()?;
        if let Some(what) = header(&mut view)? {
            return Ok(Some(what));
        }
        if let Some(what) = freelist(&mut view)? {
            return Ok(Some(what));
        }
        if u64::from(view.commit()) * u64::from(view.page_size()) > READ_THROUGH {
            return Ok(None);
        }
        drop(view);
        match self.reader.quick_check(FINDINGS) {
            Ok(lines) => {
                let damage = lines.into_iter().find(|line| is_damage(line));
                if damage.is_some() {
                    // A page that the disk does not give is a finding to SQLite, and no damaged database: it may be read again later.
                    self.view()?.for_each_page(|_, _| Ok(()))?;
                }
                Ok(damage)
            }
            // Whatever else it needs and does not have: not checked.
            Err(error) => {
                let damaged = error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
                    && !error.to_string().contains("database schema");
                Ok(damaged.then(|| error.to_string()))
            }
        }
    }
}

fn is_damage(line: &str) -> bool {
    line != "ok" && !CONSTRAINTS.iter().any(|rule| line.starts_with(rule))
}

fn be(page: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]])
}

fn header(view: &mut View<'_>) -> Result<Option<String>, Error> {
    let size = view.page_size();
    let mut page = vec![0; size as usize];
    view.read_page(1, &mut page)?;
    let said = u32::from(u16::from_be_bytes([page[16], page[17]]));
    let said = if said == 1 { 65_536 } else { said };
    Ok(if !page.starts_with(b"SQLite format 3\0") {
        Some("page 1 does not begin with the header of sqlite".into())
    } else if said != size {
        Some(format!("the header names pages of {said} bytes, the wal has pages of {size}"))
    } else if size - u32::from(page[20]) < 480 || page[21..24] != [64, 32, 32] {
        Some("the header has impossible page fractions".into())
    } else if be(&page, 24) == be(&page, 92) && be(&page, 28) != 0 && be(&page, 28) != view.commit() {
        Some(format!("the header counts {} pages, there are {}", be(&page, 28), view.commit()))
    } else if ![0x05, 0x0d].contains(&page[100]) {
        Some("page 1 is not the root of the schema".into())
    } else {
        None
    })
}

fn freelist(view: &mut View<'_>) -> Result<Option<String>, Error> {
    let mut page = vec![0; view.page_size() as usize];
    view.read_page(1, &mut page)?;
    let (mut next, total) = (be(&page, 32), be(&page, 36));
    let usable = page.len() - usize::from(page[20]);
    let possible = |pgno: u32, view: &View<'_>| pgno >= 2 && pgno <= view.commit();
    let mut counted = 0_u32;
    for _ in 0..TRUNKS {
        if next == 0 {
            let whole = counted == total;
            return Ok((!whole).then(|| format!("the freelist has {counted} pages, the header says {total}")));
        }
        if !possible(next, view) {
            return Ok(Some(format!("the freelist names page {next} of {}", view.commit())));
        }
        view.read_page(next, &mut page)?;
        let leaves = be(&page, 4) as usize;
        if leaves > usable / 4 - 2 {
            return Ok(Some(format!("the freelist has {leaves} entries on page {next}")));
        }
        if let Some(leaf) = (0..leaves).map(|n| be(&page, 8 + 4 * n)).find(|leaf| !possible(*leaf, view)) {
            return Ok(Some(format!("the freelist names page {leaf} of {}", view.commit())));
        }
        counted = counted.saturating_add(1 + leaves as u32);
        if counted > total {
            return Ok(Some(format!("the freelist has more than the {total} pages the header says")));
        }
        next = be(&page, 0);
    }
    Ok(None)
}
