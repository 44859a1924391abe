//! What is stored already, in the last snapshot and in this attempt; by digest, so that nothing is sent twice.

use crate::entry::Digest;
use crate::manifest::Object;
use crate::path::RelPath;
use crate::state::State;
use std::collections::HashMap;

/// See the module.
pub(in crate::write) struct Uploads {
    pub(super) write_id: String,
    /// Objects that this attempt has begun.
    pub(super) made: usize,
    pub(super) objects: Vec<Object>,
    /// What this attempt has sent: its object, and its name inside it.
    pub(super) sent: HashMap<Digest, (u32, RelPath)>,
    /// [`State::by_digest`], made when the first file is read: most looks read none.
    stored: Option<Vec<u32>>,
}

impl Uploads {
    pub(in crate::write) fn new(write_id: &str, state: Option<&State>) -> Uploads {
        Uploads {
            write_id: write_id.to_owned(),
            made: 0,
            objects: state.map_or_else(Vec::new, |s| s.objects().to_vec()),
            sent: HashMap::new(),
            stored: None,
        }
    }

    /// Where bytes with this digest are stored; `state` is the last snapshot.
    pub(super) fn find(&mut self, digest: &Digest, state: Option<&State>) -> Option<(u32, RelPath)> {
        self.sent.get(digest).cloned().or_else(|| {
            let state = state?;
            let order = self.stored.get_or_insert_with(|| state.by_digest());
            state.with_digest(order, digest)
        })
    }
}
