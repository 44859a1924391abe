//! What the process listens on: HTTP for the kubelet and Prometheus, the control socket for its owner.

use crate::cli::{Replicate, Switch};
use crate::control::{self, SOCKET};
use crate::observe::Observers;
use door::Failure;
use sqlite_replica::FleetHandle;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use telemetry::control::{Control, Handler};
use telemetry::http::{self, Server};
use telemetry::{Class, Exit, Health, Registry, Shutdown};
use tokio::task::JoinHandle;

const PORT: u16 = 9090;
/// How often a state directory that is not there yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often it is seen to that the socket is still where it was made.
const SEE_TO_IT: Duration = Duration::from_secs(2);

/// Serves HTTP. A default address that is taken by hand is no reason to stop: somebody else's sidecar runs there.
pub(crate) async fn http(
    args: &Replicate,
    in_pod: bool,
    registry: &Arc<Registry>,
    health: &Arc<Health>,
    observers: &Arc<Observers>,
    shutdown: &Shutdown,
) -> Result<Option<Server>, Failure> {
    let (addr, asked) = match &args.listen {
        Some(Switch::Off) => return Ok(None),
        Some(Switch::On(addr)) => (*addr, true),
        None if in_pod => (SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)), true),
        None if args.once => return Ok(None),
        None => (SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), false),
    };
    let all = observers.clone();
    let status = Arc::new(move || all.document());
    match http::serve(addr, registry.clone(), health.clone(), status, shutdown.clone()).await {
        Ok(server) => {
            tracing::info!(addr = %server.addr(), "serving");
            Ok(Some(server))
        }
        Err(error) if !asked => {
            tracing::warn!(%error, "no metrics are served; choose an address with --listen");
            Ok(None)
        }
        Err(error) => {
            let exit = if error.class() == Class::Retriable { Exit::Failed } else { Exit::Usage };
            Err(Failure::new(exit, error))
        }
    }
}

/// The control socket, or the promise of one.
pub(crate) struct Socket(JoinHandle<Option<Control>>);

impl Socket {
    /// After the shutdown: nothing listens any more, and no file is left.
    pub(crate) async fn stopped(self) {
        if let Ok(Some(control)) = self.0.await {
            control.stopped().await;
        }
    }
}

/// Serves the control socket. By hand it lies in the state directory, which is not there before the database is: nothing is
/// created where an application will be. As above, a default place that cannot be had is a warning.
pub(crate) fn socket(
    args: &Replicate,
    in_pod: bool,
    volume: &Path,
    fleet: FleetHandle,
    observers: &Arc<Observers>,
    shutdown: &Shutdown,
) -> Result<Option<Socket>, Failure> {
    let handler = control::handler(fleet, observers.clone());
    let path: PathBuf = match &args.socket {
        Some(Switch::Off) => return Ok(None),
        Some(Switch::On(path)) => path.clone(),
        None if in_pod => args.run_dir.join(SOCKET),
        None if args.once => return Ok(None),
        None => {
            let (dir, shutdown) = (volume.join(".highwater"), shutdown.clone());
            return Ok(Some(Socket(tokio::spawn(later(dir, handler, shutdown)))));
        }
    };
    let listening = Listening::on(&path, &handler).map_err(|error| Failure::new(Exit::Failed, error))?;
    let shutdown = shutdown.clone();
    Ok(Some(Socket(tokio::spawn(async move { Some(keep(listening, path, handler, shutdown).await) }))))
}

async fn later(dir: PathBuf, handler: Handler, shutdown: Shutdown) -> Option<Control> {
    while !dir.is_dir() {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
    let path = dir.join(SOCKET);
    match Listening::on(&path, &handler) {
        Ok(listening) => Some(keep(listening, path, handler, shutdown).await),
        Err(error) => {
            tracing::warn!(%error, "sync and status cannot reach this process");
            None
        }
    }
}

/// A socket with a stop of its own.
struct Listening(Control, Shutdown);

impl Listening {
    fn on(path: &Path, handler: &Handler) -> Result<Listening, telemetry::Error> {
        let stop = Shutdown::manual();
        Ok(Listening(telemetry::control::serve(path, handler.clone(), stop.clone())?, stop))
    }
}

/// Until the shutdown. Somebody may clean up the directory it lies in: once that is there again, so is the socket.
async fn keep(mut now: Listening, path: PathBuf, handler: Handler, shutdown: Shutdown) -> Control {
    // Whoever was connected before is still answered.
    let mut before = None::<Listening>;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(SEE_TO_IT) => {}
        }
        if path.exists() || !path.parent().is_some_and(Path::is_dir) {
            continue;
        }
        match Listening::on(&path, &handler) {
            Ok(anew) => {
                tracing::info!(path = %path.display(), "the control socket was removed by somebody; it is made anew");
                if let Some(Listening(_, stop)) = before.replace(std::mem::replace(&mut now, anew)) {
                    stop.cancel();
                }
            }
            Err(error) => tracing::debug!(%error, "the control socket cannot be made anew"),
        }
    }
    if let Some(Listening(_, stop)) = before {
        stop.cancel();
    }
    now.1.cancel();
    now.0
}
