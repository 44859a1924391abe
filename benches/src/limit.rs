//! The limit of a restore: the same objects as local files, decoded on all cores, written in sequence, synced.
//!
//! It proves what a restore proves (every checksum of every file), but has no network, no plan and no bound on memory.

use anyhow::{Context, Result, ensure};
use ltx::{
    Decoder, HEADER_SIZE, Header, IndexReader, IndexTail, PageSize, Piece, decode_run, parse_index_tail,
};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

/// Compressed bytes decoded at a time.
const RUN: u64 = 2 << 20;

/// Newest version of each page beside the base, with the position of its file.
type Pages = HashMap<u32, (usize, Vec<u8>)>;

/// Puts the database together at `output` from the file with every page and those after it, in their order; seconds.
pub(crate) fn assemble(files: &[PathBuf], output: &Path) -> Result<f64> {
    let started = Instant::now();
    let (base, increments) = files.split_first().context("the replica is empty")?;
    let (newer, commit) = overlay(increments)?;
    let out = File::create(output)?;
    let base = Base::open(base)?;
    let commit = commit.unwrap_or(base.header.commit);
    base.write(&newer, commit, &out)?;
    let size = base.header.page_size.bytes() as u64;
    let mut grown: Vec<_> =
        newer.iter().filter(|(pgno, _)| (base.header.commit + 1..=commit).contains(pgno)).collect();
    grown.sort();
    for (pgno, (_, page)) in grown {
        out.write_all_at(page, u64::from(pgno - 1) * size)?;
    }
    out.set_len(u64::from(commit) * size)?;
    out.sync_all()?;
    Ok(started.elapsed().as_secs_f64())
}

/// Decodes all increments, on all cores; the newest pages, and the size of the database in the newest file.
fn overlay(files: &[PathBuf]) -> Result<(Pages, Option<u32>)> {
    let next = AtomicUsize::new(0);
    let merged: Mutex<(Pages, usize, Option<u32>)> = Mutex::default();
    let work = || -> Result<()> {
        while let Some((at, path)) =
            { Some(next.fetch_add(1, Ordering::SeqCst)) }.and_then(|i| Some((i, files.get(i)?)))
        {
            let bytes = fs::read(path)?;
            let mut decoder = Decoder::new(&bytes[..])?;
            let (commit, mut page) = (decoder.header().commit, vec![0; decoder.header().page_size.bytes()]);
            let mut own = Vec::new();
            while let Some(pgno) = decoder.next_page(&mut page)? {
                own.push((pgno, page.clone()));
            }
            let mut merged = merged.lock().expect("no thread panics");
            for (pgno, page) in own {
                let known = merged.0.get(&pgno).is_some_and(|(newer, _)| *newer > at);
                if !known {
                    merged.0.insert(pgno, (at, page));
                }
            }
            if at >= merged.1 {
                (merged.1, merged.2) = (at, Some(commit));
            }
        }
        Ok(())
    };
    on_all_cores(&work)?;
    let (pages, _, commit) = merged.into_inner().expect("no thread panics");
    Ok((pages, commit))
}

fn on_all_cores(work: &(impl Fn() -> Result<()> + Sync)) -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}

/// The file with every page.
struct Base {
    file: File,
    head: [u8; HEADER_SIZE],
    header: Header,
    runs: Vec<Range<u64>>,
    /// Everything from the index on.
    tail: Vec<u8>,
}

impl Base {
    fn open(path: &Path) -> Result<Base> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut head = [0; HEADER_SIZE];
        file.read_exact_at(&mut head, 0)?;
        let header = Header::from_bytes(&head)?.header;
        let mut from = size.saturating_sub(64 << 10);
        let (tail, offset) = loop {
            let mut tail = vec![0; (size - from) as usize];
            file.read_exact_at(&mut tail, from)?;
            match parse_index_tail(&tail, size)? {
                IndexTail::Complete { offset, .. } => {
                    break (tail.split_off((offset - from) as usize), offset);
                }
                IndexTail::NeedFrom(earlier) => from = earlier,
            }
        };
        let index = &tail[..tail.len() - ltx::TRAILER_SIZE];
        let mut runs: Vec<Range<u64>> = Vec::new();
        for entry in IndexReader::new(index, &header, offset) {
            let entry = entry?;
            match runs.last_mut().filter(|run| run.end - run.start < RUN) {
                Some(run) => run.end = entry.offset + entry.size,
                None => runs.push(entry.offset..entry.offset + entry.size),
            }
        }
        Ok(Base { file, head, header, runs, tail })
    }

    /// Decodes in parallel, writes in order.
    fn write(&self, newer: &Pages, commit: u32, out: &File) -> Result<()> {
        let cores = thread::available_parallelism()?.get();
        let next = AtomicUsize::new(0);
        let size = self.header.page_size;
        let pieces = thread::scope(|scope| -> Result<Vec<Piece>> {
            let (send, decoded) = sync_channel(2 * cores);
            for _ in 0..cores {
                let (send, next) = (send.clone(), &next);
                scope.spawn(move || {
                    while let Some((at, run)) = claim(next, &self.runs) {
                        if send.send((at, self.decode(run, size, newer, commit))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(send);
            let (mut waiting, mut pieces) = (BTreeMap::new(), Vec::new());
            for (at, run) in decoded {
                waiting.insert(at, run?);
                while let Some((first, bytes, piece)) = waiting.remove(&pieces.len()) {
                    out.write_all_at(&bytes, u64::from(first - 1) * size.bytes() as u64)?;
                    pieces.push(piece);
                }
            }
            ensure!(waiting.is_empty() && pieces.len() == self.runs.len(), "a part is missing");
            Ok(pieces)
        })?;
        let (index, trailer) = self.tail.split_at(self.tail.len() - ltx::TRAILER_SIZE);
        ltx::verify_pieces(&self.head, pieces.into_iter(), index, trailer.try_into()?)?;
        Ok(())
    }

    /// First page number, the bytes from there on, and the proof.
    fn decode(
        &self,
        run: &Range<u64>,
        size: PageSize,
        newer: &Pages,
        commit: u32,
    ) -> Result<(u32, Vec<u8>, Piece)> {
        let mut compressed = vec![0; (run.end - run.start) as usize];
        self.file.read_exact_at(&mut compressed, run.start)?;
        let (mut first, mut bytes) = (0, Vec::with_capacity(2 * compressed.len()));
        let piece = decode_run(&compressed, size, run.start, &mut |pgno, page| {
            first = if first == 0 { pgno } else { first };
            if pgno <= commit {
                bytes.resize((pgno - first) as usize * size.bytes(), 0); // SQLite's lock page is in no file
                bytes.extend_from_slice(newer.get(&pgno).map_or(page, |(_, page)| page));
            }
            Ok(())
        })?;
        Ok((first.max(1), bytes, piece))
    }
}

fn claim<'a>(next: &AtomicUsize, runs: &'a [Range<u64>]) -> Option<(usize, &'a Range<u64>)> {
    let at = next.fetch_add(1, Ordering::SeqCst);
    Some((at, runs.get(at)?))
}
