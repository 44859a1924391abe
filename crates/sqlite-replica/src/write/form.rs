//! In which form files leave: sealed or plain. The only maker of what is sent.
//!
//! A [`Body`] comes out of here and from nowhere else, and nothing here writes pages without having asked the [`Protection`]: with
//! recipients configured there is no way to send a page in plain text (decision 0010). What lies on the volume is plain, as the
//! database beside it is; what is sent of it lies there as `staged.object`, because a resend must be the same bytes (P1, P4) and age
//! draws a new key each time. A claim has no pages: it stays what it is, without the rolling checksum.

use crate::error::{Error, Result};
use crate::sealed::SealedWriter;
use crate::state::Staged;
use crate::write::digesting::{create, digest, finish};
use bytes::Bytes;
use ltx::{Decoder, Encoder, Header, PageEncoding, SeekSpool};
use seal::Protection;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use store::{Commit, PutOptions, Store};

/// Files up to this size are sent from memory.
const IN_MEMORY: u64 = 4 << 20;

/// Sealed for somebody, or plain.
#[derive(Debug, Clone)]
pub(crate) struct Form(Protection);

/// A file on the volume, durable and in plain text: not to be sent as it is.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// What is sent: bytes, or a file too large to hold in memory (P7). The digest of what is sealed is known, in hex.
pub(crate) struct Body {
    kind: Kind,
    sha256: Option<String>,
}

enum Kind {
    Bytes(Bytes),
    File { path: PathBuf, size: u64 },
}

impl Form {
    /// As configured.
    pub(crate) fn new(protection: &Protection) -> Form {
        Form(protection.clone())
    }

    /// Whether recipients are configured.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.0, Protection::Sealed(_))
    }

    /// `sealed` or `in plain text`, for messages.
    pub(crate) fn name(sealed: bool) -> &'static str {
        if sealed { "sealed" } else { "in plain text" }
    }

    /// The object that a staged file becomes, at `object` if it is another one.
    pub(crate) fn staged(&self, plain: &Plain, object: &Path) -> Result<Staged> {
        match &self.0 {
            Protection::Plain => Ok(plain.as_it_is()),
            Protection::Sealed(_) => {
                let sealed = self.transcode(&plain.path, object)?;
                Ok(Staged { size: sealed.size, sha256: sealed.sha256, apart: true })
            }
        }
    }

    /// The object that a staged claim becomes. It has no pages; with recipients configured it does not tell the rolling checksum either.
    pub(crate) fn claim(&self, plain: &Plain, object: &Path) -> Result<Staged> {
        if !self.is_sealed() {
            return Ok(plain.as_it_is());
        }
        let place = plain.path.display().to_string();
        let file = File::open(&plain.path).map_err(Error::io(&plain.path, "open"))?;
        let header = *Decoder::new(file).map_err(Error::ltx(&place))?.header();
        let bytes = claim(&Header { node_id: 0, ..*header })?;
        let (mut out, object_path) = (create(object)?, object);
        out.write_all(&bytes).map_err(Error::io(object_path, "write"))?;
        let done = finish(out, object_path)?;
        Ok(Staged { size: done.size, sha256: done.sha256, apart: true })
    }

    /// The body that a file on the volume becomes, made anew; `object` is where it lies if it is another file.
    pub(crate) fn body(&self, plain: &Path, object: &Path) -> Result<Body> {
        match &self.0 {
            Protection::Plain => Body::of(plain),
            Protection::Sealed(_) => {
                let Plain { sha256, .. } = self.transcode(plain, object)?;
                Ok(Body { sha256: Some(sha256), ..Body::of(object)? })
            }
        }
    }

    /// The body of a claim that is made from its header alone.
    pub(crate) fn claim_body(&self, header: &Header) -> Result<Body> {
        let node_id = if self.is_sealed() { 0 } else { header.node_id };
        Ok(Body::bytes(claim(&Header { node_id, ..*header })?.into()))
    }

    /// Writes an object with pages to `out`, page by page.
    pub(crate) fn writer<W: Write>(
        &self,
        out: W,
        header: &Header,
        scratch: &Path,
    ) -> Result<ObjectWriter<W>> {
        match &self.0 {
            Protection::Sealed(recipients) => {
                Ok(ObjectWriter::Sealed(Box::new(SealedWriter::new(out, header, recipients)?)))
            }
            Protection::Plain => plain_writer(out, header, scratch).map(|w| ObjectWriter::Plain(Box::new(w))),
        }
    }

    /// An object with pages in a file at `path`; `fill` gives the pages.
    pub(crate) fn object(
        &self,
        path: &Path,
        header: &Header,
        scratch: &Path,
        fill: impl FnOnce(&mut ObjectWriter<BufWriter<File>>) -> Result<()>,
    ) -> Result<Body> {
        let file = File::create(path).map_err(Error::io(path, "create"))?;
        let mut writer = self.writer(BufWriter::new(file), header, scratch)?;
        fill(&mut writer)?;
        writer.finish()?;
        let sha256 = if self.is_sealed() { Some(digest(path, |_| ())?) } else { None };
        Ok(Body { sha256, ..Body::of(path)? })
    }

    /// A staged object, read back and compared with what was recorded of it when it was made here; `None` if it is not that, or of the other
    /// form.
    pub(crate) fn reread(&self, path: &Path, staged: &Staged) -> Result<Option<Body>> {
        if staged.apart != self.is_sealed() {
            return Ok(None);
        }
        reread(path, staged)
    }

    fn transcode(&self, from: &Path, to: &Path) -> Result<Plain> {
        let place = from.display().to_string();
        let file = File::open(from).map_err(Error::io(from, "open"))?;
        let mut decoder = Decoder::new(BufReader::new(file)).map_err(Error::ltx(&place))?;
        let header = **decoder.header();
        let dir = to.parent().unwrap_or(Path::new("."));
        let mut out = self.writer(create(to)?, &header, dir)?;
        let mut page = vec![0; header.page_size.bytes()];
        while let Some(pgno) = decoder.next_page(&mut page).map_err(Error::ltx(&place))? {
            out.page(pgno, &page)?;
        }
        let (out, _) = out.finish()?;
        finish(out, to)
    }
}

/// Bytes of a file without pages.
fn claim(header: &Header) -> Result<Vec<u8>> {
    let encoder = Encoder::new(Vec::new(), *header, PageEncoding::Frame).map_err(Error::ltx("claim"))?;
    Ok(encoder.finish().map_err(Error::ltx("claim"))?.0)
}

/// An encoder whose index waits in an unlinked file.
pub(crate) fn plain_writer<W: Write>(out: W, header: &Header, scratch: &Path) -> Result<Encoder<W>> {
    let spool = tempfile::tempfile_in(scratch).map_err(Error::io(scratch, "create the index spool"))?;
    let spool = SeekSpool::new(spool).map_err(Error::io(scratch, "use the index spool"))?;
    Encoder::with_spool(out, *header, PageEncoding::Frame, spool).map_err(Error::ltx("file"))
}

/// One object being written.
pub(crate) enum ObjectWriter<W: Write> {
    Plain(Box<Encoder<W>>),
    Sealed(Box<SealedWriter<W>>),
}

impl<W: Write> ObjectWriter<W> {
    /// Adds a page; numbers ascend, the lock page is left out.
    pub(crate) fn page(&mut self, pgno: u32, page: &[u8]) -> Result<()> {
        match self {
            ObjectWriter::Plain(encoder) => encoder.page(pgno, page).map_err(Error::ltx("file")),
            ObjectWriter::Sealed(writer) => writer.page(pgno, page),
        }
    }

    /// Completes the object; gives its size.
    pub(crate) fn finish(self) -> Result<(W, u64)> {
        match self {
            ObjectWriter::Plain(encoder) => {
                let (out, summary) = encoder.finish().map_err(Error::ltx("file"))?;
                Ok((out, summary.size))
            }
            ObjectWriter::Sealed(writer) => writer.finish(),
        }
    }
}

impl Plain {
    fn as_it_is(&self) -> Staged {
        Staged { size: self.size, sha256: self.sha256.clone(), apart: false }
    }
}

impl Body {
    fn of(path: &Path) -> Result<Body> {
        let size = std::fs::metadata(path).map_err(Error::io(path, "stat"))?.len();
        match size {
            0..=IN_MEMORY => Ok(Body::bytes(std::fs::read(path).map_err(Error::io(path, "read"))?.into())),
            size => Ok(Body { kind: Kind::File { path: path.to_owned(), size }, sha256: None }),
        }
    }

    fn bytes(bytes: Bytes) -> Body {
        Body { kind: Kind::Bytes(bytes), sha256: None }
    }

    /// Hex digest of a sealed object.
    pub(crate) fn sha256(&self) -> Option<String> {
        self.sha256.clone()
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::File { size, .. } => *size,
        }
    }

    /// Commits it under its number.
    pub(crate) async fn commit(self, store: &Store, key: &str, options: &PutOptions) -> Result<Commit> {
        Ok(match self.kind {
            Kind::Bytes(bytes) => store.commit(key, bytes, options).await?,
            Kind::File { path, size } => {
                store.commit_stream(key, move || super::chunks(&path), Some(size), options).await?
            }
        })
    }
}

fn reread(path: &Path, staged: &Staged) -> Result<Option<Body>> {
    let small = staged.size <= IN_MEMORY;
    let mut kept = Vec::new();
    let digested = digest(path, |chunk| {
        if small {
            kept.extend_from_slice(chunk);
        }
    });
    let sha256 = match digested {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        sha256 => sha256?,
    };
    if sha256 != staged.sha256 {
        return Ok(None);
    }
    let file = || Kind::File { path: path.to_owned(), size: staged.size };
    let kind = if small { Kind::Bytes(kept.into()) } else { file() };
    Ok(Some(Body { kind, sha256: staged.apart.then_some(sha256) }))
}
