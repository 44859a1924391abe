//! The sidecar's loop: hints and timers in, snapshots out; and now and then a proof and a pruning.
//!
//! Events only say "look soon"; every look is a scan of the whole tree (a thousand entries take a few ms). A refusal of a guard, a store
//! that is down and a file system error are told and tried again; a fence is told and never tried again (P4). Nothing is
//! sent while nothing changes. On stop a last look is taken, within the caller's deadline.

mod debounce;
mod hints;

pub use debounce::{Debounce, Pace};

use crate::manifest::Head;
use crate::retention::{all_heads, apply, plan};
use crate::verify::{Proven, Verified, record, verify};
use crate::write::begin_is_local;
use crate::{Committed, Error, Result, Writer};
use clock::{Clock, IdGen};
use hints::{Hints, News};
use protect::Keep;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Rescans without events where all writers are on this machine, where some may not be, and where there are no events.
const RESCAN_LOCAL: Duration = Duration::from_secs(300);
const RESCAN_REMOTE: Duration = Duration::from_secs(45);
const RESCAN_POLL: Duration = Duration::from_secs(20);
/// Every content is compared this often: a writer through mmap leaves no trace in `stat`.
const DISTRUST: Duration = Duration::from_secs(12 * 3_600);
/// Watches that the kernel refused are tried again after this time.
const REWATCH: Duration = Duration::from_secs(600);

/// How the loop runs.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Quiet time before a look.
    pub quiet: Duration,
    /// Longest wait while events go on.
    pub most: Duration,
    /// How often the newest snapshot is read back; zero for never.
    pub verify_every: Duration,
    /// What retention keeps.
    pub keep: Keep,
    /// How often retention runs; zero for never.
    pub prune_every: Duration,
}

/// What the loop tells.
#[derive(Debug)]
pub enum Event<'a> {
    /// Events work, or the tree is polled.
    Mode {
        /// False while it is polled.
        inotify: bool,
    },
    /// The kernel dropped events; everything is looked at.
    Overflow,
    /// Something waits to be committed since this monotonic time in ms, or nothing does.
    Pending(Option<u64>),
    /// A look is over: committed, or nothing had changed.
    Looked(&'a Committed, Duration),
    /// A look failed.
    Failed(&'a Error),
    /// The newest snapshot was read back.
    Verified(&'a Verified),
    /// It could not be proven.
    Unproven(&'a Error),
    /// Retention ran.
    Pruned {
        /// Objects that were deleted.
        deleted: u64,
    },
    /// Retention failed.
    PruneFailed(&'a Error),
    /// The loop is alive.
    Beat,
}

/// Where the events go.
pub type Sink = dyn Fn(Event<'_>) + Send + Sync;

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Everything is in the store.
    Complete,
    /// The last look failed.
    Partial,
}

/// Runs until told to stop. A fence ends it with an error; the door decides whether the process stays.
pub async fn watch(
    mut writer: Writer,
    options: WatchOptions,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    mut stop: watch::Receiver<bool>,
    sink: Arc<Sink>,
) -> Result<Finish> {
    let news = Arc::new(News::default());
    let hints = Arc::new(Mutex::new(Hints::new(news.clone(), writer.home().allow_dir())));
    let now = || clock.monotonic_ns() / 1_000_000;
    let rescan = if begin_is_local(writer.root()) { RESCAN_LOCAL } else { RESCAN_REMOTE };
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let pace = Pace { quiet_ms: ms(options.quiet), most_ms: ms(options.most), rescan_ms: ms(rescan) };
    let mut debounce = Debounce::new(pace, now());
    let mut inotify = lock(&hints).works();
    sink(Event::Mode { inotify });
    if !inotify {
        debounce.set_rescan(ms(RESCAN_POLL), now());
    }
    let mut chores = Chores {
        verify_at: None,
        prune_at: None,
        distrust_at: now() + ms(DISTRUST),
        rewatch_at: now() + ms(REWATCH),
    };
    let mut stopping = false;
    loop {
        sink(Event::Beat);
        if news.overflow.swap(false, Ordering::Relaxed) {
            sink(Event::Overflow);
            lock(&hints).rebuild();
            debounce.event(now());
        }
        if news.faint.swap(false, Ordering::Relaxed) {
            debounce.faint(now());
        }
        if !stopping && now() < debounce.due() {
            // A heartbeat every 5 s at least.
            let pause = Duration::from_millis(debounce.due().saturating_sub(now()).min(5_000));
            tokio::select! {
                () = news.wake.notified() => debounce.event(now()),
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => stopping = true,
            }
            sink(Event::Pending(debounce.pending_since()));
            continue;
        }
        stopping |= *stop.borrow();
        if now() >= chores.distrust_at {
            chores.distrust_at = now() + ms(DISTRUST);
            writer.distrust();
        }
        if !inotify && now() >= chores.rewatch_at {
            chores.rewatch_at = now() + ms(REWATCH);
            lock(&hints).rebuild();
        }
        debounce.begin(now(), 75 + ids.next_u64() % 51);
        let began = clock.monotonic_ns();
        let announce = {
            let hints = hints.clone();
            move |dir: &Path| lock(&hints).announce(dir)
        };
        let looked = writer.snapshot(announce).await;
        lock(&hints).scanned(writer.databases());
        let works = lock(&hints).works();
        if works != inotify {
            inotify = works;
            sink(Event::Mode { inotify });
            debounce.set_rescan(ms(if inotify { rescan } else { RESCAN_POLL }), now());
        }
        match &looked {
            Ok(done) => {
                debounce.done();
                // What cannot be read waits for an event or the next look by the clock: a failing disk is not asked all the time.
                if done.moved || done.unstable > done.unreadable {
                    debounce.again(now());
                }
                sink(Event::Looked(done, Duration::from_nanos(clock.monotonic_ns() - began)));
            }
            Err(error) => {
                debounce.again(now());
                sink(Event::Failed(error));
            }
        }
        sink(Event::Pending(debounce.pending_since()));
        match looked {
            Err(error) if error.is_fenced() => return Err(error),
            Err(_) if stopping => return Ok(Finish::Partial),
            Ok(_) if stopping => return Ok(Finish::Complete),
            Ok(done) => chores.after(&mut writer, &done, &options, &*clock, &*sink).await,
            Err(_) => {}
        }
    }
}

/// What is due now and then.
struct Chores {
    verify_at: Option<u64>,
    prune_at: Option<u64>,
    distrust_at: u64,
    rewatch_at: u64,
}

impl Chores {
    async fn after(
        &mut self,
        writer: &mut Writer,
        _done: &Committed,
        options: &WatchOptions,
        clock: &dyn Clock,
        sink: &Sink,
    ) {
        if writer.snapshot_number() == 0 {
            return;
        }
        let now = clock.monotonic_ns() / 1_000_000;
        if due(&mut self.verify_at, now, options.verify_every) {
            let proof = async {
                let snapshot = writer.snapshot_number();
                if let Some(proven) = Proven::load(writer.store()).await?
                    && proven.number() == Some(snapshot)
                    && is_recent(&proven, options.verify_every, clock)
                {
                    return Ok(None);
                }
                let verified = verify(writer.store(), Some(snapshot), None).await?;
                record(writer.store(), &verified, "sidecar", clock).await?;
                Ok::<_, Error>(Some(verified))
            };
            match proof.await {
                Ok(Some(verified)) => sink(Event::Verified(&verified)),
                Ok(None) => {}
                Err(error) => sink(Event::Unproven(&error)),
            }
        }
        if due(&mut self.prune_at, now, options.prune_every) {
            match prune(writer, &options.keep, clock).await {
                Ok(deleted) => sink(Event::Pruned { deleted }),
                Err(error) => sink(Event::PruneFailed(&error)),
            }
        }
    }
}

/// Whether the newest snapshot was proven within the interval: a pod that restarts often does not read its replica each time.
fn is_recent(proven: &Proven, every: Duration, clock: &dyn Clock) -> bool {
    let age = clock::parse_unix_ms(&proven.at).map(|at| clock.unix_ms().saturating_sub(at));
    age.is_some_and(|age| u64::try_from(age).is_ok_and(|age| Duration::from_millis(age) < every))
}

/// Due a minute after the start, and then once per interval.
fn due(at: &mut Option<u64>, now: u64, every: Duration) -> bool {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    if every == 0 {
        return false;
    }
    let next = at.get_or_insert(now + every.min(60_000));
    let is_due = now >= *next;
    if is_due {
        *at = Some(now + every);
    }
    is_due
}

/// One retention run of the writer that owns the replica.
async fn prune(writer: &mut Writer, keep: &Keep, clock: &dyn Clock) -> Result<u64> {
    let known = writer.known_heads().clone();
    let heads: Vec<Head> = all_heads(writer.store(), |number| known.get(&number).cloned()).await?;
    let proven = Proven::load(writer.store()).await?.and_then(|p| p.number());
    let plan = plan(writer.store(), &heads, proven, keep, clock).await?;
    let deleted = apply(writer.store(), &plan).await?;
    let gone: std::collections::HashSet<u64> = plan.snapshots.iter().copied().collect();
    writer.learn_heads(heads.into_iter().filter(|h| !gone.contains(&h.number)));
    Ok(deleted)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod idle;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod tests;
