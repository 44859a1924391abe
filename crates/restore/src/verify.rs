//! `restore verify`: reads a replica as a restore would. Exit 4 names the damaged objects and the newest provable point.

use crate::cli::Verify;
use crate::progress;
use crate::values::bytes;
use clock::{Clock, SystemClock};
use seal::Identities;
use sqlite_replica::{
    By, Catalogue, Error, How, Progress, Proven, RestoreOptions, Verification, VerifyOptions, refuse_foreign,
    verify,
};
use std::sync::Arc;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: Verify, identities: Option<Arc<Identities>>) -> Result<Exit, Error> {
    let store = store::open(&args.url, OpenConfig::default()).await?;
    let (store, catalogue) = Catalogue::open(&store).await?;
    if catalogue.entries.is_empty() {
        refuse_foreign(&store).await?;
    }
    let options = VerifyOptions {
        all: args.all,
        full: args.full,
        scratch: args.scratch.clone(),
        restore: RestoreOptions {
            parallelism: usize::from(args.parallelism),
            identities,
            ..RestoreOptions::default()
        },
    };
    let progress = Arc::new(Progress::default());
    let total = catalogue.entries.iter().map(|e| e.size).sum();
    let shown = progress::show(
        {
            let progress = progress.clone();
            move || progress.fetched()
        },
        total,
    );
    let found = verify(&store, &options, &progress).await;
    shown.finish();
    let found = found?;
    if args.record && found.how == How::Sealed {
        return Err(Error::Refused {
            what: "the replica is sealed and was not opened, so nothing is proven that could be recorded"
                .into(),
            hint: "give the identity with --identity FILE or HIGHWATER_IDENTITY_FILE".into(),
        });
    }
    if args.record
        && let Some(through) = found.provable.as_ref().and_then(|txid| txid.parse().ok())
    {
        Proven::new(through, SystemClock.unix_ms(), By::Verify, found.how).announce(&store).await?;
    }
    door::print(args.output, &found, text);
    if found.ok {
        return Ok(Exit::Done);
    }
    let first = found.findings.first();
    Err(Error::Damaged {
        what: first.map_or_else(
            || "the newest point is not provable".to_owned(),
            |f| format!("{}{}{}", f.key, if f.key.is_empty() { "" } else { ": " }, f.what),
        ),
        hint: match &found.provable {
            Some(txid) => format!("the newest provable point is TXID {txid}: restore it with --latest-valid"),
            None => "no point of this replica is provable".into(),
        },
    })
}

fn text(found: &Verification) -> String {
    let mut text = String::new();
    for finding in &found.findings {
        let place = if finding.key.is_empty() { "chain" } else { &finding.key };
        text += &format!("DAMAGED  {place}: {}\n", finding.what);
    }
    if found.how == How::Sealed {
        let objects = found.objects;
        return text
            + &format!(
                "sealed, not opened: {objects} objects up to TXID {}, {}; give --identity to prove them",
                found.newest,
                if found.ok { "names, sizes and clear parts fit" } else { "not all of them as they must be" }
            );
    }
    let how = if found.proven { "proven by its rolling checksum" } else { "every checksum is right" };
    let read = format!("{} objects, {} read", found.objects, bytes(found.bytes));
    match (&found.provable, &found.timestamp) {
        (Some(txid), Some(time)) => text + &format!("provable up to TXID {txid} of {time}, {how} ({read})"),
        _ => text + &format!("nothing is provable ({read})"),
    }
}
