//! Files small enough for a pack: packed, or pointed to where their bytes are stored already.

use super::{Drafter, Upload, new_content};
use crate::entry::{Content, Digest, Entry, Kind};
use crate::layout::{PACKS, pack_key};
use crate::manifest::Object;
use crate::pack::Packer;
use crate::path::RelPath;
use crate::scan::{Found, Look};
use crate::write::digest_of_nothing;
use crate::{Error, Result};
use seal::Protection;

impl Drafter {
    /// A file that fits into a pack.
    pub(super) fn small(&mut self, found: &Found, look: Look, bytes: &[u8]) -> Result<Content> {
        let mut content = new_content(&look, bytes.len() as u64, Digest::of(bytes));
        if bytes.is_empty() || self.refer(&mut content, &found.path) {
            return Ok(content);
        }
        if self.packer.is_none() {
            self.room.blocking_recv().ok_or(Error::Stopped("sending"))?;
            let sealed = matches!(self.settings.protection, Protection::Sealed(_));
            let key = pack_key(&self.uploads.write_id, self.uploads.made, sealed);
            self.uploads.made += 1;
            self.packer_index = self.reserve(&key);
            self.packer = Some(Packer::new(key, &self.settings.protection)?);
        }
        content.object = Some(self.packer_index);
        let entry = Entry {
            path: found.path.clone(),
            kind: Kind::File(content.clone()),
            mode: look.mode,
            uid: look.uid,
            gid: look.gid,
            mtime: look.mtime,
            xattrs: self.attributes(&found.path)?.unwrap_or_default(),
        };
        let packer = self.packer.as_mut().expect("made above");
        packer.add(&entry, bytes)?;
        let full = packer.is_full();
        self.uploads.sent.insert(content.sha256, (self.packer_index, found.path.clone()));
        self.uploaded += 1;
        if full {
            self.send_pack()?;
        }
        Ok(content)
    }

    /// Points to bytes that are stored already, if they are.
    pub(super) fn refer(&mut self, content: &mut Content, path: &RelPath) -> bool {
        let known = self.uploads.find(&content.sha256, self.state.as_deref());
        let Some((object, member)) = known.filter(|(object, _)| !self.rewrite.contains(object)) else {
            return false;
        };
        content.object = Some(object);
        let is_pack = self.uploads.objects[object as usize].key.starts_with(PACKS);
        content.member = Some(member).filter(|m| is_pack && m != path);
        true
    }

    /// An index for an object that is not finished yet.
    pub(super) fn reserve(&mut self, key: &str) -> u32 {
        let index = u32::try_from(self.uploads.objects.len()).expect("fewer objects than files");
        self.uploads.objects.push(Object {
            key: key.to_owned(),
            size: 0,
            sha256: digest_of_nothing(),
            raw: 0,
        });
        index
    }

    pub(super) fn send_pack(&mut self) -> Result<()> {
        let Some(packer) = self.packer.take() else { return Ok(()) };
        self.steps.at("finish a pack")?;
        let packed = packer.finish()?;
        self.uploads.objects[self.packer_index as usize] = packed.object.clone();
        self.hand_over(Upload::Pack(packed))
    }

    pub(super) fn hand_over(&self, upload: Upload) -> Result<()> {
        // The sender has failed and says why.
        self.sender.blocking_send(upload).map_err(|_| Error::Stopped("sending"))
    }
}
