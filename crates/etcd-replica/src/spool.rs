//! The local spool: a snapshot on disk that nobody else can read, and that no exit path leaves behind.
//!
//! The source is drained at full speed (a slow reader pins pages in etcd), and proofs need random access to plain pages, while
//! the shipper holds no private key. So the spool is sealed in blocks with a random key that lives only in this process
//! (AES-256-GCM where the processor has instructions for it, else ChaCha20-Poly1305; the block number is the nonce, and a key is used for
//! one spool). The file is unlinked as soon as it is open: a kill -9 leaves nothing either.
//! Memory: one block while writing, [`CACHED`] blocks while proving and none later (P7).
//! What it does not do: live on a tmpfs, which would be memory after all.

use crate::bolt::ReadAt;
use crate::{Error, Result};
use nix::sys::statfs::{self, FsType};
use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes of data per block.
const BLOCK: usize = 16 << 10;
const TAG: usize = 16;
/// Blocks in memory while reading: 8 MiB.
const CACHED: usize = 512;
/// Left free for others.
const HEADROOM: u64 = 16 << 20;

/// A spool that is being written.
pub(crate) struct SpoolWriter {
    file: File,
    key: LessSafeKey,
    block: Vec<u8>,
    blocks: u64,
}

/// A complete spool.
pub struct Spool {
    file: File,
    key: LessSafeKey,
    size: u64,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    blocks: HashMap<u64, Vec<u8>>,
    order: std::collections::VecDeque<u64>,
}

/// Refuses a directory that is memory.
pub(crate) fn check_dir(dir: &Path) -> Result<()> {
    let what = format!("spool directory {}", dir.display());
    let stat = statfs::statfs(dir).map_err(|errno| Error::local(what.clone())(errno.into()))?;
    const RAMFS: FsType = FsType(0x8584_58f6);
    if stat.filesystem_type() == statfs::TMPFS_MAGIC || stat.filesystem_type() == RAMFS {
        return Err(Error::Usage(format!(
            "{what} is a tmpfs: the snapshot would be held in memory; use a disk-backed volume"
        )));
    }
    Ok(())
}

/// Refuses a snapshot for which there is no room, before it is drained.
pub(crate) fn check_space(dir: &Path, bytes: u64) -> Result<()> {
    let what = format!("spool directory {}", dir.display());
    let stat = statfs::statfs(dir).map_err(|errno| Error::local(what.clone())(errno.into()))?;
    let free = stat.blocks_available().saturating_mul(u64::try_from(stat.block_size()).unwrap_or(0));
    let needed = bytes.saturating_add(bytes / (BLOCK / TAG) as u64).saturating_add(HEADROOM);
    if free < needed {
        return Err(Error::Local {
            what: format!("{what} has {free} bytes free, the snapshot needs {needed}"),
            source: io::ErrorKind::StorageFull.into(),
        });
    }
    Ok(())
}

impl SpoolWriter {
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(dir)
            .map_err(Error::local(format!("create a spool file in {}", dir.display())))?;
        let mut secret = [0; 32];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| Error::local("make a key for the spool")(io::Error::other("no randomness")))?;
        let key = UnboundKey::new(cipher(), &secret).expect("both ciphers take 32 bytes");
        Ok(Self { file, key: LessSafeKey::new(key), block: Vec::with_capacity(BLOCK + TAG), blocks: 0 })
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let count = bytes.len().min(BLOCK - self.block.len());
            let (now, later) = bytes.split_at(count);
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.key
            .seal_in_place_append_tag(nonce(self.blocks), Aad::empty(), &mut self.block)
            .expect("a block is far below the cipher's bound");
        let at = self.blocks * (BLOCK + TAG) as u64;
        self.file.write_all_at(&self.block, at).map_err(Error::local("write the spool"))?;
        self.blocks += 1;
        self.block.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Spool> {
        let size = self.blocks * BLOCK as u64 + self.block.len() as u64;
        if !self.block.is_empty() {
            self.flush()?;
        }
        Ok(Spool { file: self.file, key: self.key, size, cache: Mutex::default() })
    }
}

/// In software AES is slow, and the member waits for us.
fn cipher() -> &'static Algorithm {
    #[cfg(target_arch = "x86_64")]
    let fast = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let fast =
        std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let fast = false;
    if fast { &AES_256_GCM } else { &CHACHA20_POLY1305 }
}

fn nonce(block: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&block.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Spool {
    /// Reads a block into `bytes`, whatever was in them.
    fn block(&self, number: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let rest = self.size - number * BLOCK as u64;
        let data = usize::try_from(rest).unwrap_or(BLOCK).min(BLOCK);
        bytes.resize(data + TAG, 0);
        self.file.read_exact_at(bytes, number * (BLOCK + TAG) as u64)?;
        let opened = self.key.open_in_place(nonce(number), Aad::empty(), bytes).map(|data| data.len());
        let length = opened
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the spool was altered on disk"))?;
        bytes.truncate(length);
        Ok(())
    }

    /// Gives the memory of the proof back before the upload takes its own; reading again fills it again.
    pub(crate) fn forget(&self) {
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = Cache::default();
    }

    /// Reads from the beginning, without the cache.
    pub(crate) fn reader(self: &std::sync::Arc<Self>) -> SpoolReader {
        SpoolReader { spool: self.clone(), number: 0, block: Vec::new(), at: 0 }
    }
}

impl ReadAt for Spool {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut at, mut done) = (offset, 0);
        while done < buffer.len() {
            let number = at / BLOCK as u64;
            if !cache.blocks.contains_key(&number) {
                let mut block = cache.room();
                self.block(number, &mut block)?;
                cache.put(number, block);
            }
            let block = &cache.blocks[&number];
            let start = (at % BLOCK as u64) as usize;
            let count = (block.len() - start).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&block[start..start + count]);
            done += count;
            at += count as u64;
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size
    }
}

impl Cache {
    /// A buffer for one block more. The block that came first leaves first: a walk rarely comes back to what it left.
    fn room(&mut self) -> Vec<u8> {
        if self.order.len() < CACHED {
            return Vec::with_capacity(BLOCK + TAG);
        }
        self.order.pop_front().and_then(|oldest| self.blocks.remove(&oldest)).unwrap_or_default()
    }

    fn put(&mut self, number: u64, block: Vec<u8>) {
        self.order.push_back(number);
        self.blocks.insert(number, block);
    }
}

/// The spool as a stream.
pub(crate) struct SpoolReader {
    spool: std::sync::Arc<Spool>,
    number: u64,
    block: Vec<u8>,
    at: usize,
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            if self.number * BLOCK as u64 >= self.spool.size {
                return Ok(0);
            }
            self.spool.block(self.number, &mut self.block)?;
            self.number += 1;
            self.at = 0;
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_there_is_no_room_for_a_size_that_somebody_made_up() {
        let dir = tempfile::tempdir().unwrap();
        check_space(dir.path(), 0).unwrap();
        for bytes in [u64::MAX, u64::MAX - HEADROOM, u64::MAX / 2] {
            let refused = check_space(dir.path(), bytes).unwrap_err();
            assert!(refused.to_string().contains("bytes free"), "{bytes}: {refused}");
        }
    }

    #[test]
    fn p8_the_spool_gives_back_what_was_written_and_shows_nothing_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let data: Vec<u8> = b"secret-of-the-cluster ".iter().copied().cycle().take(3 * BLOCK + 77).collect();
        let mut writer = SpoolWriter::create(dir.path()).unwrap();
        data.chunks(1000).for_each(|chunk| writer.write(chunk).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "unlinked while it is open");
        let spool = std::sync::Arc::new(writer.finish().unwrap());
        let mut back = Vec::new();
        spool.reader().read_to_end(&mut back).unwrap();
        assert_eq!(back, data);
        let mut part = vec![0; BLOCK];
        spool.read_at(BLOCK as u64 - 5, &mut part).unwrap();
        assert_eq!(part, data[BLOCK - 5..2 * BLOCK - 5]);
        assert!(spool.read_at(data.len() as u64 - 1, &mut [0; 2]).is_err());
        let mut raw = vec![0; 2 * BLOCK];
        spool.file.read_exact_at(&mut raw, 0).unwrap();
        assert!(!raw.windows(6).any(|window| window == b"secret"));
        spool.file.write_all_at(&[raw[9] ^ 1], 9).unwrap();
        let altered = spool.reader().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(altered.to_string().contains("altered"), "{altered}");
    }
}
