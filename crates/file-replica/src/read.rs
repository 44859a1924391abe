//! Reading a live file without tearing it: look, read, look again.
//!
//! A file that changes between the two looks is tried again, and in the end counts as unstable: its last good version stays in the
//! snapshot. restic stores such a file as a mixture of generations; rclone fails. The same holds for a file that may not be read, or that
//! the disk does not give: one bad sector must not end the backup of everything else (P3: it is never a deletion). Which errors
//! are one file's own is a short list; any other (no descriptors, no memory) says nothing about the file and ends the look (P6).

use crate::entry::{Digest, Time, Xattr};
use crate::home::Home;
use crate::path::RelPath;
use crate::scan::Look;
use crate::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// So often a file is read before it counts as unstable.
const TRIES: u32 = 3;

/// The clock that stamps the files, as far as it was asked; and how far apart two stamps must be to be told apart.
pub(crate) struct Stamps<'a> {
    home: &'a Home,
    now: Time,
    slack_ms: i64,
}

impl<'a> Stamps<'a> {
    pub(crate) fn new(home: &'a Home, now: Time, slack_ms: i64) -> Self {
        Self { home, now, slack_ms }
    }

    /// Waits until a write from now on would get a later stamp than `look` has; false for a file that is written all the time.
    /// Without this, a write during the reading could carry the very stamp that the first look saw.
    fn pass(&mut self, look: &Look) -> Result<bool> {
        let settled = |now: Time| look.mtime.max(look.ctime) < now.minus_ms(self.slack_ms);
        if settled(self.now) {
            return Ok(true);
        }
        self.now = self.home.file_system_time()?;
        if !settled(self.now) {
            let slack = Duration::from_millis(u64::try_from(self.slack_ms).unwrap_or(0));
            std::thread::sleep(slack + Duration::from_millis(5));
            self.now = self.home.file_system_time()?;
        }
        // Stamps of another machine may lie ahead of every clock here; the looks before and after are all there is then.
        Ok(settled(self.now) || look.mtime.max(look.ctime) > self.now)
    }
}

/// What reading a file came to.
#[derive(Debug)]
pub(crate) enum Reading<T> {
    /// These bytes were the file between the two looks.
    Stable(Look, T),
    /// It changed each time.
    Unstable,
    /// It is there, and may not be read or cannot be.
    Unreadable(io::Error),
    /// It is not there any more, or is something else now.
    Gone,
}

/// Reads a small file.
pub(crate) fn small(
    root: &Path,
    path: &RelPath,
    bound: u64,
    stamps: &mut Stamps<'_>,
) -> Result<Reading<Vec<u8>>> {
    stable(root, path, Some(stamps), |file, look| {
        let mut bytes = Vec::with_capacity(usize::try_from(look.size.min(bound)).unwrap_or(0));
        file.take(bound + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    })
}

/// Digests a file of any size.
pub(crate) fn digest(
    root: &Path,
    path: &RelPath,
    stamps: Option<&mut Stamps<'_>>,
) -> Result<Reading<Digest>> {
    stable(root, path, stamps, |file, look| {
        // One byte more than it had tells that it grew; the end of a file that grows for ever is never met.
        let mut digesting = crate::chest::Digesting::new(file.take(look.size + 1));
        io::copy(&mut digesting, &mut io::sink())?;
        Ok(digesting.digest().2)
    })
}

fn stable<T>(
    root: &Path,
    path: &RelPath,
    mut stamps: Option<&mut Stamps<'_>>,
    read: impl Fn(&mut File, &Look) -> io::Result<T>,
) -> Result<Reading<T>> {
    let place = root.join(path.as_path());
    for _ in 0..TRIES {
        let mut file = match open(&place) {
            Ok(file) => file,
            Err(errno) => return failed(&place, "open", errno.into()),
        };
        let before = match look(&file) {
            Ok(look) => look,
            Err(error) => return failed(&place, "look at", error),
        };
        if before.kind != rustix::fs::FileType::RegularFile {
            return Ok(Reading::Gone);
        }
        if let Some(stamps) = &mut stamps
            && !stamps.pass(&before)?
        {
            continue;
        }
        let got = match read(&mut file, &before) {
            Ok(got) => got,
            Err(error) => return failed(&place, "read", error),
        };
        match look(&file) {
            Ok(after) if after.same_version(&before) => return Ok(Reading::Stable(before, got)),
            Ok(_) => {}
            Err(error) => return failed(&place, "look at", error),
        }
    }
    Ok(Reading::Unstable)
}

/// What a failed call on one file means.
pub(crate) fn failed<T>(place: &Path, doing: &'static str, error: io::Error) -> Result<Reading<T>> {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Reading::Gone),
        _ if is_of_one_file(&error) => Ok(Reading::Unreadable(error)),
        _ => Err(Error::io(place, doing)(error)),
    }
}

/// Whether an error is that file's own: somebody else's or locked away, on a bad sector, with damaged metadata, without its key, or
/// behind a server that does not answer for it.
pub(crate) fn is_of_one_file(error: &io::Error) -> bool {
    let own = [
        Errno::ACCESS,
        Errno::PERM,
        Errno::IO,
        Errno::UCLEAN,
        Errno::BADMSG,
        Errno::ILSEQ,
        Errno::NODATA,
        Errno::REMOTEIO,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::NOKEY,
        Errno::NAMETOOLONG,
    ];
    error.raw_os_error().is_some_and(|raw| own.contains(&Errno::from_raw_os_error(raw)))
}

pub(crate) fn open(place: &Path) -> std::result::Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(place, flags, Mode::empty()).map(File::from)
}

pub(crate) fn look(file: &File) -> io::Result<Look> {
    Ok(Look::from(rustix::fs::fstat(file)?))
}

/// How a file looks now; `None` if it is gone.
pub(crate) fn look_again(place: &Path) -> Option<Look> {
    rustix::fs::lstat(place).ok().map(Look::from)
}

/// Extended attributes worth keeping: the user's, and POSIX ACLs. Labels of security modules belong to the node.
pub(crate) fn xattrs(root: &Path, path: &RelPath) -> Result<Vec<Xattr>> {
    let place = root.join(path.as_path());
    let Some(names) = grown(|buffer: &mut [u8]| rustix::fs::llistxattr(&place, buffer), &place)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for name in
        names.split(|b| *b == 0).filter(|n| n.starts_with(b"user.") || n.starts_with(b"system.posix_acl_"))
    {
        if let Some(value) = grown(|buffer: &mut [u8]| rustix::fs::lgetxattr(&place, name, buffer), &place)? {
            found.push(Xattr { name: name.to_vec(), value });
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The kernel bounds both at 64 KiB. `None`: there are none here, or it is gone.
fn grown(
    call: impl Fn(&mut [u8]) -> std::result::Result<usize, Errno>,
    place: &Path,
) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(1 << 17, 0),
            Err(Errno::OPNOTSUPP | Errno::NODATA | Errno::NOENT | Errno::ACCESS | Errno::PERM) => {
                return Ok(None);
            }
            Err(errno) => return Err(Error::sys(place, "read attributes of")(errno)),
        }
    }
}
