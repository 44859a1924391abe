//! Sealed objects: zstd inside age, streaming both ways, and seekable.
//!
//! Promises:
//! * P8: `age -d | zstd -d` of an object gives exactly the data; the format is in `docs/formats/sealed.md`;
//! * P7: memory is bounded by the block size (at most 8 MiB) and 24 bytes per block, of which there are at most 2^20;
//! * a truncated or altered object is never read as a shorter or different one;
//! * writing plaintext by mistake does not compile: [`Sealer`] needs [`Recipients`], which are never empty, and the plain
//!   writer is another type; [`Protection`], which holds the choice, has no default.
//!
//! Age proves secrecy, not authorship: whoever knows a recipient can seal for it. Who wrote an object is not known here.
//! What this crate does not do: know where keys are kept, or what the data means.

mod block_reader;
mod block_seeker;
mod block_writer;
mod class;
mod clear;
mod error;
mod frame;
mod identity;
mod opening;
mod protection;
mod recipient;
mod sealing;
mod source;
mod table;

pub use block_reader::{BlockReader, Item, Opener, PlainReader};
pub use block_seeker::{Block, BlockSeeker, MetadataFrame, PlainSeeker, SealedReader};
pub use block_writer::{BlockWriter, Options, PlainWriter, Sealer};
pub use class::Class;
pub use clear::{CLEAR_BYTES, ClearPart, is_sealed};
pub use error::Error;
pub use frame::{MAX_BLOCK_BYTES, MAX_FRAMES, MAX_METADATA_BYTES, Metadata};
pub use identity::Identities;
pub use opening::{Clear, Unsealed};
pub use protection::Protection;
pub use recipient::Recipients;
pub use sealing::{ClearSink, Payload, SealedSink};

#[cfg(test)]
mod tests;
