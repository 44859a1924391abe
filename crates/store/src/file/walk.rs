//! Listing a directory tree in byte order of whole keys.
//!
//! Entries of a directory are sorted with `/` behind the names of directories: only so `a.txt` < `a/b` < `a0` comes
//! out as a bucket would list it. Memory: one page, and the names of the directories on the way.
//!
//! P6: a share that is unmounted half-way shows missing directories, which would look like a short listing; the root
//! must be the same directory at the end as at the start.

use super::{Inner, describe, errors::failed, refuse_link};
use crate::key::TEMP_PREFIX;
use crate::object::{ObjectMeta, Page};
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

struct Walk<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    objects: Vec<ObjectMeta>,
    more: bool,
}

impl Inner {
    pub(super) fn walk(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page> {
        let Some(root) = self.check_root()? else { return Ok(Page::default()) };
        let mut walk = Walk { prefix, after, limit, objects: Vec::new(), more: false };
        walk.directory(&self.root, "")?;
        if self.check_root()? != Some(root) {
            return Err(Error::NoRoot {
                root: format!("directory {}", self.root.display()),
                hint: "it was replaced while it was being listed".to_owned(),
            });
        }
        Ok(Page { objects: walk.objects, more: walk.more })
    }
}

impl Walk<'_> {
    fn directory(&mut self, dir: &Path, rel: &str) -> Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()), // removed since; see the root check
            Err(error) => return Err(failed("list", rel, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", rel, e))?;
            // A name that is not UTF-8 is no key of ours.
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            if name.starts_with(TEMP_PREFIX) {
                continue;
            }
            let kind = entry.file_type().map_err(|e| failed("list", rel, e))?;
            if kind.is_dir() {
                name.push('/');
            }
            let key = format!("{rel}{name}");
            if !self.wants(&key) {
                continue;
            }
            if kind.is_symlink() {
                return Err(refuse_link(&entry.path()));
            }
            if kind.is_dir() || kind.is_file() {
                names.push(key);
            }
        }
        names.sort_unstable();
        for key in names {
            if self.more {
                return Ok(());
            }
            let path = dir.join(key[rel.len()..].trim_end_matches('/'));
            if key.ends_with('/') {
                self.directory(&path, &key)?;
            } else if self.objects.len() == self.limit {
                self.more = true;
            } else {
                match fs::symlink_metadata(&path) {
                    Ok(meta) => self.objects.push(describe(key, &meta)),
                    Err(error) if error.kind() == ErrorKind::NotFound => {} // removed since
                    Err(error) => return Err(failed("list", &key, error)),
                }
            }
        }
        Ok(())
    }

    /// Can this key, or a key below this directory (with its `/`), belong to the page?
    fn wants(&self, key: &str) -> bool {
        let below = key.ends_with('/');
        let in_prefix = key.starts_with(self.prefix) || (below && self.prefix.starts_with(key));
        let in_page = self.after.is_none_or(|after| key > after || (below && after.starts_with(key)));
        in_prefix && in_page
    }
}
