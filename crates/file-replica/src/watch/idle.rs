//! Hours in which nothing happens, on a clock of their own.
//!
//! Each time the loop turns, its clock goes forward by a step, so no timer is waited for and every one goes off. Nothing else is simulated: the
//! tree, the watches and the store are those of the other tests, and the store writes down what it is asked.

use super::*;
use crate::testing::{Bench, run};
use clock::ManualClock;
use std::sync::atomic::AtomicU64;

/// Beyond every look by the clock: they come 225 to 375 s after the last one.
const STEP: Duration = Duration::from_secs(376);

/// What a sidecar runs with where nothing is said.
pub(super) fn defaults() -> WatchOptions {
    WatchOptions {
        quiet: Duration::from_secs(10),
        most: Duration::from_secs(60),
        verify_every: Duration::from_secs(24 * 3_600),
        keep: Keep::all_for(Duration::from_secs(86_400)),
        prune_every: Duration::from_secs(24 * 3_600),
    }
}

/// Runs the loop; each time it turns `turn` is called with the looks so far and says how long it takes until the next one, or ends it.
pub(super) async fn turning(
    b: &Bench,
    options: WatchOptions,
    turn: impl Fn(u64) -> Option<Duration> + Send + Sync + 'static,
) -> Result<Finish> {
    let (clock, looks): (Arc<ManualClock>, _) = (b.clock.clone(), AtomicU64::new(0));
    let (stop, stopped) = watch::channel(false);
    let sink = Arc::new(move |event: Event<'_>| match event {
        Event::Looked(..) => drop(looks.fetch_add(1, Ordering::SeqCst)),
        Event::Beat => match turn(looks.load(Ordering::SeqCst)) {
            Some(step) => clock.advance_ms(u64::try_from(step.as_millis()).unwrap()),
            None => drop(stop.send_replace(true)),
        },
        Event::Failed(error) => panic!("{error}"),
        _ => {}
    });
    let writer = b.writer().await?;
    super::watch(writer, options, b.clock.clone(), b.ids.clone(), stopped, sink).await
}

/// Requests of so many steps that begin after so many looks, and the looks in them.
fn asked_while_idle(b: &Bench, after: u64, steps: u64) -> (Vec<String>, Vec<String>, u64) {
    let (faults, seen) = (b.faults.clone(), Arc::new(Mutex::new((Vec::new(), Vec::new(), 0))));
    let told = seen.clone();
    let names = move || -> Vec<String> {
        faults.take_log().into_iter().map(|c| format!("{} {}", c.operation.as_str(), c.key)).collect()
    };
    let finish = run(turning(b, defaults(), move |looks| {
        let mut told = lock(&told);
        match looks {
            now if now < after => Some(STEP),
            now if now == after => {
                told.0 = names();
                Some(STEP)
            }
            now if now < after + steps => Some(STEP),
            now => {
                (told.1, told.2) = (names(), now - after);
                None
            }
        }
    }));
    assert_eq!(finish.unwrap(), Finish::Complete);
    let seen = lock(&seen);
    seen.clone()
}

#[test]
fn p7_an_idle_hour_asks_the_store_nothing() {
    let b = Bench::new();
    (0..200).for_each(|i| b.put(&format!("d{}/f{i}", i % 9), format!("{i}")));
    // The first look commits, the second finds proof and retention due; then an hour begins.
    let hour = 3_600 / STEP.as_secs() + 1;
    let (before, idle, looks) = asked_while_idle(&b, 3, hour);
    assert!(looks >= 10, "the whole tree was looked at {looks} times");
    assert_eq!(idle, Vec::<String>::new(), "and nobody was asked anything");
    // What the hour is compared with: the log does write down what is asked.
    let count = |word: &str| before.iter().filter(|asked| asked.starts_with(word)).count();
    assert!(count("put") >= 3 && count("list") >= 1, "{before:?}");
    assert!(before.iter().any(|asked| asked.contains("proven.json")), "proof was due: {before:?}");
}

#[test]
fn p7_an_idle_day_asks_for_its_proof_and_its_retention_once() {
    let b = Bench::new();
    (0..20).for_each(|i| b.put(&format!("f{i}"), format!("{i}")));
    let day = 86_400 / STEP.as_secs() + 1;
    let (_, idle, _) = asked_while_idle(&b, 3, day);
    let proofs = idle.iter().filter(|asked| asked.starts_with("get") && asked.contains("/p/")).count();
    assert!(proofs <= 1 && idle.len() <= 12, "{idle:?}");
    assert!(idle.iter().all(|asked| !asked.contains(" m/") || !asked.starts_with("put")), "{idle:?}");
}
