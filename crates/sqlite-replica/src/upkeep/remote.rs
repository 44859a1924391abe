//! Reading stored files as streams from code that is not async: merging and read-back, off the runtime's thread.

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::sealed::locked;
use crate::upkeep::holdings::Holding;
use crate::write::{Host, Leash, Leashed, offload};
use bytes::{Buf, Bytes};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::sync::Arc;
use store::Store;

/// An object, requested when its first byte is read; memory is one chunk of the body (P7).
pub(crate) struct RemoteFile {
    store: Store,
    key: String,
    host: Arc<dyn Host>,
    body: Option<BoxStream<'static, store::Result<Bytes>>>,
    chunk: Bytes,
}

impl RemoteFile {
    pub(crate) fn new(store: Store, key: String, host: Arc<dyn Host>) -> RemoteFile {
        RemoteFile { store, key, host, body: None, chunk: Bytes::new() }
    }
}

impl Read for RemoteFile {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let mut next = None;
            if self.body.is_none() {
                let (store, key) = (self.store.clone(), self.key.clone());
                let mut got = Err(store::Error::NotFound { key: key.clone() });
                self.host.finish(Box::pin(async { got = store.get(&key, None).await }));
                self.body = Some(got.map_err(io::Error::other)?.stream);
            }
            let body = self.body.as_mut().expect("opened above");
            self.host.finish(Box::pin(async { next = body.next().await }));
            match next {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let n = into.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut into[..n]);
        Ok(n)
    }
}

/// An error of decoding; one of the store underneath comes back as what it is.
pub(crate) fn unwrap(place: &str, error: ltx::Error) -> Error {
    if let ltx::Error::Io(io) = &error
        && let Some(store) = io.get_ref().and_then(|inner| inner.downcast_ref::<store::Error>())
    {
        return Error::Store(store.clone());
    }
    Error::ltx(place)(error)
}

/// Reads a stored file to its end and proves every byte of it; gives the bytes read.
fn read_back(file: RemoteFile, name: ltx::FileName, leash: Leash) -> Result<u64> {
    let key = file.key.clone();
    let failed = |e| unwrap(&key, e);
    let mut head = [0; 32];
    let mut file = Leashed(file, leash);
    let have = read_full(&mut file, &mut head).map_err(|e| failed(ltx::Error::Io(e)))?;
    if seal::is_sealed(&head[..have]) {
        return Err(locked(&key));
    }
    let file = Read::chain(Read::take(io::Cursor::new(head), have as u64), file);
    let decoder = ltx::Decoder::new(file).map_err(failed)?;
    let header = *decoder.header();
    if (header.min_txid, header.max_txid) != (name.min, name.max) {
        return Err(Error::Damaged {
            what: format!("{key}: its header says TXID {}-{}", header.min_txid, header.max_txid),
            hint: "the object is not the one its name says".into(),
        });
    }
    Ok(decoder.finish().map_err(failed)?.size)
}

/// Reads `files` back, one after the other; gives the bytes read.
pub(crate) async fn prove(
    store: &Store,
    host: &Arc<dyn Host>,
    files: &[Holding],
    leash: &Leash,
) -> Result<u64> {
    let layout = Layout::of(store.kind());
    let mut read = 0;
    for file in files {
        let remote = RemoteFile::new(store.clone(), file.key(layout), host.clone());
        let (name, leash) = (file.name, leash.clone());
        read += offload(&**host, move || read_back(remote, name, leash)).await?;
    }
    Ok(read)
}

/// Compares `files` with the digests of what was sent, one after the other; gives the bytes read.
pub(crate) async fn compare(store: &Store, files: Vec<(Holding, String)>, leash: &Leash) -> Result<u64> {
    let layout = Layout::of(store.kind());
    let mut read = 0;
    for (file, expected) in files {
        let key = file.key(layout);
        let (mut body, mut digest) = (store.get(&key, None).await?.stream, Sha256::new());
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            leash.check().map_err(|_| Error::Stopped)?;
            digest.update(&chunk);
            read += chunk.len() as u64;
        }
        if hex::encode(digest.finalize()) != expected {
            return Err(Error::Object {
                key,
                what: "it is not what was sent: its digest is another".into(),
                hint: "a snapshot will bridge it; `restore verify` with the identity says what is provable"
                    .into(),
            });
        }
    }
    Ok(read)
}

/// Bytes of what lies under a key: of what was sealed twice the first one, which has another size. A LIST, which every credential may ask.
pub(crate) async fn stored_size(store: &Store, key: &str) -> Result<u64> {
    let found = store.list(key, None).try_next().await?.filter(|object| object.key == key);
    Ok(found.ok_or_else(|| store::Error::NotFound { key: key.to_owned() })?.size)
}

fn read_full(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < into.len() {
        match from.read(&mut into[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}
