//! Writes the status object beside a replica when a restore point was made; see `sqlite_replica::StatusObject`.

use crate::stores::Clients;
use sqlite_replica::{Database, StatusObject, Stores};
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// A restore point that was made.
pub(crate) struct Point {
    pub(crate) database: Database,
    /// When, Unix ms.
    pub(crate) at_ms: i64,
    /// When one was last proven, Unix ms; 0 for never.
    pub(crate) proven_ms: i64,
    pub(crate) size_bytes: u64,
}

/// Points that wait to be written; a newer one makes an older one superfluous, so losing some under pressure is no harm.
pub(crate) fn points() -> (Sender<Point>, Receiver<Point>) {
    channel(64)
}

/// Writes until nobody makes points any more.
pub(crate) async fn write(mut points: Receiver<Point>, clients: Arc<Clients>, app: String, cluster: String) {
    while let Some(point) = points.recv().await {
        let at = clock::format_unix_ms(point.at_ms);
        let object = StatusObject {
            format: 1,
            kind: "sqlite".into(),
            app: app.clone(),
            cluster: cluster.clone(),
            name: point.database.name.clone(),
            written: at.clone(),
            last_point: at,
            size_bytes: point.size_bytes,
            proven: (point.proven_ms > 0).then(|| clock::format_unix_ms(point.proven_ms)),
            drill: None,
        };
        let written = match clients.open(&point.database).await {
            Ok(store) => object.put(&store).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            tracing::warn!(db = %point.database.path.display(), %error, "the status object was not written");
        }
    }
}
