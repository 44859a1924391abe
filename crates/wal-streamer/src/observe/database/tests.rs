//! The watchdog: what is stuck is seen, what only waits for its store is not.

use super::*;
use clock::ManualClock;
use std::task::{Context, Wake, Waker};
use telemetry::{BuildInfo, Health, Registry, StreamerMetrics};
use tokio::sync::mpsc::Sender;

fn scene() -> (Arc<ManualClock>, Arc<Health>, Registry, Arc<Observed>) {
    scene_with(crate::beside::points().0)
}

fn scene_with(points: Sender<Point>) -> (Arc<ManualClock>, Arc<Health>, Registry, Arc<Observed>) {
    let clock = Arc::new(ManualClock::at(1_000));
    let registry = Registry::new(&BuildInfo::of("test"), clock.clone()).unwrap();
    let health = Arc::new(Health::new(clock.clone(), Duration::from_secs(3_600)));
    let around = Around {
        metrics: Arc::new(StreamerMetrics::new(&registry).unwrap()),
        clock: clock.clone(),
        health: health.clone(),
        stall_after: Duration::from_secs(600),
        points,
    };
    let database =
        Database { name: "app.db".into(), path: "/data/app.db".into(), replica: "s3://b/p".into() };
    let observed = Observed::new(&database, around);
    observed.take(Event::Attached { page_size: 4096 });
    (clock, health, registry, observed)
}

#[test]
fn a_stalled_database_is_seen_and_recovers() {
    let (clock, health, registry, observed) = scene();
    observed.take(Event::Behind { wal_bytes: 4120 });
    observed.take(Event::Copied(sqlite_replica::Taken { commits: 1, frames: 1 }));
    clock.advance_ms(600_000);
    observed.refresh(0);
    assert_eq!(health.live(), Ok(()));
    clock.advance_ms(1);
    observed.refresh(0);
    assert!(health.live().unwrap_err().contains("app.db is stalled"));
    let text = registry.gather_text();
    assert!(text.contains("highwater_wal_stalled{db=\"app.db\"} 1"), "{text}");
    assert!(text.contains("highwater_wal_lag_transactions{db=\"app.db\"} 1"), "{text}");
    assert_eq!(observed.status(None)["state"], "stalled");
    observed.take(Event::CaughtUp);
    observed.refresh(0);
    assert_eq!(health.live(), Ok(()));
    assert!(registry.gather_text().contains("highwater_wal_stalled{db=\"app.db\"} 0"));
}

#[test]
fn an_outage_a_long_upload_and_an_idle_database_are_no_stall() {
    let (clock, health, _registry, observed) = scene();
    observed.take(Event::Behind { wal_bytes: 4120 });
    for _ in 0..10 {
        clock.advance_ms(599_000);
        let retry_in = Duration::from_secs(32);
        observed.take(Event::UploadFailed { error: "down".into(), reason: "connect", retry_in });
        observed.refresh(0);
    }
    for _ in 0..10 {
        clock.advance_ms(599_000);
        observed.refresh(clock::Clock::monotonic_ns(&*clock)); // a part of a large upload has arrived
    }
    observed.take(Event::CaughtUp);
    clock.advance_ms(86_400_000);
    observed.refresh(0);
    health.beat(); // the main loop itself went on
    assert_eq!(health.live(), Ok(()));
}

/// Whoever writes the status object, at the moment at which a point reaches him.
struct Reader {
    registry: Registry,
    read: Mutex<String>,
}

impl Wake for Reader {
    fn wake(self: Arc<Self>) {
        *self.read.lock().unwrap() = self.registry.gather_text();
    }
}

#[test]
fn the_metrics_of_a_restore_point_stand_before_the_bucket_is_told_of_it() {
    let (points, mut made) = crate::beside::points();
    let (_clock, _health, registry, observed) = scene_with(points);
    let reader = Arc::new(Reader { registry, read: Mutex::default() });
    let waker = Waker::from(reader.clone());
    assert!(made.poll_recv(&mut Context::from_waker(&waker)).is_pending());
    observed.take(Event::Upkeep(Report::RestorePoint { txid: 7, proven: true, read: 4096 }));
    let text = reader.read.lock().unwrap();
    assert!(text.contains("highwater_verify_last_result{db=\"app.db\"} 1"), "{text}");
    assert!(text.contains("highwater_snapshot_last_success_timestamp_seconds{db=\"app.db\"} 1"), "{text}");
}

#[test]
fn p4_a_fenced_database_holds_readiness_for_good() {
    let (_clock, health, registry, observed) = scene();
    health.set_started();
    observed.take(Event::Claimed { epoch: 3, txid: 9 });
    observed.take(Event::Fenced { why: "epoch 4 was claimed".into() });
    assert_eq!(health.ready(), Err("another writer owns the replica of app.db".into()));
    let text = registry.gather_text();
    assert!(text.contains("highwater_writer_fenced{component=\"wal-streamer\",db=\"app.db\"} 1"), "{text}");
    assert!(text.contains("highwater_writer_epoch{component=\"wal-streamer\",db=\"app.db\"} 3"), "{text}");
    assert_eq!(health.live(), Ok(()), "a restart would not help");
}
