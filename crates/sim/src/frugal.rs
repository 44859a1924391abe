//! A transaction of an application whose SQLite does not write the free pages of a file that grew.
//!
//! SQLite's own WAL code writes every page it allocated, free again or not, so nothing the application of this simulator can do in SQL
//! leaves a grown page without a frame; other versions and other programs that speak the format do (`litestream#1199`). So the
//! last transaction of a WAL that nobody has open is written anew without those frames: what is read in their place are zeros,
//! which is a committed state like any other.

use crate::oracle::Oracle;
use crate::volume::Volume;
use anyhow::{Context, Result};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

const HEADER: usize = 32;
const FRAME: usize = 24;

/// Grows the database by pages that are free and without frames; the number of them. Nobody has it open, and nothing dies meanwhile.
pub(crate) fn grow(volume: &mut Volume, oracle: &mut Oracle) -> Result<usize> {
    volume.close_all();
    let path = volume.database();
    let connection = Connection::open(&path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let number = |what: &str| connection.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, u32>(0));
    let (size, before, free) = (number("page_size")?, number("page_count")?, number("freelist_count")?);
    connection.execute_batch(&format!(
        "PRAGMA wal_autocheckpoint=0; BEGIN IMMEDIATE; CREATE TABLE grown(x); INSERT INTO grown VALUES(zeroblob({})); DROP TABLE grown; COMMIT",
        size * (free + 12)
    ))?;
    let bytes = crate::sqlite::pages(&connection);
    volume.note(oracle)?;
    volume.close_all();
    drop(connection);
    let gone: BTreeSet<u32> =
        leaves(&bytes, size as usize).into_iter().filter(|pgno| *pgno > before).collect();
    let wal = path.with_extension("db-wal");
    let (from, tail) =
        rewritten(&fs::read(&wal)?, size as usize, &gone).context("no transaction in the wal")?;
    let file = OpenOptions::new().write(true).open(&wal)?;
    file.write_all_at(&tail, from as u64)?;
    file.set_len((from + tail.len()) as u64)?;
    file.sync_data()?;
    // What SQLite knows of the WAL has to be found anew.
    fs::remove_file(path.with_extension("db-shm"))?;
    File::open(&volume.root)?.sync_all()?;
    // The same state as before, if there were zeros in these pages.
    volume.note(oracle)?;
    Ok(gone.len())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The leaves of the freelist: nobody reads what is in them.
fn leaves(database: &[u8], size: usize) -> Vec<u32> {
    let (mut trunk, mut leaves) = (word(database, 32), Vec::new());
    while trunk != 0 {
        let page = &database[(trunk as usize - 1) * size..][..size];
        leaves.extend((0..word(page, 4) as usize).map(|n| word(page, 8 + 4 * n)));
        trunk = word(page, 0);
    }
    leaves
}

/// The last transaction without frames of these pages, and where it begins.
fn rewritten(wal: &[u8], size: usize, gone: &BTreeSet<u32>) -> Option<(usize, Vec<u8>)> {
    let big = word(wal, 0) & 1 == 1;
    let sum = |state: (u32, u32), frame: &[u8]| {
        let state = checksum(state, &frame[..8], big);
        checksum(state, &frame[FRAME..], big)
    };
    let (mut state, mut last) = (checksum((0, 0), &wal[..24], big), None);
    // Where the transaction begins, and the checksum before it.
    let (mut begin, mut at) = ((HEADER, state), HEADER);
    while let Some(frame) = wal.get(at..at + FRAME + size) {
        let valid = frame[8..16] == wal[16..24] && {
            state = sum(state, frame);
            state == (word(frame, 16), word(frame, 20))
        };
        if !valid {
            break;
        }
        at += frame.len();
        if word(frame, 4) > 0 {
            last = Some((begin.0, begin.1, at, word(frame, 4)));
            begin = (at, state);
        }
    }
    let (from, mut state, end, commit) = last?;
    let frames = wal[from..end].chunks(FRAME + size).filter(|frame| !gone.contains(&word(frame, 0)));
    let mut kept: Vec<Vec<u8>> = frames.map(<[u8]>::to_vec).collect();
    // The last frame says how large the database is now.
    kept.last_mut()?[4..8].copy_from_slice(&commit.to_be_bytes());
    for frame in &mut kept {
        state = sum(state, frame);
        frame[16..20].copy_from_slice(&state.0.to_be_bytes());
        frame[20..24].copy_from_slice(&state.1.to_be_bytes());
    }
    Some((from, kept.concat()))
}

/// SQLite's checksum of the WAL; `big` says in which order the bytes of a word are.
fn checksum(mut state: (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        state.0 = state.0.wrapping_add(word(0)).wrapping_add(state.1);
        state.1 = state.1.wrapping_add(word(4)).wrapping_add(state.0);
    }
    state
}
