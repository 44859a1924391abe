//! Each guard by itself; together, with a replica and a writer, they are in `tests/by_hand.rs`.

use super::*;

const PAGE: usize = 512;

/// A file of pages, and a note about it.
fn restored(pages: u32) -> (tempfile::TempDir, Vec<Vec<u8>>, Origin, FileIdentity) {
    let tmp = tempfile::tempdir().unwrap();
    let (path, state) = (tmp.path().join("app.db"), tmp.path().join(".highwater/app.db"));
    let mut content: Vec<Vec<u8>> = (0..pages).map(|n| vec![n as u8 + 1; PAGE]).collect();
    content[0][24..28].copy_from_slice(&7_u32.to_be_bytes());
    fs::write(&path, content.concat()).unwrap();
    let sums = (1..).zip(&content).map(|(pgno, page)| page_checksum(pgno, page)).collect();
    let what = Content {
        txid: 5,
        timestamp_ms: 1,
        page_size: PAGE as u32,
        pages,
        rolling: 9,
        sample: Sample { every: 1, sums },
    };
    let stamp = Extension { epoch: 2, lineage: u64::MAX - 1, write_id: [1; 6] };
    let descent = Descent { lineage: stamp.lineage, newest: Txid::new(8).unwrap(), stamp };
    let file = File::open(&path).unwrap();
    descent.leave(what, &file, &path, &state).unwrap();
    let origin = Origin::load(&state).unwrap();
    (tmp, content, origin, FileIdentity::of(&file.metadata().unwrap()))
}

fn check(origin: &Origin, now: FileIdentity, content: &[Vec<u8>]) -> Result<(), &'static str> {
    origin.check_file(now, PAGE as u32, |pgno, into| {
        let page = content.get(pgno as usize - 1).ok_or(Error::Stopped)?;
        into.copy_from_slice(page);
        Ok(())
    })
}

#[test]
fn p3_a_note_is_about_one_file_and_what_sqlite_made_of_it() {
    let (_tmp, content, origin, now) = restored(40);
    assert_eq!(check(&origin, now, &content), Ok(()));

    // What an application may do: change pages, count changes, shrink.
    let mut changed = content.clone();
    changed[3..30].iter_mut().for_each(|page| page.fill(0xee));
    changed[0][24..28].copy_from_slice(&8_u32.to_be_bytes());
    assert_eq!(check(&origin, now, &changed), Ok(()));
    assert_eq!(check(&origin, now, &content[..20]), Ok(()));

    // What nobody may do.
    let another = FileIdentity { inode: now.inode + 1, ..now };
    assert_eq!(check(&origin, another, &content), Err("it is about another file"));
    let another = FileIdentity { born_ms: now.born_ms.map(|ms| ms + 1).or(Some(1)), ..now };
    assert_eq!(check(&origin, another, &content), Err("it is about another file"), "an inode is used again");
    let mut older = content.clone();
    older[0][24..28].copy_from_slice(&6_u32.to_be_bytes());
    assert!(check(&origin, now, &older).unwrap_err().contains("fewer changes"));
    let mut other = content.clone();
    other[1..].iter_mut().for_each(|page| page.fill(0xdd));
    assert!(check(&origin, now, &other).unwrap_err().contains("outside sqlite"));
    let size = origin.check_file(now, 1024, |_, _| Ok(()));
    assert_eq!(size, Err("the pages have another size"));
}

#[test]
fn p4_a_note_is_about_one_replica_at_one_moment() {
    let (_tmp, _, origin, _) = restored(9);
    let stamp = Extension { epoch: 2, lineage: u64::MAX - 1, write_id: [1; 6] };
    let seen = Remote { lineage: Some(stamp.lineage), newest: Txid::new(8), stamp: Some(stamp) };
    assert_eq!(origin.check_replica(&seen), Ok(()));
    let moved = Err("the replica was written to after the restore");
    assert_eq!(origin.check_replica(&Remote { newest: Txid::new(9), ..seen }), moved);
    assert_eq!(origin.check_replica(&Remote { newest: Txid::new(7), ..seen }), moved);
    let other = |change: fn(&mut Extension)| {
        let mut stamp = stamp;
        change(&mut stamp);
        Remote { stamp: Some(stamp), ..seen }
    };
    assert_eq!(origin.check_replica(&other(|stamp| stamp.write_id[5] = 2)), moved);
    assert_eq!(origin.check_replica(&other(|stamp| stamp.epoch = 3)), moved);
    assert_eq!(origin.check_replica(&Remote { stamp: None, ..seen }), moved, "a foreign writer");
    let stranger = Err("it is about another replica");
    assert_eq!(origin.check_replica(&Remote { lineage: Some(1), ..seen }), stranger);
    assert_eq!(origin.check_replica(&Remote { lineage: None, ..seen }), stranger);
}

#[test]
fn a_note_of_another_kind_is_none() {
    let (tmp, ..) = restored(9);
    let state = tmp.path().join(".highwater/app.db");
    let path = state.join(NAME);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert_eq!(Origin::load(&state), None, "torn");
    fs::write(&path, text.replace("\"format\":1", "\"format\":2")).unwrap();
    assert_eq!(Origin::load(&state), None, "newer");
    Origin::forget(&state);
    assert!(!path.exists());
}
