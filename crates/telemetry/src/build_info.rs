//! Which build of which component this is.

/// The labels of `highwater_build_info`, and what `--version` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// Package version.
    pub version: &'static str,
    /// Commit it was built from, or `unknown`.
    pub revision: &'static str,
    /// The binary, e.g. `wal-streamer`.
    pub component: &'static str,
}

impl BuildInfo {
    /// The build of `component`; the revision is `HIGHWATER_REVISION` of the build environment.
    pub fn of(component: &'static str) -> Self {
        let revision = option_env!("HIGHWATER_REVISION").unwrap_or("unknown");
        Self { version: env!("CARGO_PKG_VERSION"), revision, component }
    }
}
