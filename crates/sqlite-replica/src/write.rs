//! From a live database to a replica: claim, first image, one level 0 file per sync, resume by proof.

mod again;
mod begin;
mod beside;
mod digesting;
mod drive;
mod engine;
mod enter;
mod errand;
mod event;
mod flight;
mod follow;
mod form;
mod full;
mod host;
mod image;
mod inbox;
mod keep;
mod ours;
mod probe;
mod regain;
mod resume;
mod same;
mod send;
mod shot;
pub(crate) mod stage;
mod start;

pub use drive::run;
pub(crate) use drive::run_asked;
pub use engine::{Config, Finish, Surroundings, Writer};
pub use event::{Event, Taken};
pub use follow::{Pause, Step, Why};
pub(crate) use host::offload;
pub use host::{Host, RuntimeHost};
pub(crate) use inbox::Request;
pub use inbox::{Inbox, Synced};

pub(crate) use beside::{Leash, Leashed};
pub(crate) use form::{Body, Form};
pub(crate) use image::tabulate;
use send::chunks;
pub(crate) use send::{Parcel, options, send};
pub(crate) use start::{Plan, Remote, decide, stranger};
