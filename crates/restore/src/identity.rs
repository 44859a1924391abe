//! The identity that opens sealed objects: `--identity FILE`, or `$HIGHWATER_IDENTITY_FILE`.

use door::Failure;
use seal::Identities;
use std::path::Path;
use std::sync::Arc;

/// The identities of a file that was named; one that cannot be used is a mistake of the command line.
pub(crate) fn named(path: Option<&Path>) -> Result<Option<Arc<Identities>>, Failure> {
    Ok(path.map(Identities::from_file).transpose().map_err(Failure::usage)?.map(Arc::new))
}

/// As [`named`], for the start of a pod: the file may not be there. The secret is mounted only where data is to come back, and healthy
/// data starts without it.
pub(crate) fn if_there(path: Option<&Path>) -> Result<Option<Arc<Identities>>, Failure> {
    match path.filter(|path| path.exists()) {
        Some(path) => named(Some(path)),
        None => {
            if let Some(path) = path {
                tracing::info!(path = %path.display(), "no identity there: only healthy data can start");
            }
            Ok(None)
        }
    }
}
