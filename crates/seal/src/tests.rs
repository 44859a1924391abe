//! The promises, over whole objects in memory.

mod by_hand;
mod clear;
mod damage;
mod keys;
mod round_trip;

use crate::*;
use age::secrecy::ExposeSecret;
use std::io::{Cursor, Read};

/// All data, and all metadata in its order.
type Content = (Vec<u8>, Vec<Metadata>);

/// A fresh key: what seals and what opens.
struct Key {
    recipients: Recipients,
    identities: Identities,
    secret: String,
}

fn key() -> Key {
    let identity = age::x25519::Identity::generate();
    let secret = identity.to_string().expose_secret().to_owned();
    Key {
        recipients: Recipients::parse(&identity.to_public().to_string(), "test").unwrap(),
        identities: Identities::parse(&secret, "test").unwrap(),
        secret,
    }
}

fn options(block_bytes: usize) -> Options {
    Options { level: 1, block_bytes }
}

/// Compressible, and different everywhere.
fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut data: Vec<u8> = Vec::with_capacity(bytes);
    while data.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let run = (state >> 33) as usize % 40 + 1;
        data.extend(std::iter::repeat_n((state >> 56) as u8, run));
    }
    data.truncate(bytes);
    data
}

/// Blocks with metadata before each and after the last.
fn write_parts<P: Payload>(mut writer: BlockWriter<P>, parts: &[Vec<u8>]) -> P::Output {
    for (index, part) in parts.iter().enumerate() {
        writer.metadata((index % 14) as u8, format!("part {index}").as_bytes()).unwrap();
        writer.data(part).unwrap();
        writer.end_block().unwrap();
    }
    writer.metadata(13, b"the end").unwrap();
    writer.finish().unwrap()
}

fn seal_parts(key: &Key, parts: &[Vec<u8>], block_bytes: usize) -> Vec<u8> {
    write_parts(Sealer::new(Vec::new(), &key.recipients, options(block_bytes)).unwrap(), parts)
}

fn plain_parts(parts: &[Vec<u8>], block_bytes: usize) -> Vec<u8> {
    write_parts(PlainWriter::new(Vec::new(), options(block_bytes)).unwrap(), parts)
}

/// Data and metadata of a stream.
fn read_stream<R: Read>(mut reader: BlockReader<R>) -> Result<Content, Error> {
    let (mut data, mut metadata) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Data(bytes) => data.extend_from_slice(bytes),
            Item::BlockEnd => {}
            Item::Metadata(piece) => metadata.push(piece),
        }
    }
    Ok((data, metadata))
}

/// The same through the seek table, last block first.
fn read_seeking<R: Read + std::io::Seek>(opened: Result<BlockSeeker<R>, Error>) -> Result<Content, Error> {
    let mut seeker = opened?;
    let mut data = vec![0; usize::try_from(seeker.size()).unwrap().min(64 << 20)];
    for index in (0..seeker.blocks().len()).rev() {
        let from = seeker.blocks()[index].offset as usize;
        let block = seeker.read_block(index)?;
        data[from..from + block.len()].copy_from_slice(block);
    }
    let pieces = 0..seeker.metadata().len();
    let metadata = pieces.map(|index| seeker.read_metadata(index)).collect::<Result<_, _>>()?;
    Ok((data, metadata))
}

fn open_both(key: &Key, object: &[u8]) -> [Result<Content, Error>; 2] {
    [
        Opener::new(object, &key.identities).and_then(read_stream),
        read_seeking(SealedReader::open(Cursor::new(object), &key.identities)),
    ]
}

fn open_both_plain(object: &[u8]) -> [Result<Content, Error>; 2] {
    [PlainReader::new(object).and_then(read_stream), read_seeking(PlainSeeker::open(Cursor::new(object)))]
}
