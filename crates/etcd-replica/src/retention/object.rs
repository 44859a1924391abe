//! A snapshot as the planner sees it.

use super::LATE;
use serde::Serialize;

/// What is known about an object's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Proven and read back.
    Verified,
    /// A sound manifest, but nobody has read the object back.
    Unproven,
    /// A live member differs.
    Mismatch,
    /// Proven wrong later, or its manifest cannot be read.
    Failed,
    /// No manifest: a running or broken upload.
    Partial,
    /// A manifest without its snapshot.
    Orphan,
    /// Not this cluster's.
    Foreign,
}

/// One snapshot as the planner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name in the store.
    pub id: String,
    /// When its stream was opened, Unix s.
    pub taken: i64,
    /// etcd revision.
    pub revision: i64,
    /// See [`State`].
    pub state: State,
    /// The store's time of the last change, Unix s.
    pub modified: i64,
    /// The store's time of the last change to anything beside it, its proof included, Unix s.
    pub touched: i64,
    /// Its time is not believed: clocks differed when it was made, or the store's time says otherwise.
    pub suspect: bool,
    /// Pinned by a person.
    pub pinned: bool,
    /// The store refuses to delete it until then, Unix s.
    pub locked_until: Option<i64>,
    /// A drill restored it.
    pub drilled: bool,
}

impl Object {
    /// Whether the store's time contradicts its own.
    pub fn is_late(taken: i64, modified: i64) -> bool {
        (modified - taken).abs() > LATE
    }

    pub(crate) fn is_candidate(&self) -> bool {
        matches!(self.state, State::Verified | State::Unproven | State::Mismatch | State::Failed)
    }
}
