//! What transaction n does: a pure function of the seed, the sizes and n.
//!
//! Every transaction books 1 to 6 events on accounts, now and then forgets the events of an older transaction, and
//! stores or deletes up to 3 documents; every 97th is a big one (100 documents), so that the page cache spills.

use sha2::{Digest, Sha256};

use crate::rng::Rng;

/// Accounts there are.
pub(super) const ACCOUNTS: u64 = 1000;

/// Every how many transactions one is big.
const BIG: u64 = 97;

/// What a database was created with; stored in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) seed: u64,
    pub(super) documents: u64,
    pub(super) blob: u64,
}

/// A document is stored with this many bytes, or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DocumentOp {
    pub(super) id: u64,
    pub(super) size: Option<u64>,
}

/// The effects of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effects {
    pub(super) seq: u64,
    /// Account and amount.
    pub(super) events: Vec<(u64, i64)>,
    /// The transaction whose events are deleted.
    pub(super) forget: Option<u64>,
    pub(super) documents: Vec<DocumentOp>,
}

impl Effects {
    pub(super) fn of(shape: &Shape, seq: u64) -> Effects {
        let mut rng = Rng::of(&[shape.seed, seq]);
        let count = rng.range(1, 6);
        let events = (0..count).map(|_| (rng.below(ACCOUNTS), rng.below(2001) as i64 - 1000)).collect();
        let forget = (seq > 1 && rng.one_in(3)).then(|| rng.range(1, seq - 1));
        let count = if seq.is_multiple_of(BIG) { 100 } else { rng.below(4) };
        let documents = (0..count)
            .map(|_| DocumentOp { id: rng.below(shape.documents.max(1)), size: size(&mut rng, shape.blob) })
            .collect();
        Effects { seq, events, forget, documents }
    }

    /// The sum of all amounts.
    pub(super) fn sum(&self) -> i64 {
        self.events.iter().map(|(_, amount)| amount).sum()
    }

    /// The digest of the ledger after this transaction.
    pub(super) fn chain(&self, previous: &[u8]) -> Vec<u8> {
        let mut hasher = Sha256::new();
        hasher.update(previous);
        hasher.update(format!("{self:?}"));
        hasher.finalize().to_vec()
    }
}

/// One in five is a deletion, one in fifty ten times as big as usual (overflow pages).
fn size(rng: &mut Rng, blob: u64) -> Option<u64> {
    if rng.one_in(5) {
        return None;
    }
    let most = if rng.one_in(50) { blob * 10 } else { blob };
    Some(rng.below(most + 1))
}

/// The bytes of a document, which name the transaction that stored them.
pub(super) fn body(shape: &Shape, seq: u64, op: &DocumentOp) -> Vec<u8> {
    Rng::of(&[shape.seed, seq, op.id]).text(op.size.unwrap_or(0) as usize)
}
