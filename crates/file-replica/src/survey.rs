//! What of a replica is whole: the newest snapshot as a restore would read it, and where it is damaged, the newest one before it that
//! is not. `restore verify` is this, and says with it what `--latest-valid` gives back.

use crate::catalogue::{Catalogue, read_head};
use crate::layout::{Seq, commit_key};
use crate::manifest::{CommitKind, Head, Object};
use crate::verify::{Verified, prove_object, verify};
use crate::{Class, Error, Result};
use seal::Identities;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use store::Store;

/// What was found; the field names are an interface.
#[derive(Debug, Clone, Serialize)]
pub struct Survey {
    /// The newest snapshot is whole, and with `all` every other one.
    pub ok: bool,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Objects that were read.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Files that were opened and compared with their entries; 0 without the key of a sealed replica.
    pub files: u64,
    /// The newest snapshot that is whole.
    pub provable: Option<Seq>,
    /// When it was committed, RFC 3339.
    pub time: Option<String>,
    /// What is not.
    pub findings: Vec<Damage>,
}

/// A snapshot that cannot be restored as it was.
#[derive(Debug, Clone, Serialize)]
pub struct Damage {
    /// Its number.
    pub snapshot: Seq,
    /// The object and what is wrong with it.
    pub what: String,
}

/// Looks at the newest snapshot, and goes back while it finds damage; with `all` to the first one.
pub async fn survey(store: &Store, all: bool, identities: Option<Arc<Identities>>) -> Result<Survey> {
    let catalogue = Catalogue::load(store).await?;
    let mut survey = Survey {
        ok: true,
        snapshots: 0,
        objects: 0,
        bytes: 0,
        files: 0,
        provable: None,
        time: None,
        findings: Vec::new(),
    };
    // Snapshots share most of their objects: each is read once.
    let mut known: HashMap<String, Option<String>> = HashMap::new();
    for number in catalogue.numbers.iter().rev().copied() {
        let tried = match read_head(store, number).await {
            Ok(head) if head.kind == CommitKind::Claim => continue,
            Ok(head) => one(store, &head, &mut survey, &mut known, identities.clone()).await.map(|()| head),
            Err(error) => Err(error),
        };
        survey.snapshots += 1;
        match tried {
            Ok(head) if survey.provable.is_none() => {
                (survey.provable, survey.time) = (Some(number), Some(head.time));
                if !all {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) if error.class() == Class::Damaged || is_gone(&error) => {
                survey.ok = false;
                survey.findings.push(Damage { snapshot: number, what: what_of(&error) });
            }
            Err(error) => return Err(error),
        }
    }
    match survey.snapshots {
        0 => Err(Error::Nothing {
            what: "the replica holds no snapshot".into(),
            hint: "nothing was ever committed, or the URL is another one's".into(),
        }),
        _ => Ok(survey),
    }
}

/// The first as a restore would read it, those behind it by their stored bytes.
async fn one(
    store: &Store,
    head: &Head,
    survey: &mut Survey,
    known: &mut HashMap<String, Option<String>>,
    identities: Option<Arc<Identities>>,
) -> Result<()> {
    if survey.snapshots == 0 {
        let Verified { objects, bytes, files, .. } = verify(store, Some(head.number), identities).await?;
        (survey.objects, survey.bytes, survey.files) = (objects, bytes, files);
        known.extend(head.objects.iter().map(|object| (object.key.clone(), None)));
        return Ok(());
    }
    let bytes = store.get_bytes(&commit_key(head.number), None).await?;
    survey.objects += 1;
    survey.bytes += bytes.len() as u64;
    Head::decode(head.number, &bytes)?;
    for object in &head.objects {
        let answer = match known.get(&object.key) {
            Some(answer) => answer.clone(),
            None => {
                let answer = look(store, object, survey).await?;
                known.insert(object.key.clone(), answer.clone());
                answer
            }
        };
        if let Some(what) = answer {
            return Err(Error::damaged(what));
        }
    }
    Ok(())
}

/// What is wrong with an object; an error where it cannot be asked.
async fn look(store: &Store, object: &Object, survey: &mut Survey) -> Result<Option<String>> {
    survey.objects += 1;
    match prove_object(store, object).await {
        Ok(()) => {
            survey.bytes += object.size;
            Ok(None)
        }
        Err(error) if error.class() == Class::Damaged => Ok(Some(what_of(&error))),
        Err(error) => Err(error),
    }
}

fn what_of(error: &Error) -> String {
    match error {
        Error::Damaged { what, .. } => what.clone(),
        other => other.to_string(),
    }
}

/// A commit that was listed and is not there: retention at work, or damage; either way it cannot be restored.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Nothing { .. } | Error::Store(store::Error::NotFound { .. }))
}
