//! A unix socket by which a command on the same machine asks a running sidecar for something.
//!
//! Protocol: one connection, one request, one answer; each a JSON document on one line, ended by a newline. What the
//! documents mean is the sidecar's; `docs/formats/control-socket.md` describes them.
//!
//! * Only the owner may connect: the socket has mode 0600 before it gets its name, and the HTTP server changes nothing.
//! * Bounded (P7): 8 connections, 64 KiB of request, 5 s to send it; how long an answer takes is the request's matter.
//! * A socket left behind by a killed process is replaced; one that somebody listens on is not.
//!
//! It uses `/proc/self/fd` where a path is longer than the 107 bytes that unix(7) allows.

use crate::{Error, Shutdown};
use serde_json::Value;
use std::fs::{self, DirBuilder, File, Permissions};
use std::future::Future;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Answers one request.
pub type Handler = Arc<dyn Fn(Value) -> Pin<Box<dyn Future<Output = Value> + Send>> + Send + Sync>;

const MAX_CONNECTIONS: usize = 8;
const MAX_REQUEST: u64 = 64 << 10;
/// A status of a thousand databases is below 1 MiB.
const MAX_ANSWER: u64 = 16 << 20;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest path of `sockaddr_un`.
const MAX_PATH: usize = 107;

/// A socket that is served; its file is removed when it stops.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Control {
    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until it no longer accepts, and removes the file.
    pub async fn stopped(self) {
        let _ = self.task.await; // a panic was reported by its own hook
        let _ = fs::remove_file(&self.path); // gone already is what we want
    }
}

/// Listens on `path` and serves in the background until `shutdown` is cancelled.
pub fn serve(path: &Path, handler: Handler, shutdown: Shutdown) -> Result<Control, Error> {
    let failed = |source| Error::Control { path: path.to_owned(), source };
    let listener = bind(path).map_err(failed)?;
    let task = tokio::spawn(accept(listener, handler, shutdown));
    Ok(Control { path: path.to_owned(), task })
}

/// Binds in a directory that only we can enter, then renames: the socket is never there with another mode.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let (parent, name) = split(path)?;
    match connect(path) {
        Ok(_) => return Err(io::Error::new(ErrorKind::AddrInUse, "another process listens on it")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
        Err(_) => {}
    }
    if let Ok(there) = fs::symlink_metadata(path)
        && there.is_file() | there.is_dir()
    {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "it is no socket; name another path"));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let private = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let _ = fs::remove_dir_all(&private); // of an earlier process with our number
    DirBuilder::new().mode(0o700).create(&private)?;
    let bound = (|| {
        let inside = private.join("s");
        let listener = with_short(&inside, |short| UnixListener::bind(short))?;
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    })();
    let _ = fs::remove_dir_all(&private);
    bound
}

fn split(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it names no file"))?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent, name))
}

/// Calls with a path that fits, by way of a descriptor of the directory if need be.
fn with_short<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= MAX_PATH {
        return call(path);
    }
    let (parent, name) = split(path)?;
    let dir = File::open(parent)?;
    call(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

fn connect(path: &Path) -> io::Result<BlockingStream> {
    with_short(path, |short| BlockingStream::connect(short))
}

async fn accept(listener: UnixListener, handler: Handler, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let (handler, shutdown) = (Arc::clone(&handler), shutdown.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = connection(stream, handler) => {}
                        () = shutdown.cancelled() => {}
                    }
                    drop(slot);
                });
            }
            // Out of descriptors does not get better by trying at full speed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(stream: UnixStream, handler: Handler) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = tokio::io::BufReader::new(read.take(MAX_REQUEST));
    let mut line = Vec::new();
    let read = tokio::time::timeout(REQUEST_TIMEOUT, reader.read_until(b'\n', &mut line)).await;
    if !matches!(read, Ok(Ok(_))) || line.last() != Some(&b'\n') {
        return Ok(()); // slow, broken or too long: theirs to report
    }
    let answer = match serde_json::from_slice(&line) {
        Ok(request) => {
            // Who hangs up no longer waits for the answer.
            let gone = async {
                let _ = reader.read_u8().await;
            };
            tokio::select! {
                answer = handler(request) => answer,
                () = gone => return Ok(()),
            }
        }
        Err(error) => serde_json::json!({ "exit": 2, "error": format!("the request is no JSON: {error}") }),
    };
    let mut text = answer.to_string().into_bytes();
    text.push(b'\n');
    write.write_all(&text).await
}

/// Asks the process behind `path`; waits at most `timeout` for the answer.
pub fn ask(path: &Path, request: &Value, timeout: Duration) -> Result<Value, Error> {
    let failed = |source| Error::Ask { path: path.to_owned(), source };
    let exchange = || -> io::Result<Value> {
        let mut stream = connect(path)?;
        stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(io::Read::take(stream, MAX_ANSWER)).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "it ended before it answered"));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    };
    exchange().map_err(failed)
}

#[cfg(test)]
mod tests;
