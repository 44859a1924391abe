//! What a running binary says about itself: logs, metrics, health, the small HTTP server, the control socket, graceful
//! shutdown, exit codes.
//!
//! Promises:
//! * every metric name stands once, in [`names`], and a test compares that table with what is exported;
//! * the HTTP server is bounded in connections, header bytes and time, and changes no state (P7);
//! * time is injected: liveness is judged by a [`clock::Clock`].
//!
//! What it does not do: know what is measured. Rooms hand in numbers; nothing here imports a room or the store.

mod build_info;
mod class;
pub mod control;
mod error;
mod exit;
mod exporter_metrics;
mod health;
pub mod http;
mod litestream;
pub mod log;
pub mod names;
mod page;
mod process;
mod registry;
mod series;
mod shutdown;
mod store_metrics;
mod streamer_metrics;
mod syncer_metrics;
pub mod volume;

pub use build_info::BuildInfo;
pub use class::Class;
pub use error::Error;
pub use exit::Exit;
pub use exporter_metrics::{ExporterMetrics, Sample};
pub use health::Health;
pub use log::LogFormat;
pub use registry::Registry;
pub use shutdown::Shutdown;
pub use store_metrics::StoreMetrics;
pub use streamer_metrics::{DbMetrics, StreamerMetrics};
pub use syncer_metrics::{SyncerMetrics, TreeMetrics};

// The handles that the other metrics hand out, so that users need no dependency of their own.
pub use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec};
