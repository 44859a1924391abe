use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::*;

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| if i % 7 < 4 { b'a' } else { (i / 31) as u8 }).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..len).map(|_| next()).collect()
}

fn written(page: &[u8]) -> Vec<u8> {
    let mut out = vec![0; OVERHEAD + lz4_flex::block::get_maximum_output_size(page.len())];
    let len = encode(page, &mut out, &mut CompressTable::default()).unwrap();
    out.truncate(len);
    out
}

#[test]
fn own_frames_have_the_constant_preamble_and_open_anywhere() {
    for page in [text(512), text(65536), noise(512), noise(65536), vec![0; 4096]] {
        let frame = written(&page);
        assert!(frame.starts_with(&PREAMBLE));
        let stored = frame[10] & 0x80 != 0;
        assert_eq!(stored, frame.len() >= page.len() + OVERHEAD);
        let mut opened = Vec::new();
        std::io::copy(&mut lz4_flex::frame::FrameDecoder::new(frame.as_slice()), &mut opened).unwrap();
        assert_eq!(opened, page);
        let mut out = vec![1; page.len()];
        assert_eq!(decode(&frame, &mut out), Ok(Frame { len: frame.len(), canonical: true }));
        assert_eq!(out, page);
    }
}

/// Frames of other writers: every mode the reference encoder offers, with bytes of the next page behind.
#[test]
fn every_legal_frame_is_read() {
    for page in [text(65536), noise(65536), text(4096), text(512)] {
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
                for bits in 0..8u8 {
                    let info = FrameInfo::new()
                        .block_mode(mode)
                        .block_size(size)
                        .block_checksums(bits & 1 != 0)
                        .content_checksum(bits & 2 != 0)
                        .content_size((bits & 4 != 0).then_some(page.len() as u64));
                    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                    // A flush ends a block.
                    for part in page.chunks(page.len() / 3 + 1) {
                        encoder.write_all(part).unwrap();
                        encoder.flush().unwrap();
                    }
                    let mut frame = encoder.finish().unwrap();
                    let len = frame.len();
                    frame.extend_from_slice(&[7; 20]);
                    let mut out = vec![1; page.len()];
                    assert_eq!(decode(&frame, &mut out), Ok(Frame { len, canonical: false }));
                    assert_eq!(out, page);
                }
            }
        }
    }
}

#[test]
fn every_cut_is_short_and_nothing_else() {
    for page in [text(512), noise(512)] {
        let frame = written(&page);
        let mut out = vec![0; page.len()];
        for len in 0..frame.len() {
            assert_eq!(decode(&frame[..len], &mut out), Err(Fault::Short), "{len}");
        }
    }
}

#[test]
fn the_page_must_be_filled_exactly() {
    for page in [text(512), noise(512)] {
        let frame = written(&page);
        assert_eq!(decode(&frame, &mut [0; 511]), Err(Fault::Rule(TOO_LONG)));
        assert_eq!(decode(&frame, &mut [0; 513]), Err(Fault::Rule("LZ4 frame is shorter than a page")));
    }
}

#[test]
fn broken_frames_are_told_by_rule() {
    let page = text(512);
    let good = written(&page);
    let end = good.len();
    for (at, byte, expected) in [
        (0, 0x05, "no LZ4 frame"),
        (4, 0xa4, "unknown LZ4 frame version"),
        (4, 0x66, "unknown LZ4 frame version"),
        (4, 0x65, "LZ4 frame needs a dictionary"),
        (5, 0x30, "unknown LZ4 block size"),
        (5, 0x41, "unknown LZ4 frame version"),
        (6, 0xa8, "LZ4 frame header checksum differs"),
        (9, 0x7f, "LZ4 block size out of range"),
        (end - 1, good[end - 1] ^ 1, "LZ4 content checksum differs"),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(decode(&bad, &mut [0; 512]), Err(Fault::Rule(expected)), "byte {at}");
    }
}
