//! The source that the flags name.

use crate::cli::From;
use door::Failure;
use etcd_replica::{EtcdSource, FileSource, Limits, Source, TalosSource, TlsFiles};

pub(crate) fn source(from: &From) -> Result<Source, Failure> {
    let limits = Limits { idle: from.idle_timeout, total: from.max_stream };
    if let Some(path) = &from.file {
        return Ok(Source::File(FileSource { path: path.clone(), taken_ms: from.taken_at }));
    }
    if let Some(path) = &from.talosconfig {
        return Ok(Source::Talos(TalosSource { talosconfig: path.clone(), limits }));
    }
    if from.endpoints.is_empty() {
        return Err(Failure::usage("no source: say --endpoints, --talosconfig or --file"));
    }
    let tls = TlsFiles { cacert: from.cacert.clone(), cert: from.cert.clone(), key: from.key.clone() };
    Ok(Source::Etcd(EtcdSource { endpoints: from.endpoints.clone(), tls, limits }))
}
