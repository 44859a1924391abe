//! What is durable on the simulated volumes, and the moment at which a process dies or the power fails.
//!
//! A sync makes the content of its file durable, and its name (as ext4 and XFS do for a new file); a rename is taken as durable
//! at once; a removal is durable when its directory was synced. After a loss of power each sector of a file that was changed
//! since is, by lot, old or new.
//!
//! A death is *armed* some calls ahead. When it comes the image of the volume is taken, and the code that was running runs on as
//! a ghost until it returns; then the ghost is dropped and the image put in place. So no stack has to be unwound through C.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use testkit::rng::Rng;

/// Bytes that are written to a disk at once.
const SECTOR: usize = 512;

/// Files of a volume by path relative to it.
pub type Image = BTreeMap<PathBuf, Vec<u8>>;

/// A call that changes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Io {
    Write,
    Cut,
    Sync,
    Unlink,
    Rename,
}

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// All processes of the pod; what they wrote is in the page cache and stays.
    Process,
    /// The machine; what was not synced is lost or torn.
    Power,
}

#[derive(Default)]
struct Disk {
    volumes: Vec<(PathBuf, Image)>,
    armed: Option<Armed>,
    died: Option<Died>,
    syncs: u64,
    calls: u64,
}

struct Armed {
    volume: usize,
    calls: u64,
    death: Death,
    rng: Rng,
}

/// A death that came.
pub struct Died {
    /// Whose.
    pub volume: usize,
    /// Which.
    pub death: Death,
    /// What the volume holds afterwards.
    pub image: Image,
    /// In which call, for the trace.
    pub at: String,
}

thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

fn with<T>(work: impl FnOnce(&mut Disk) -> T) -> Option<T> {
    // Calls made by this module, and by threads that are being torn down, are nobody's business.
    DISK.try_with(|disk| disk.try_borrow_mut().ok().and_then(|mut disk| disk.as_mut().map(work)))
        .ok()
        .flatten()
}

/// Begins a simulation in this thread; the volumes are these directories.
pub fn begin(volumes: &[PathBuf]) {
    let volumes = volumes.iter().map(|path| (path.clone(), Image::new())).collect();
    DISK.with_borrow_mut(|disk| *disk = Some(Disk { volumes, ..Disk::default() }));
}

/// Ends it.
pub fn end() {
    DISK.with_borrow_mut(|disk| *disk = None);
}

/// Calls that changed files, and syncs, seen so far.
pub fn seen() -> (u64, u64) {
    with(|disk| (disk.calls, disk.syncs)).unwrap_or_default()
}

/// The volume dies `calls` calls from now.
pub fn arm(volume: usize, calls: u64, death: Death, rng: Rng) {
    with(|disk| disk.armed = Some(Armed { volume, calls, death, rng }));
}

/// Whether the armed death came; the ghost may go on until [`bury`].
pub fn is_dead() -> bool {
    with(|disk| disk.died.is_some()).unwrap_or(false)
}

/// The death that came, if one did.
pub fn bury() -> Option<Died> {
    with(|disk| disk.died.take()).flatten()
}

/// An armed death that has not come does not come any more.
pub fn disarm() {
    with(|disk| disk.armed = None);
}

/// A death between two calls, now.
pub fn image_of(volume: usize, death: Death, rng: &mut Rng) -> Image {
    with(|disk| disk.image(volume, death, rng)).unwrap_or_default()
}

/// Replaces everything on a volume; it is durable.
pub fn put(volume: usize, image: &Image) {
    let Some(root) = with(|disk| {
        disk.volumes[volume].1 = image.clone();
        disk.armed = None;
        disk.volumes[volume].0.clone()
    }) else {
        return;
    };
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).expect("a scratch directory can be made");
    for (name, bytes) in image {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("files lie in a directory"))
            .expect("a directory can be made");
        fs::write(path, bytes).expect("a scratch file can be written");
    }
    // What was just written is no call of anybody.
    with(|disk| disk.volumes[volume].1 = image.clone());
}

/// A restore has put this file in place and synced it; its threads are not simulated. What lay beside it is gone.
pub fn restored(volume: usize, name: &str) {
    with(|disk| {
        let (root, durable) = &mut disk.volumes[volume];
        durable.retain(|path, _| !path.to_string_lossy().starts_with(name));
        if let Ok(bytes) = fs::read(root.join(name)) {
            durable.insert(name.into(), bytes);
        }
    });
}

pub(crate) fn before(io: Io, fd: RawFd) {
    with(|disk| {
        if disk.volumes.is_empty() {
            return;
        }
        if let Some((volume, name)) = disk.find(&path_of(fd)) {
            disk.count(io, volume, &name);
        }
    });
}

pub(crate) fn before_path(io: Io, path: &Path) {
    with(|disk| {
        if let Some((volume, name)) = disk.find(path) {
            disk.count(io, volume, &name);
        }
    });
}

/// True if the sync was simulated.
pub(crate) fn synced(fd: RawFd) -> bool {
    with(|disk| {
        let path = path_of(fd);
        let Some((volume, name)) = disk.find(&path) else { return false };
        disk.syncs += 1;
        let (root, durable) = &mut disk.volumes[volume];
        if path.is_dir() {
            durable.retain(|name, _| root.join(name).exists());
        } else if let Ok(bytes) = fs::read(&path) {
            durable.insert(name, bytes);
        }
        true
    })
    .unwrap_or(false)
}

pub(crate) fn renamed(from: &Path, to: &Path) {
    with(|disk| {
        let (Some((volume, from)), Some((_, to))) = (disk.find(from), disk.find(to)) else { return };
        let durable = &mut disk.volumes[volume].1;
        if let Some(bytes) = durable.remove(&from) {
            durable.insert(to, bytes);
        }
    });
}

impl Disk {
    fn find(&self, path: &Path) -> Option<(usize, PathBuf)> {
        self.volumes.iter().enumerate().find_map(|(volume, (root, _))| {
            path.strip_prefix(root).ok().map(|name| (volume, name.to_owned()))
        })
    }

    fn count(&mut self, io: Io, volume: usize, name: &Path) {
        self.calls += 1;
        let Some(armed) = self.armed.as_mut().filter(|a| a.volume == volume) else { return };
        if armed.calls > 0 {
            armed.calls -= 1;
            return;
        }
        let Armed { death, mut rng, .. } = self.armed.take().expect("looked at above");
        let image = self.image(volume, death, &mut rng);
        self.died = Some(Died { volume, death, image, at: format!("{io:?} {}", name.display()) });
    }

    fn image(&self, volume: usize, death: Death, rng: &mut Rng) -> Image {
        let (root, durable) = &self.volumes[volume];
        let mut now = read_tree(root);
        if death == Death::Process {
            return now;
        }
        // Shared memory is lost with the machine, locks are files without content.
        now.retain(|name, _| !name.to_string_lossy().ends_with("-shm"));
        for (name, old) in durable {
            match now.get_mut(name) {
                Some(new) => *new = torn(old, new, rng),
                // Removed, and the removal not synced.
                None if rng.one_in(2) && !name.to_string_lossy().ends_with("-shm") => {
                    now.insert(name.clone(), old.clone());
                }
                None => {}
            }
        }
        for (name, new) in &mut now {
            if !durable.contains_key(name) {
                *new = torn(&[], new, rng);
            }
        }
        now
    }
}

/// Some sectors old, some new; all of one kind in two of three cases.
fn torn(old: &[u8], new: &[u8], rng: &mut Rng) -> Vec<u8> {
    match rng.below(3) {
        0 => return old.to_vec(),
        1 => return new.to_vec(),
        _ => {}
    }
    let length = if rng.one_in(2) { old.len() } else { new.len() };
    let mut out = vec![0; length];
    for (at, sector) in out.chunks_mut(SECTOR).enumerate() {
        // A cut that did not reach the disk left everything behind it as it was.
        let cut = at * SECTOR >= new.len();
        let from = if rng.one_in(2) || cut { old } else { new };
        let start = (at * SECTOR).min(from.len());
        let end = (start + sector.len()).min(from.len());
        sector[..end - start].copy_from_slice(&from[start..end]);
    }
    out
}

fn path_of(fd: RawFd) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

fn read_tree(root: &Path) -> Image {
    fn walk(dir: &Path, root: &Path, into: &mut Image) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, root, into);
            } else if let Ok(bytes) = fs::read(&path) {
                let name = path.strip_prefix(root).expect("found below it").to_owned();
                into.insert(name, bytes);
            }
        }
    }
    let mut image = Image::new();
    walk(root, root, &mut image);
    image
}
