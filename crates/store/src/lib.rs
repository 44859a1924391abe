//! Object stores: `s3://`, `file://` and memory behind one contract.
//!
//! The ground floor of every replica. [`Store`] is what the rooms use: it retries what is safe to repeat, counts every
//! request, and takes numbered, create-only commits ([`Store::commit`], the fence). [`ObjectStore`] is the raw contract
//! of a backend: one request per call, no retries.
//!
//! Promises kept here:
//! - P3: nothing is overwritten by a commit; `If-None-Match: *` (or its file system twin) decides, not a lock.
//! - P4: a second writer collides at the next number and is told so ([`Error::Fenced`]).
//! - P6: [`Error::NotFound`] is a proven absence. Unreachable, forbidden, missing bucket, unmounted directory: other errors.
//! - P7: bodies stream; memory is bounded by one part per upload and one page per listing.
//!
//! What it does not know: what the objects mean, compression, encryption.

pub mod capability;
pub mod counters;
mod error;
pub mod fault;
mod feed;
pub mod fence;
pub mod file;
mod get;
mod key;
mod limit;
mod list;
pub mod memory;
mod object;
mod open;
mod progress;
mod retry;
mod room_class;
pub mod s3;
mod store;
mod upload;
mod url;

pub use capability::Capabilities;
pub use counters::{Counters, Observation, Observer, Operation, OperationCounters};
pub use error::{Class, DeniedReason, Error, Trouble};
pub use feed::{Feed, feed, feed_ahead};
pub use fence::{Commit, WRITE_ID};
pub use file::FileStore;
pub use key::{MAX_KEY, check_key};
pub use limit::UploadLimit;
pub use memory::MemoryStore;
pub use object::{
    GetResult, ObjectMeta, ObjectStore, Page, Part, PutMode, PutOptions, PutResult, ServerDate, Upload,
};
pub use open::{CREDENTIALS_DIR, OpenConfig, open};
pub use progress::Progress;
pub use retry::RetryPolicy;
pub use room_class::RoomClass;
pub use store::{DeleteResult, Store};
pub use url::{FILE_KEYS, FileUrl, Kind, Profile, S3_KEYS, S3Url, StoreUrl, Target};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
