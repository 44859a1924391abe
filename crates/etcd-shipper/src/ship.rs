//! `etcd-shipper ship`.

use crate::cli::Ship;
use crate::destination::seconds;
use crate::gateway::Gateway;
use crate::{exit_of, failed, metrics, sources};
use clock::SystemClock;
use door::{Failure, print};
use etcd_replica::proof::Verdict;
use etcd_replica::{Delivery, Destination, Manifest, ShipOptions, Summary, Token, record_failure, ship};
use seal::{Protection, Recipients};
use std::time::Duration;
use telemetry::{Exit, Shutdown};

/// For the last request of an upload that is being thrown away.
const GRACE: Duration = Duration::from_secs(0);

pub(crate) async fn run(args: Box<Ship>) -> Result<Exit, Failure> {
    let source = sources::source(&args.from)?;
    let gateway = Gateway::of(&args.push)?;
    let mut destinations = Vec::with_capacity(args.to.len());
    for to in &args.to {
        destinations.push(to.open(&args.keep).await?);
    }
    let options = ShipOptions {
        cluster: args.cluster.clone(),
        protection: protection(&args)?,
        spool_dir: args.spool_dir.clone(),
        interval: seconds(args.keep.interval),
        token: args.token_file.as_deref().map(Token::read).transpose().map_err(failed)?,
        prune: !args.no_prune,
        accepted: args.keep.accept_policy.clone(),
        tool: format!("etcd-shipper {}", env!("CARGO_PKG_VERSION")),
    };
    let shutdown = Shutdown::on_signals().map_err(|error| Failure::new(Exit::Failed, error))?;
    // Dropping the work throws away an unfinished upload; the spool is unlinked already.
    let worked = shutdown.deadline(GRACE, ship(&source, &destinations, &options, &SystemClock)).await;
    let deliveries = match worked {
        Some(Ok(deliveries)) => deliveries,
        Some(Err(error)) => {
            let exit = exit_of(&error);
            for destination in &destinations {
                record_failure(destination, &args.cluster, exit.code(), &SystemClock).await;
            }
            if let Err(error) =
                leave(&args, gateway.as_ref(), &destinations, &vec![exit; destinations.len()]).await
            {
                tracing::warn!(error = error.line, "metrics were not written");
            }
            return Err(failed(error));
        }
        None => {
            // Let the abort of the upload go out.
            tokio::time::sleep(Duration::from_millis(500)).await;
            return Err(Failure::new(
                Exit::Failed,
                "ended by a signal; nothing was kept of the unfinished snapshot",
            ));
        }
    };
    let exit = tell(&args, &destinations, &deliveries).await;
    let exits: Vec<Exit> = deliveries
        .iter()
        .map(|delivery| delivery.shipped.as_ref().map_or_else(exit_of, Manifest::exit))
        .collect();
    leave(&args, gateway.as_ref(), &destinations, &exits).await?;
    Ok(exit)
}

/// Metrics of a run that is over, where somebody asked for them.
async fn leave(
    args: &Ship,
    gateway: Option<&Gateway>,
    destinations: &[Destination],
    exits: &[Exit],
) -> Result<(), Failure> {
    if args.textfile.is_none() && gateway.is_none() {
        return Ok(());
    }
    let seen = metrics::gather(&args.cluster, destinations, exits).await;
    if let Some(gateway) = gateway {
        gateway.push(&args.cluster, &seen).await;
    }
    args.textfile.as_deref().map_or(Ok(()), |path| metrics::write(path, &seen))
}

fn protection(args: &Ship) -> Result<Protection, Failure> {
    let mut keys = args.recipient.clone();
    if let Some(path) = &args.recipients_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        keys.extend(lines.map(str::to_owned));
    }
    let recipients = match keys.is_empty() {
        true => None,
        false => Some(Recipients::from_list(&keys, "recipient").map_err(|error| failed(error.into()))?),
    };
    if recipients.as_ref().is_some_and(|recipients| recipients.texts().len() == 1) {
        tracing::warn!("sealed for one recipient only: if that key is lost, so are all snapshots");
    }
    Protection::choose(recipients, args.unencrypted).map_err(|error| failed(error.into()))
}

async fn tell(args: &Ship, destinations: &[Destination], deliveries: &[Delivery]) -> Exit {
    let mut worst = None;
    let mut shipped: Vec<Summary> = Vec::new();
    for (destination, delivery) in destinations.iter().zip(deliveries) {
        match &delivery.shipped {
            Ok(manifest) => {
                shipped.push(Summary::from((delivery.url.as_str(), manifest)));
                complain(manifest);
                worst = worst.max(Some(manifest.exit()).filter(|exit| !exit.is_done()));
            }
            Err(error) => {
                eprintln!("etcd-shipper: {}: {error}", delivery.url);
                record_failure(destination, &args.cluster, exit_of(error).code(), &SystemClock).await;
            }
        }
        if let Some(Err(error)) = &delivery.pruned {
            // The backup is there; that retention could not run is told and alerted on by its backlog.
            tracing::warn!(destination = delivery.url, %error, "retention did not run");
        }
        if let Some(Ok(pruned)) = &delivery.pruned {
            for gate in &pruned.plan.gates {
                tracing::info!(destination = delivery.url, %gate, "retention deletes nothing");
            }
            if !pruned.deleted.is_empty() || !pruned.locked.is_empty() {
                tracing::info!(
                    destination = delivery.url,
                    deleted = pruned.deleted.len(),
                    locked = pruned.locked.len(),
                    backlog = pruned.backlog(),
                    "retention"
                );
            }
        }
    }
    print(args.output, &shipped, |all| {
        all.iter()
            .map(|s| {
                let hashkv = format!("{:?}", s.hashkv).to_lowercase();
                format!(
                    "{}/{}: revision {}, {} bytes, level {}, HashKV {hashkv}, etcd prints {}\n",
                    s.destination.split('?').next().unwrap_or_default(),
                    s.object,
                    s.revision,
                    s.stored_bytes,
                    s.level,
                    s.status_hash
                )
            })
            .collect()
    });
    match (shipped.len(), worst) {
        (_, Some(exit)) => exit,
        (0, None) => deliveries
            .iter()
            .filter_map(|d| d.shipped.as_ref().err())
            .map(exit_of)
            .max()
            .unwrap_or(Exit::Failed),
        (count, None) if count < deliveries.len() => Exit::Partial,
        _ => Exit::Done,
    }
}

/// What is wrong with a snapshot that was kept all the same.
fn complain(manifest: &Manifest) {
    for member in manifest.hashkv.members.iter().filter(|member| member.verdict == Verdict::Mismatch) {
        eprintln!(
            "etcd-shipper: {} differs from member {} at {} (HashKV): one of them is corrupt; the snapshot is kept, nothing is deleted",
            manifest.object, member.member, member.endpoint
        );
    }
    if manifest.token_opens == Some(false) {
        eprintln!(
            "etcd-shipper: the token of --token-file does not open this snapshot: it is another cluster's, or was rotated"
        );
    }
}
