//! Every panel of the dashboard over the metrics of real binaries, asked by a real Prometheus: a query that answers nothing is an empty panel in
//! front of somebody who needs it.
//!
//! The scene is a pod that was restored, whose application writes without end, whose store was away for a while, that was drilled, and an exporter
//! that knows its drills and an etcd snapshot. kube-state-metrics is a page with its series. With `HIGHWATER_DASHBOARD=600` the scene goes on for so
//! many seconds, with outages, and says where its Prometheus answers, so that the panels can be looked at.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say so at once")]
#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::http::{get, series};
use e2e::pod::{addr, stop};
use e2e::prometheus::{Prometheus, Target, page};
use e2e::{PATIENCE, Place, Pod, run};
use serde_json::Value;
use testkit::bolt::{kubernetes, snapshot};
use testkit::procs::{Proc, wait_until};

/// Series of kube-state-metrics for the two sidecars, and for one of another pod that nobody scrapes.
const STATE_METRICS: &str = "\
# TYPE kube_pod_init_container_status_running gauge
kube_pod_init_container_status_running{namespace=\"apps\",pod=\"web-0\",container=\"wal-streamer\"} 1
kube_pod_init_container_status_running{namespace=\"apps\",pod=\"web-0\",container=\"config-syncer\"} 1
kube_pod_init_container_status_running{namespace=\"apps\",pod=\"other-0\",container=\"wal-streamer\"} 1
# TYPE kube_pod_init_container_status_restarts_total counter
kube_pod_init_container_status_restarts_total{namespace=\"apps\",pod=\"web-0\",container=\"restore-state\"} 0
kube_pod_init_container_status_restarts_total{namespace=\"apps\",pod=\"web-0\",container=\"wal-streamer\"} 1
kube_pod_init_container_status_restarts_total{namespace=\"apps\",pod=\"web-0\",container=\"config-syncer\"} 0
";

/// Title of the panel and expression of everything that the dashboard asks, its variables set to everything.
fn queries() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../kustomize-components/monitoring/grafana/highwater.json");
    let board: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut found = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let mut text = target["expr"].as_str().unwrap().to_owned();
            for variable in board["templating"]["list"].as_array().unwrap() {
                text = text.replace(&format!("${}", variable["name"].as_str().unwrap()), ".*");
            }
            found.push((panel["title"].as_str().unwrap().to_owned(), text));
        }
    }
    found
}

/// A first life of the pod, whose state is in the bucket in the end, drilled, and whose volume is lost.
fn first_life(pod: &Pod<'_>) {
    pod.init(&[]).expect(0);
    let (mut streamer, mut syncer) = (pod.streamer(), pod.syncer());
    let (wal, files) = (addr(&mut streamer), addr(&mut syncer));
    pod.volume.write(200);
    pod.put("settings.yaml", "theme: dark\n");
    wait_until(PATIENCE, "the database is followed", || {
        let (_, metrics) = get(&wal, "/metrics");
        let at = |name: &str| series(&metrics, &format!("{name}{{db=\"app.db\"}}"));
        at("highwater_replica_position") >= Some(1.0) && at("highwater_wal_lag_seconds") == Some(0.0)
    });
    wait_until(PATIENCE, "the file is in the bucket", || {
        let (_, metrics) = get(&files, "/metrics");
        series(&metrics, "highwater_files_uploaded_total{root=\".\"}") >= Some(1.0)
    });
    stop(&mut streamer);
    stop(&mut syncer);
    for replica in ["web/sqlite/app.db", "web/files"] {
        let mut drill = pod.place.command("restore");
        drill.args(["drill", &pod.place.url(replica)]);
        run(drill).expect(0);
    }
    pod.lose_volume();
}

/// One etcd snapshot in the bucket.
fn ship_etcd(place: &Place) {
    // Not in the system's temporary directory, which may be a tmpfs: a spool there is refused.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let taken = dir.path().join("taken.db");
    fs::write(&taken, snapshot(&kubernetes())).unwrap();
    let mut ship = place.command("etcd-shipper");
    ship.args(["ship", "--cluster", "home", "--unencrypted", "--to", &place.url("etcd"), "--file"]);
    ship.arg(&taken).arg("--spool-dir").arg(dir.path());
    let now = clock::format_unix_ms(clock::Clock::unix_ms(&clock::SystemClock) / 1_000 * 1_000);
    ship.args(["--taken-at", &now]);
    run(ship).expect(0);
}

#[test]
fn every_panel_of_the_dashboard_has_something_to_show() {
    let Some(mut prometheus) = Prometheus::start("that every panel of the dashboard shows something") else {
        return;
    };
    let place = Place::s3();
    let pod = Pod::new(&place, "databases: [{path: app.db, profile: critical}]\nfiles: [{path: .}]");
    first_life(&pod);
    ship_etcd(&place);

    pod.init(&[]).expect(0);
    let mut streamer = pod.streamer_with(&["--fsync-probe", "1s"]);
    let mut syncer = pod.syncer();
    let mut exporter = place.command("etcd-shipper");
    exporter.args(["serve", &place.url(""), "--listen", "127.0.0.1:0", "--refresh", "1s"]);
    let mut exporter = Proc::start(exporter);
    let db = pod.volume.db();
    // Nobody but the streamer folds the WAL, so it does.
    let workload = ["--transactions", "0", "--rate", "200", "--checkpoint", "none", "--db"];
    let mut application = Proc::bin("hw-app", workload.map(Path::new).into_iter().chain([db.as_path()]));
    let of = |container: &'static str| {
        [("namespace", "apps"), ("pod", "web-0"), ("app", "web"), ("container", container)]
    };
    prometheus.scrape(&[
        Target { addr: addr(&mut streamer), labels: &of("wal-streamer") },
        Target { addr: addr(&mut syncer), labels: &of("config-syncer") },
        Target { addr: addr(&mut exporter), labels: &[] },
        Target { addr: page(STATE_METRICS.to_owned()), labels: &[] },
    ]);

    // Its control socket is there by now, and its writer answers at once.
    let wal = addr(&mut streamer);
    wait_until(PATIENCE, "the database is followed again", || {
        series(&get(&wal, "/metrics").1, "highwater_replica_position{db=\"app.db\"}") >= Some(1.0)
    });
    // Else the first restore point is due an hour from now.
    let mut point = place.command("wal-streamer");
    point.arg("snapshot").arg("--socket").arg(pod.run_dir().join("wal-streamer.sock"));
    run(point).expect(0);
    wait_until(PATIENCE, "the restore point is there", || {
        !prometheus.query("highwater_snapshot_last_success_timestamp_seconds").is_empty()
    });
    place.server().faults().unavailable(true);
    pod.put("settings.yaml", "theme: light\n");
    wait_until(PATIENCE, "the outage is noticed", || {
        !prometheus.query("highwater_wal_sync_errors_total > 0").is_empty()
            && !prometheus.query("highwater_wal_lag_seconds > 1").is_empty()
    });
    place.server().faults().clear();
    let queries = queries();
    assert!(queries.len() >= 40, "only {} queries were found", queries.len());
    let begun = Instant::now();
    for (title, text) in &queries {
        while prometheus.query(text).is_empty() {
            assert!(application.is_running(), "{}", application.log_tail());
            assert!(begun.elapsed() < PATIENCE, "panel {title:?} is empty:\n{text}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let ask = |title: &str| {
        let (_, text) = queries.iter().find(|(t, _)| t == title).expect("the dashboard has this panel");
        prometheus.query(text).first().map(|series| series["value"][1].clone())
    };
    // A scrape that takes more than its second takes the pod away until the next one.
    let shows = |title: &str, wanted: &str| {
        let what = format!("{title}: {wanted}");
        wait_until(PATIENCE, &what, || ask(title).is_some_and(|shown| shown == wanted));
    };
    shows("Pods protected", "1");
    // The one of the other pod.
    shows("Sidecars that run and are not scraped", "1");
    assert_eq!(ask("Fenced writers").expect("it always shows a number"), "0");
    println!("{} queries answered within {:.0} s", queries.len(), begun.elapsed().as_secs_f64());
    live_on(&prometheus, &place, &pod);
}

/// For somebody who wants to look.
fn live_on(prometheus: &Prometheus, place: &Place, pod: &Pod<'_>) {
    let asked = std::env::var("HIGHWATER_DASHBOARD").ok().and_then(|seconds| seconds.parse().ok());
    let Some(seconds): Option<u64> = asked else { return };
    println!("prometheus answers at http://{} for {seconds} s", prometheus.addr());
    for second in 0..seconds {
        // An outage of two minutes, after the first half.
        let outage = (seconds / 2..seconds / 2 + 120).contains(&second);
        place.server().faults().unavailable(outage);
        if second % 20 == 0 {
            pod.put(&format!("notes/{}.txt", second % 300), &second.to_string());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
