//! The tail of one live SQLite database: every committed page, in WAL order, while the application keeps writing.
//!
//! [`Tail`] stands beside an application that uses a database in WAL mode. It never loses a frame, never delivers an
//! uncommitted one (P2), holds the write lock for milliseconds at most and measures it (P5), and touches neither
//! schema nor data. The design and its proofs are in `docs/decisions/0002-tail-protocol.md`; the traps it answers
//! are 1, 2, 6–10, 14 and 18.
//!
//! What it does not know: stores, file names of a replica, async. A `Tail` belongs to one thread; [`Waker`] and the
//! descriptor of [`Tail::wal_file`] may travel.

mod connection;
mod error;
mod examine;
mod files;
mod frozen;
mod hold;
mod hub;
mod locks;
mod options;
mod overlay;
mod pace;
mod position;
mod protocol;
mod quiet;
mod recognise;
mod registry;
mod signal;
mod sink;
mod stamp;
mod stats;
mod tail;
mod view;
pub mod wal;
pub mod wal_index;
mod watch;

pub use error::{Class, Error};
pub use frozen::Frozen;
pub use options::Options;
pub use position::{Position, Resume};
pub use recognise::{Kind, page_size, recognise};
pub use registry::is_attached;
pub use signal::Waker;
pub use sink::Sink;
pub use stamp::{FileIdentity, FileStamp};
pub use stats::{SPAN_BOUNDS_NS, Spans, Stats};
pub use tail::{Checkpoint, Copied, Look, Maintenance, Tail, Wake};
pub use view::View;
