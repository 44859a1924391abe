//! Where the description is read from, and in which order.
//!
//! A source that was named must exist; a default place may be empty. A source that exists and cannot be read is an error
//! in both cases: "cannot know" is not "nothing there" (P6).

use crate::{Description, Error, Layer, Variables, annotations, environment, resolve, yaml};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const DEFAULT_CONFIG: &str = "/etc/highwater/protect.yaml";
const DEFAULT_ANNOTATIONS: &str = "/highwater/podinfo/annotations";
/// Kubernetes allows 256 KiB of annotations; a description is smaller than that in any form (P7).
const LARGEST: u64 = 1 << 20;

/// Everything that may say something.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`; else `HIGHWATER_CONFIG`, else the default place if there is a file.
    pub config: Option<PathBuf>,
    /// `--annotations`; else `HIGHWATER_ANNOTATIONS`, else the default place if there is a file.
    pub annotations: Option<PathBuf>,
    /// `--annotation-domain`; else [`crate::DEFAULT_DOMAIN`].
    pub domain: Option<String>,
    /// The process's environment.
    pub environment: BTreeMap<String, String>,
    /// What the command line says; wins over everything.
    pub flags: Layer,
}

impl Sources {
    /// The sources of this process, with nothing said on the command line. Variables that are not UTF-8 cannot be ours.
    pub fn of_process() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self { environment: environment.collect(), ..Self::default() }
    }

    /// Whether this process runs in a pod, as far as we are told: an annotations file was named or is there.
    pub fn in_pod(&self) -> bool {
        self.annotations_path().is_some_and(|(path, _)| path.exists())
    }

    /// Reads and lays all sources, checks, expands, and gives the one description.
    pub fn resolve(&self) -> Result<Description, Error> {
        let mut layer = Layer::default();
        if let Some((text, path)) = read(self.config_path())? {
            layer.lay(yaml::parse(&text, &path.to_string_lossy())?);
        }
        if let Some((text, path)) = read(self.annotations_path())? {
            let domain = self.domain.as_deref().unwrap_or(annotations::DEFAULT_DOMAIN);
            layer.lay(annotations::parse(&text, &path.to_string_lossy(), domain)?);
        }
        layer.lay(environment::parse(&self.environment)?);
        layer.lay(self.flags.clone());
        let variables = Variables {
            cluster: None,
            pod_name: self.environment.get("POD_NAME").cloned(),
            pod_namespace: self.environment.get("POD_NAMESPACE").cloned(),
        };
        resolve::resolve(layer, variables)
    }

    fn config_path(&self) -> Option<(PathBuf, bool)> {
        self.path(&self.config, "HIGHWATER_CONFIG", DEFAULT_CONFIG)
    }

    fn annotations_path(&self) -> Option<(PathBuf, bool)> {
        self.path(&self.annotations, "HIGHWATER_ANNOTATIONS", DEFAULT_ANNOTATIONS)
    }

    /// The path, and whether somebody named it.
    fn path(&self, flag: &Option<PathBuf>, variable: &str, default: &str) -> Option<(PathBuf, bool)> {
        if let Some(path) = flag {
            return Some((path.clone(), true));
        }
        match self.environment.get(variable).filter(|value| !value.is_empty()) {
            Some(path) => Some((path.into(), true)),
            None => Some((default.into(), false)),
        }
    }
}

fn read(path: Option<(PathBuf, bool)>) -> Result<Option<(String, PathBuf)>, Error> {
    let Some((path, named)) = path else { return Ok(None) };
    match read_bounded(&path) {
        Ok(text) => Ok(Some((text, path))),
        Err(error) if !named && error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Unreadable { path, source }),
    }
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
