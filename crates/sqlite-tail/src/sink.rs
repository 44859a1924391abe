//! Where copied pages go.

use std::io;

/// Takes the frames of committed transactions in WAL order; the last version of a page wins.
///
/// What was delivered by a call that ended with an error must not be shipped before a later call succeeds: the same
/// frames come again, from the position, and overwrite what is there. A position never moves back, so a batch that
/// already holds pages from earlier, successful calls must be kept.
pub trait Sink {
    /// One page of a transaction.
    fn page(&mut self, pgno: u32, page: &[u8]) -> io::Result<()>;
    /// The pages since the last commit are one transaction, after which the database has `db_pages` pages.
    fn commit(&mut self, db_pages: u32) -> io::Result<()>;
}
