//! The thread beside the application that gives a [`Writer`] its time: it waits, and has it take a pass.

use crate::error::{Error, Result};
use crate::write::engine::{Config, Finish, Surroundings, Writer};
use crate::write::event::Event;
use crate::write::follow::{Pause, Step};
use crate::write::host::RuntimeHost;
use crate::write::inbox::Inbox;
use clock::{Clock, IdGen};
use sqlite_tail::Options;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Pause between copies while commits keep coming, so that following costs the application little.
const PACE: Duration = Duration::from_millis(4);

/// Follows `config.database` into `store` until `stop` turns true, or once.
pub async fn run(
    config: Config,
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    events: Arc<dyn Fn(Event) + Send + Sync>,
    stop: watch::Receiver<bool>,
) -> Result<Finish> {
    run_asked(config, store, clock, ids, events, stop, Arc::default()).await
}

/// As [`run`], with questions on the way.
pub(crate) async fn run_asked(
    config: Config,
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    events: Arc<dyn Fn(Event) + Send + Sync>,
    stop: watch::Receiver<bool>,
    inbox: Arc<Inbox>,
) -> Result<Finish> {
    let host = Arc::new(RuntimeHost(Handle::current()));
    let tail = Options { convert_to_wal: config.convert_to_wal, ..Options::default() };
    let around = Surroundings { store, clock, ids, host, events, stop, tail, inbox };
    let (done, ended) = tokio::sync::oneshot::channel();
    let events = around.events.clone();
    // A start asks the store and waits, which touches 200 KiB of stack that its thread never gives back; following does not. So each
    // has a thread of its own (P7).
    let (starts, started) = std::sync::mpsc::sync_channel(1);
    thread("tail", move || {
        // No start, no end: whoever could not begin it says so. The channel goes with its one message (P7).
        let Some(started) = started.into_iter().next() else { return };
        // The writer is gone when it has lost its claim: what it held of the WAL is the application's again.
        let finish = Result::and_then(started, follow);
        if let Err(Error::Lost { what, hint }) = &finish {
            events(Event::Fenced { why: format!("{what}; {hint}") });
        }
        // Whoever asked for the run may have gone.
        let _ = done.send(match finish {
            Err(Error::Stopped) => Ok(Finish::Partial),
            other => other,
        });
    })?;
    thread("start", move || {
        // The other thread waits for it.
        let _ = starts.send(Writer::start(config, around));
    })?;
    ended.await.expect("the tail thread sends its result before it ends")
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
    spawned.map(drop).map_err(|source| Error::Io {
        path: PathBuf::from(name),
        doing: "start the thread",
        source,
    })
}

fn follow(mut writer: Writer) -> Result<Finish> {
    loop {
        match writer.pass()? {
            Step::Done(finish) => return Ok(finish),
            Step::Wait(pause) => rest(&mut writer, &pause),
        }
    }
}

fn rest(writer: &mut Writer, pause: &Pause) {
    writer.wait(pause.at_most);
    if writer.since_copy() < 4 * PACE || writer.following.is_draining() {
        std::thread::sleep(PACE);
    }
}
