//! Objects of Litestream 0.3 on their way: fetched into an unlinked file, decrypted and unpacked as a stream (P7).

use super::Object;
use crate::error::{Error, Result};
use crate::restore::object::GONE;
use futures::TryStreamExt;
use lz4_flex::frame::FrameDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Progress, Store};

/// First bytes of everything age wrote.
const AGE: &[u8] = b"age-encryption.org/";

/// The object as stored.
pub(super) async fn fetch(
    store: &Store,
    object: &Object,
    dir: &Path,
    progress: &Arc<Progress>,
) -> Result<File> {
    let failed = || Error::io(dir, "spool an object in");
    let mut file = tempfile::tempfile_in(dir).map_err(failed())?;
    let gone = |error: store::Error| match error {
        store::Error::NotFound { .. } => damaged(&object.key, GONE),
        other => other.into(),
    };
    let mut body = store.get(&object.key, None).await.map_err(gone)?.stream;
    while let Some(chunk) = body.try_next().await? {
        progress.add(chunk.len() as u64);
        file.write_all(&chunk).map_err(failed())?;
    }
    file.rewind().map_err(failed())?;
    Ok(file)
}

/// What was stored, decrypted if it is encrypted, and unpacked.
pub(super) fn unpack(
    key: &str,
    mut file: File,
    identities: Option<&seal::Identities>,
) -> Result<Box<dyn Read + Send>> {
    let mut head = [0; AGE.len()];
    let read = read_full(&mut file, &mut head).and_then(|n| file.rewind().map(|()| n));
    let n = read.map_err(|e| damaged(key, &e.to_string()))?;
    let plain = BufReader::with_capacity(256 << 10, file);
    if head[..n] != *AGE {
        return Ok(Box::new(FrameDecoder::new(plain)));
    }
    let Some(identities) = identities else {
        return Err(Error::Refused {
            what: format!("{key} is encrypted with age"),
            hint: "give the identity with --identity FILE or HIGHWATER_IDENTITY_FILE".into(),
        });
    };
    match seal::Unsealed::open(plain, identities) {
        Ok(opened) => Ok(Box::new(FrameDecoder::new(opened))),
        Err(error @ seal::Error::NotForUs { .. }) => Err(Error::Refused {
            what: format!("{key}: {error}"),
            hint: "give the identity it was encrypted for".into(),
        }),
        Err(error) => Err(damaged(key, &error.to_string())),
    }
}

pub(super) fn damaged(key: &str, what: &str) -> Error {
    Error::Object {
        key: key.to_owned(),
        what: what.to_owned(),
        hint: "restore a point before it with --timestamp (`restore list`)".into(),
    }
}

/// One WAL, put together from its segments in an unlinked file.
pub(super) struct Wal {
    file: File,
    dir: PathBuf,
    len: u64,
}

impl Wal {
    pub(super) fn new(dir: &Path) -> Result<Wal> {
        let file = tempfile::tempfile_in(dir).map_err(Error::io(dir, "spool a WAL in"))?;
        Ok(Wal { file, dir: dir.to_owned(), len: 0 })
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn append(&mut self, key: &str, from: &mut dyn Read) -> Result<()> {
        let mut chunk = vec![0; 256 << 10];
        loop {
            let n = match from.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(damaged(key, &format!("it cannot be unpacked: {e}"))),
            };
            self.file.write_all(&chunk[..n]).map_err(Error::io(&self.dir, "spool a WAL in"))?;
            self.len += n as u64;
        }
    }

    /// From its beginning.
    pub(super) fn reader(&mut self) -> Result<BufReader<File>> {
        let again = self.file.rewind().and_then(|()| self.file.try_clone());
        Ok(BufReader::with_capacity(256 << 10, again.map_err(Error::io(&self.dir, "read a WAL in"))?))
    }
}

fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match from.read(&mut into[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}
