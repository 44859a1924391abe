//! Reads arbitrary bytes in every way there is: as a stream, in memory as a whole, through the index and in runs, merged.
//!
//! Nothing may panic, and the ways must agree: what one proves, the other proves, with the same pages.
//! Fuzzers cannot guess a checksum, so each input is also tried with its file checksum made to fit.
//!
//! `cargo +nightly fuzz run read -- -max_len=8192`, seeds in `tests/vectors`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ltx::checksum::Crc64;
use ltx::{Decoder, Error, Header, IndexReader, IndexTail, PageEncoding, Result};

fuzz_target!(|data: &[u8]| {
    let first = both(data);
    if let Err(Error::Checksum { what: "file checksum", actual, .. }) = first {
        let mut sealed = data.to_vec();
        let at = sealed.len() - 8;
        sealed[at..].copy_from_slice(&actual.to_be_bytes());
        let _ = both(&sealed);
    }
});

/// The checksum over page numbers and pages.
fn both(data: &[u8]) -> Result<u64> {
    let streamed = stream(data);
    let in_runs = runs(data);
    assert_eq!(format!("{streamed:?}"), format!("{:?}", whole(data)));
    // Only the stream recomputes the rolling checksum of a tracked snapshot.
    match (&streamed, &in_runs) {
        (Ok(a), Ok(b)) => assert_eq!(a, b),
        (Err(Error::Checksum { what: "post-apply checksum", .. }), Ok(_)) => {}
        (Err(_), Err(_)) => {}
        (a, b) => panic!("as a stream {a:?}, in runs {b:?}"),
    }
    if streamed.is_ok() {
        for encoding in [PageEncoding::Frame, PageEncoding::Block] {
            match ltx::merge(vec![data], Vec::new(), encoding) {
                Ok((merged, ..)) => assert_eq!(stream(&merged).ok(), streamed.as_ref().ok().copied()),
                // A tracked file may say that the database is gone; a file of ours may not.
                Err(Error::Header { .. }) => {}
                Err(e) => panic!("proven and not merged: {e}"),
            }
        }
    }
    streamed
}

fn stream(data: &[u8]) -> Result<u64> {
    let mut decoder = Decoder::new(data)?;
    let mut page = vec![0; decoder.header().page_size.bytes()];
    let mut pages = Crc64::new();
    while let Some(pgno) = decoder.next_page(&mut page)? {
        pages.update(&pgno.to_be_bytes());
        pages.update(&page);
    }
    Ok(pages.value())
}

fn whole(data: &[u8]) -> Result<u64> {
    let mut pages = Crc64::new();
    ltx::decode_whole(data, &mut Vec::new(), &mut |pgno, page| {
        pages.update(&pgno.to_be_bytes());
        pages.update(page);
        Ok(())
    })?;
    Ok(pages.value())
}

fn runs(data: &[u8]) -> Result<u64> {
    let size = data.len() as u64;
    let head = data.first_chunk().ok_or(Error::Truncated { offset: size })?;
    let header = Header::from_bytes(head)?;
    let (index, end, trailer) = match ltx::parse_index_tail(data, size)? {
        IndexTail::Complete { index, offset, trailer } => (index, offset, trailer),
        IndexTail::NeedFrom(offset) => panic!("{offset} is within the tail"),
    };
    let mut cuts = vec![100];
    for entry in IndexReader::new(index, &header, end) {
        let entry = entry?;
        if entry.pgno % 3 == 0 && entry.offset > 100 {
            cuts.push(entry.offset);
        }
    }
    cuts.push(end - 6);
    let mut pages = Crc64::new();
    let mut pieces = Vec::new();
    for cut in cuts.windows(2) {
        let run = &data[cut[0] as usize..cut[1] as usize];
        pieces.push(ltx::decode_run(run, header.page_size, cut[0], &mut |pgno, page| {
            pages.update(&pgno.to_be_bytes());
            pages.update(page);
            Ok(())
        })?);
    }
    ltx::verify_pieces(head, pieces.into_iter(), index, &trailer.to_bytes())?;
    Ok(pages.value())
}
