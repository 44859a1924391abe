//! From a live database to a replica: claim, first image, one level 0 file per sync, resume by proof.

mod begin;
mod claim;
mod engine;
mod event;
mod flight;
mod full;
mod image;
mod resume;
mod send;
mod stage;
mod start;

pub use engine::{Config, Finish, run};
pub use event::Event;
