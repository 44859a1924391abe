//! One streamer, many applications, and everything that goes wrong in a month, in minutes: kills, stops, storms of the store,
//! lost answers, volumes restored by hand. Whatever is restored meanwhile is a committed prefix, never older than what was
//! reported durable, and in the end nothing is missing (P1, P2, P6).
//!
//! What happens is drawn from a seed; when it happens is up to the machine, so a failure names its seed and may need some runs.
//! `HIGHWATER_SOAK=600` soaks for as many seconds.

#![allow(clippy::disallowed_methods, reason = "a test measures real time")]

mod application;

use application::App;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use e2e::{PATIENCE, Place, Streamer, Volume, full, run};
use serde_json::Value;
use testkit::app::{self, read_acks};
use testkit::procs::wait_until;
use testkit::rng::Rng;

/// Longest time between two events.
const CALM_MS: u64 = 700;

fn seconds() -> u64 {
    let asked = std::env::var("HIGHWATER_SOAK").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if full() { 240 } else { 20 })
}

struct Soak {
    rng: Rng,
    place: Place,
    volume: Volume,
    scratch: Volume,
    apps: Vec<App>,
    streamer: Streamer,
    told: BTreeMap<&'static str, u32>,
}

impl Soak {
    fn begin(seed: u64) -> Soak {
        let mut rng = Rng::for_test(seed);
        let (place, volume, scratch) = (Place::s3(), Volume::new(), Volume::new());
        let config = format!(
            "app: soak\nreplica: '{}'\nroot: {}\ndatabases: [{{path: '*.db', snapshot: 1m, keep: {{all: 1m}}}}]\n",
            place.url("p"),
            volume.path().display()
        );
        fs::write(scratch.file("protect.yaml"), config).expect("a description");
        let mut apps: Vec<App> = (0..6).map(|number| App::new(&volume, number, &mut rng)).collect();
        apps.iter_mut().for_each(|app| app.start(&mut rng));
        // Whoever is killed while it creates its database leaves one that is refused until it is a WAL database.
        wait_until(PATIENCE, "every application to begin", || {
            apps.iter().all(|app| !read_acks(&app.acks).is_empty())
        });
        let streamer = stream(&place, &scratch);
        Soak { rng, place, volume, scratch, apps, streamer, told: BTreeMap::new() }
    }

    fn happens(&mut self) {
        let one = self.rng.below(self.apps.len() as u64) as usize;
        let what = match self.rng.below(16) {
            0 | 1 => {
                self.listen();
                self.streamer.proc.kill9();
                self.listen();
                self.streamer = stream(&self.place, &self.scratch);
                "streamer killed"
            }
            2 => {
                self.end_streamer();
                self.streamer = stream(&self.place, &self.scratch);
                "streamer ended"
            }
            3 => {
                self.streamer.pause();
                std::thread::sleep(Duration::from_millis(self.rng.below(3000)));
                self.streamer.resume();
                "streamer stopped"
            }
            4..=6 => {
                self.apps[one].start(&mut self.rng);
                "application killed"
            }
            7 => {
                self.restore_by_hand(one);
                "restored by hand"
            }
            8..=11 => self.trouble(),
            _ => {
                self.look_back(one);
                "looked back"
            }
        };
        *self.told.entry(what).or_default() += 1;
    }

    /// The store has a bad moment.
    fn trouble(&mut self) -> &'static str {
        let n = self.rng.range(1, 12) as u32;
        let faults = self.place.server().faults();
        match self.rng.below(6) {
            0 => faults.fail_next(n, 503),
            1 => faults.lose_reply_next(n.min(4)),
            2 => faults.drop_before_next(n),
            3 => faults.hang_next(1),
            4 => faults.lose_reply_matching("PUT", "0000", n.min(3)),
            _ => faults.fail_next_with(n, 500, "InternalError"),
        };
        "trouble of the store"
    }

    /// Takes down what the streamer reported.
    fn listen(&mut self) {
        for line in self.streamer.events("durable") {
            let (db, txid) = (line["db"].as_str().unwrap_or_default(), line["txid"].as_u64().unwrap_or(0));
            if let Some(app) = self.apps.iter_mut().find(|app| db.ends_with(&app.name)) {
                app.durable = app.durable.max(txid);
            }
        }
    }

    /// SIGTERM. 0: all is durable; 6: it says itself that something is not; 1: the store was away while a database was begun.
    fn end_streamer(&mut self) -> i32 {
        self.streamer.proc.terminate();
        if self.streamer.proc.wait_timeout(PATIENCE).is_none() {
            let (threads, log) = (threads(self.streamer.proc.id()), self.streamer.proc.log_tail());
            panic!("the streamer did not end; its threads:\n{threads}\n{log}");
        }
        let exit = self.streamer.proc.expect_exit(PATIENCE);
        // On a machine that is slow enough the signal comes before the process listens to it: then it has done nothing yet.
        let unborn = exit == -1 && self.streamer.proc.log().is_empty();
        assert!(
            unborn || [0, 1, 6].contains(&exit),
            "the streamer ended with {exit}:\n{}",
            self.streamer.proc.log_tail()
        );
        self.listen();
        exit
    }

    /// Restores the newest state, or any other.
    fn look_back(&mut self, one: usize) {
        self.listen();
        let (prefix, out) = (format!("p/sqlite/{}", self.apps[one].name), self.scratch.file("restored.db"));
        if self.apps[one].durable == 0 {
            return;
        }
        self.place.server().faults().clear();
        if self.rng.one_in(3) {
            let txids = self.place.txids(&prefix);
            let txid = self.rng.pick(&txids).clone();
            // It may have been merged meanwhile: then it is not there, and no other state comes in its place.
            let restored = self.place.restore(&prefix, &out, &["--force", "--txid", &txid]);
            if restored.exit == 0 {
                app::verify(&out).unwrap_or_else(|lie| panic!("{prefix} at {txid}: {lie}"));
            }
            return;
        }
        let found = self.newest(one, &out);
        let app = &mut self.apps[one];
        assert!(found >= app.restored, "{prefix}: {found} after {}", app.restored);
        app.restored = found;
    }

    /// Restores the newest state; gives its last transaction.
    fn newest(&self, one: usize, out: &std::path::Path) -> u64 {
        let app = &self.apps[one];
        let restored =
            self.place.restore(&format!("p/sqlite/{}", app.name), out, &["--force", "--format", "json"]);
        restored.expect(0);
        let said: Value = serde_json::from_str(&restored.stdout).expect("JSON");
        let txid = u64::from_str_radix(said["txid"].as_str().expect("a TXID"), 16).expect("hex");
        assert!(txid >= app.durable, "{}: {} was reported durable, {txid} came back", app.name, app.durable);
        app::verify(out).unwrap_or_else(|lie| panic!("{}: {lie}", app.name)).last_seq
    }

    /// An operator stops the pod, throws a database away and gets it back from the replica.
    fn restore_by_hand(&mut self, one: usize) {
        self.place.server().faults().clear();
        self.end_streamer();
        self.apps[one].kill();
        let restored = self.apps[one].durable > 0;
        if restored {
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{suffix}", self.apps[one].db.display()));
            }
            let db = self.apps[one].db.clone();
            let found = self.newest(one, &db);
            let app = &mut self.apps[one];
            assert!(found >= app.restored, "{}: {found} after {}", app.name, app.restored);
            app.restored = found;
            // What was acknowledged after it is lost by the operator's will, and its numbers are used again.
            let _ = fs::remove_file(&app.acks);
        }
        // Whoever is quicker: a note beside the file says what it was.
        let application_first = self.rng.one_in(2);
        if application_first {
            self.apps[one].start(&mut self.rng);
            let acks = self.apps[one].acks.clone();
            wait_until(PATIENCE, "a commit before anybody looks", || !read_acks(&acks).is_empty());
        }
        self.streamer = stream(&self.place, &self.scratch);
        if restored {
            self.wait_for_claim(&self.apps[one].name);
        }
        if !application_first {
            self.apps[one].start(&mut self.rng);
        }
    }

    #[track_caller]
    fn wait_for_claim(&self, name: &str) {
        let is_it = |line: &Value| line["db"].as_str().is_some_and(|db| db.ends_with(name));
        let began = Instant::now();
        while !self.streamer.events("claimed").iter().any(is_it) {
            if began.elapsed() > PATIENCE {
                let said: Vec<Value> = self.streamer.lines().into_iter().filter(is_it).collect();
                panic!("{name} was restored and is not followed: {said:#?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All trouble ends; everything must be there.
    fn end(mut self) {
        self.place.server().faults().clear();
        // What hangs is given up after half a minute, and a look's time more.
        self.listen();
        let before: Vec<u64> = self.apps.iter().map(|app| app.durable).collect();
        wait_until(2 * PATIENCE, "every database to get on", || {
            self.listen();
            self.apps.iter().zip(&before).all(|(app, before)| app.durable > *before)
        });
        self.apps.iter_mut().for_each(App::end);
        assert_eq!(self.end_streamer(), 0, "{}", self.streamer.proc.log_tail());
        for one in 0..self.apps.len() {
            let out = self.scratch.file("restored.db");
            let found = self.newest(one, &out);
            let app = &self.apps[one];
            let acknowledged = read_acks(&app.acks).last().map_or(0, |ack| ack.seq);
            assert!(found >= acknowledged, "{}: {found}, acknowledged {acknowledged}", app.name);
            e2e::fold(&app.db);
            let compared = app::compare_dbs(&app.db, &out).expect("both can be read");
            assert!(compared.same_bytes(), "{}: {compared}", app.name);
            let sync = if app.args.sync_full { "FULL" } else { "NORMAL" };
            println!("{}: {found} transactions, TXID {}, synchronous={sync}", app.name, app.durable);
        }
        let mut verify = self.place.command("restore");
        verify.args([
            "verify",
            "--all",
            "--full",
            &self.place.url(&format!("p/sqlite/{}", self.apps[0].name)),
        ]);
        run(verify).expect(0);
        println!("{:?} on {}", self.told, self.volume.path().display());
    }
}

/// What each thread of a process waits for in the kernel, as far as that may be read.
fn threads(id: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        format!("{}: {}\n{}", read("comm").trim(), read("wchan").trim(), read("stack"))
    };
    tasks.map(of).collect()
}

fn stream(place: &Place, scratch: &Volume) -> Streamer {
    let config = scratch.file("protect.yaml").display().to_string();
    Streamer::with(place, &["--sync-interval", "100ms", "--listen", "off", "--config", &config], &[])
}

#[test]
fn p1_p2_everything_comes_back_whatever_happened() {
    let began = Instant::now();
    let mut soak = Soak::begin(20_261_121);
    while began.elapsed() < Duration::from_secs(seconds()) {
        std::thread::sleep(Duration::from_millis(soak.rng.below(CALM_MS)));
        assert!(soak.streamer.proc.is_running(), "it ended:\n{}", soak.streamer.proc.log_tail());
        soak.happens();
    }
    soak.end();
}
