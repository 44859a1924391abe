//! A snapshot that exists already: a plain file, or K3s' zip of one. Adopting it costs the cluster nothing.
//!
//! When it was taken is read from K3s' name or said by the caller; a file's own times change when it is copied, and a wrong "now"
//! would make an old state the newest.

use super::zip::ZipMember;
use super::{Origin, Taken};
use crate::intake::{Intake, Received};
use crate::spool::check_space;
use crate::{Error, Result};
use clock::{Clock, UnixMs};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const CHUNK: usize = 256 << 10;

/// A file.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Its path.
    pub path: PathBuf,
    /// When it was taken; `None` reads K3s' name.
    pub taken_ms: Option<UnixMs>,
}

impl FileSource {
    pub(crate) async fn take(&self, dir: &Path, clock: &dyn Clock) -> Result<Taken> {
        let path = self.path.display().to_string();
        let taken_ms = self.taken_ms.or_else(|| k3s_time(&self.path)).ok_or_else(|| {
            Error::Usage(format!(
                "{path} does not say when it was taken (K3s' names end with the Unix time); add --taken-at"
            ))
        })?;
        if taken_ms > clock.unix_ms() {
            return Err(Error::Usage(format!(
                "{path} would be from the future: {}",
                clock::format_unix_ms(taken_ms)
            )));
        }
        let (source, dir) = (self.path.clone(), dir.to_owned());
        let received = tokio::task::spawn_blocking(move || read(&source, &dir))
            .await
            .map_err(|error| Error::Source(format!("reading {path} ended: {error}")))??;
        Ok(Taken {
            received,
            origin: Origin::new("file", &path),
            taken_ms,
            stream_seconds: None,
            hashes: Err("a file has no live members".to_owned()),
        })
    }
}

fn read(path: &Path, dir: &Path) -> Result<Received> {
    let reading = || Error::local(format!("read {}", path.display()));
    let file = File::open(path).map_err(reading())?;
    let mut magic = [0; 4];
    let zipped = file.metadata().map_err(reading())?.len() > 4 && {
        crate::ReadAt::read_at(&file, 0, &mut magic).map_err(reading())?;
        magic == *b"PK\x03\x04"
    };
    let mut intake = Intake::new(dir, false)?;
    if zipped {
        let mut member = ZipMember::open(file, &path.display().to_string())?;
        check_space(dir, member.size())?;
        copy(&mut member, &mut intake, path)?;
        member.finish()?;
    } else {
        copy(&mut &file, &mut intake, path)?;
    }
    match intake.finish() {
        // A file does not get longer by trying again.
        Err(Error::Source(what)) => Err(Error::Damaged(format!("{}: {what}", path.display()))),
        other => other,
    }
}

fn copy(from: &mut dyn Read, intake: &mut Intake, path: &Path) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error)
                if error.kind() == std::io::ErrorKind::InvalidData
                    || error.kind() == std::io::ErrorKind::InvalidInput =>
            {
                return Err(Error::Damaged(format!("{}: {error}", path.display())));
            }
            Err(error) => return Err(Error::local(format!("read {}", path.display()))(error)),
        };
        intake.push(&buffer[..count])?;
    }
}

/// `<name>-<node>-<unix seconds>[.zip]`.
fn k3s_time(path: &Path) -> Option<UnixMs> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".zip").unwrap_or(name);
    let (_, seconds) = name.rsplit_once('-')?;
    let seconds: i64 = seconds.parse().ok().filter(|_| seconds.len() == 10)?;
    Some(seconds * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k3s_names_tell_the_time() {
        let time = |name: &str| k3s_time(Path::new(name));
        assert_eq!(time("/x/etcd-snapshot-node-1-1716336000.zip"), Some(1_716_336_000_000));
        assert_eq!(time("on-demand-server-0-1716336000"), Some(1_716_336_000_000));
        for other in ["snapshot.db", "etcd-12", "etcd-17163360001"] {
            assert_eq!(time(other), None, "{other}");
        }
    }
}
