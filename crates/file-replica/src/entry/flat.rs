//! An entry as it lies in JSON: all fields side by side, and which of them must be there depends on the type.

use super::{Content, Digest, Entry, Kind, Time, Xattr};
use crate::path::{RelPath, from_text};
use crate::text;
use serde::{Deserialize, Deserializer};

/// The fields of all types.
#[derive(Deserialize)]
pub(super) struct Flat {
    path: RelPath,
    #[serde(rename = "type")]
    kind: Type,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Time,
    #[serde(default)]
    xattrs: Vec<Xattr>,
    target: Option<Target>,
    size: Option<u64>,
    sha256: Option<Digest>,
    object: Option<u32>,
    member: Option<RelPath>,
    link: Option<u32>,
    #[serde(default)]
    sparse: bool,
    #[serde(default)]
    unstable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Dir,
    File,
    Symlink,
    Fifo,
}

struct Target(Vec<u8>);

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        text::read(d, from_text).map(Target)
    }
}

impl TryFrom<Flat> for Entry {
    type Error = String;

    fn try_from(flat: Flat) -> Result<Entry, String> {
        let missing = |field: &str| format!("{}: missing field `{field}`", flat.path);
        let kind = match flat.kind {
            Type::Dir => Kind::Dir,
            Type::Fifo => Kind::Fifo,
            Type::Symlink => Kind::Symlink { target: flat.target.ok_or_else(|| missing("target"))?.0 },
            Type::File => Kind::File(Content {
                size: flat.size.ok_or_else(|| missing("size"))?,
                sha256: flat.sha256.ok_or_else(|| missing("sha256"))?,
                object: flat.object,
                member: flat.member,
                link: flat.link,
                sparse: flat.sparse,
                unstable: flat.unstable,
            }),
        };
        let Flat { path, mode, uid, gid, mtime, xattrs, .. } = flat;
        Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_type_needs_must_be_there_and_what_it_does_not_know_is_let_pass() {
        let common = r#""path":"a","mode":420,"uid":1,"gid":2,"mtime":"5.000000001""#;
        let read = |rest: &str| serde_json::from_str::<Entry>(&format!("{{{common},{rest}}}"));
        let digest = "00".repeat(32);
        let file =
            read(&format!(r#""type":"file","size":3,"sha256":"{digest}","object":1,"later":{{"x":[1]}}"#));
        let file = file.unwrap();
        assert_eq!((file.size(), file.content().unwrap().object), (3, Some(1)));
        assert_eq!(
            serde_json::to_string(&read(r#""type":"dir""#).unwrap()).unwrap(),
            format!(r#"{{"path":"a","type":"dir",{}}}"#, &common[11..])
        );
        assert_eq!(
            read(r#""type":"symlink","target":"hex:ff""#).unwrap().kind,
            Kind::Symlink { target: vec![0xff] }
        );
        for (wrong, why) in [
            (r#""type":"file","size":3"#, "missing field `sha256`"),
            (r#""type":"symlink""#, "missing field `target`"),
            (r#""type":"socket""#, "unknown variant `socket`"),
            (r#""size":3"#, "missing field `type`"),
            (r#""type":"dir","path":"b""#, "duplicate field `path`"),
        ] {
            let said = read(wrong).unwrap_err().to_string();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
}
