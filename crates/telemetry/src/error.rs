//! The one error of this crate.

use crate::Class;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `HIGHWATER_LOG` or `RUST_LOG` is not a log filter.
    #[error("{variable}={value:?} is not a log filter: {reason} (try info, debug, or store=debug,info)")]
    Filter {
        /// The variable that was read.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What the parser says.
        reason: String,
    },
    /// Somebody else installed a logger first.
    #[error("logging is already set up")]
    LogAlreadySet,
    /// A metric that the registry refuses: a bug, found by the first test that builds it.
    #[error("metric {name} cannot be registered: {reason}")]
    Metric {
        /// The metric's name.
        name: String,
        /// What the registry says.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source} (another sidecar or the application may use this port)")]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The control socket cannot be listened on.
    #[error("cannot listen on control socket {}: {source} (name another one with --socket)", path.display())]
    Control {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Nobody answered on a control socket.
    #[error("no answer on control socket {}: {source}; is it running? (--socket names another one)", path.display())]
    Ask {
        /// The path that was asked.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Signal handlers cannot be installed.
    #[error("cannot install signal handlers: {0}")]
    Signals(#[source] std::io::Error),
}

impl Error {
    /// What can be done about it.
    pub fn class(&self) -> Class {
        match self {
            // The previous container may still be letting go of the port.
            Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => Class::Retriable,
            Self::Ask { .. } => Class::Retriable,
            _ => Class::Fatal,
        }
    }
}
