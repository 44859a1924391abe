//! Files too big for a pack: an object of their own, streamed while they are read.
//!
//! Read twice: once for the digest, which tells whether the bytes are stored already, and once to send them. If the second
//! reading differs the upload is thrown away, and the file counts as unstable.

use super::{Drafter, Upload, new_content};
use crate::chest::{Chest, Digesting};
use crate::entry::Content;
use crate::layout::big_key;
use crate::manifest::Object;
use crate::read::{self, Reading, Stamps};
use crate::scan::Found;
use crate::{Error, Result};
use bytes::Bytes;
use futures::stream::BoxStream;
use seal::Protection;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::{PutOptions, Store};

/// An object under way.
pub(super) struct Stream {
    key: String,
    body: BoxStream<'static, io::Result<Bytes>>,
    bound: u64,
    given_up: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Stream {
    /// Sends it; 0 bytes if the reader gave it up.
    pub(super) async fn send(self, store: &Store) -> Result<u64> {
        match store.put_stream(&self.key, self.body, Some(self.bound), &PutOptions::create()).await {
            Ok(_) => Ok(self.sent.load(Ordering::Relaxed)),
            Err(_) if self.given_up.load(Ordering::Relaxed) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }
}

impl Drafter {
    pub(super) fn big(&mut self, found: &Found, stamps: &mut Stamps<'_>) -> Result<Reading<Content>> {
        let (look, sha256) = match read::digest(&self.settings.root, &found.path, Some(stamps))? {
            Reading::Stable(look, sha256) => (look, sha256),
            Reading::Unstable => return Ok(Reading::Unstable),
            Reading::Unreadable(error) => return Ok(Reading::Unreadable(error)),
            Reading::Gone => return Ok(Reading::Gone),
        };
        let mut content = new_content(&look, look.size, sha256);
        if self.refer(&mut content, &found.path) {
            return Ok(Reading::Stable(look, content));
        }
        let sealed = matches!(self.settings.protection, Protection::Sealed(_));
        let key = big_key(&self.uploads.write_id, self.uploads.made, sealed);
        self.uploads.made += 1;
        let (feed, body) = store::feed();
        let (given_up, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        // zstd and age never grow data by more than this.
        let bound = look.size + look.size / 64 + (1 << 20);
        let stream = Stream { key: key.clone(), body, bound, given_up: given_up.clone(), sent: sent.clone() };
        self.hand_over(Upload::Big(stream))?;
        // Said before the feed is dropped, which breaks the upload off.
        let give_up = || given_up.store(true, Ordering::Relaxed);
        let place = self.place(&found.path);
        let mut file = match read::open(&place) {
            Ok(file) => file,
            Err(errno) => {
                give_up();
                return read::failed(&place, "open", errno.into());
            }
        };
        let mut chest =
            Chest::new(Digesting::new(feed), &self.settings.protection).map_err(Error::seal(&key))?;
        let mut reading = Digesting::new((&mut file).take(look.size + 1));
        // Only the file's own errors carry a number of the system; those of sealing and sending do not.
        if let Err(e) = io::copy(&mut reading, &mut chest) {
            give_up();
            return read::failed(&place, "read or send", e);
        }
        let (_, _, again) = reading.digest();
        match read::look(&file) {
            Ok(now) if again == sha256 && now.same_version(&look) => {}
            Ok(_) => {
                give_up();
                return Ok(Reading::Unstable);
            }
            Err(e) => {
                give_up();
                return read::failed(&place, "look at", e);
            }
        }
        let (feed, size, stored) = chest.finish().map_err(Error::seal(&key))?.digest();
        sent.store(size, Ordering::Relaxed);
        feed.finish().map_err(|e| Error::seal(&key)(seal::Error::Io(e)))?;
        let index = self.reserve(&key);
        self.uploads.objects[index as usize] = Object { key, size, sha256: stored, raw: content.size };
        self.uploads.sent.insert(sha256, (index, found.path.clone()));
        content.object = Some(index);
        self.uploaded += 1;
        Ok(Reading::Stable(look, content))
    }
}
