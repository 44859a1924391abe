//! etcd v3 over gRPC: who is there, who is asked, the snapshot, and what everybody's HashKV says right after it.
//!
//! The members are found from one endpoint. HashKV is asked directly after the drain, before anything slow: kube-apiserver
//! compacts every five minutes, and what is compacted cannot be compared any more.

use super::choose::{Candidate, choose};
use super::connect::{ANSWER, Connection, HASH_ANSWER, Pem, TlsFiles, message};
use super::drain::{Limits, drain};
use super::wire::{
    AlarmRequest, AlarmResponse, HashKvRequest, HashKvResponse, Member, MemberListRequest,
    MemberListResponse, Nothing, RangeRequest, RangeResponse, SnapshotResponse, StatusResponse,
};
use super::{Origin, Taken};
use crate::proof::content::{newest_revision, reached_revision};
use crate::proof::{MemberHash, Shape, Verdict};
use crate::{Error, Result};
use clock::Clock;
use futures::future::join_all;
use std::path::Path;
use std::time::Duration;
use tonic::Status;

const CORRUPT: i32 = 2;
/// A member that lags gets this many further chances to reach the revision of the file.
const LAGGING_TRIES: u32 = 4;
const LAGGING_PAUSE: Duration = Duration::from_millis(500);

/// etcd by its endpoints.
#[derive(Debug, Clone)]
pub struct EtcdSource {
    /// One or more `https://host:2379`; further members are found through them.
    pub endpoints: Vec<String>,
    /// Client certificate.
    pub tls: TlsFiles,
    /// Bounds of the stream.
    pub limits: Limits,
}

/// The calls on one member.
pub(crate) struct Etcd {
    pub(crate) connection: Connection,
}

struct Known {
    etcd: Etcd,
    status: StatusResponse,
}

impl Known {
    fn id(&self) -> u64 {
        self.status.header.as_ref().map_or(0, |header| header.member_id)
    }
}

impl Etcd {
    pub(crate) async fn open(endpoint: &str, pem: Option<&Pem>) -> Result<Self> {
        Ok(Self { connection: Connection::open(endpoint, pem).await? })
    }

    pub(crate) async fn status(&self) -> Result<StatusResponse> {
        let path = "/etcdserverpb.Maintenance/Status";
        let status = self.connection.call(path, Nothing {}, ANSWER).await;
        status.map_err(|status| self.connection.failed("status", &status))
    }

    async fn members(&self) -> Result<Vec<Member>> {
        let path = "/etcdserverpb.Cluster/MemberList";
        let question = MemberListRequest { linearizable: false };
        let list: Result<MemberListResponse, Status> = self.connection.call(path, question, ANSWER).await;
        list.map(|list| list.members).map_err(|status| self.connection.failed("member list", &status))
    }

    async fn alarms(&self) -> Result<Vec<(u64, i32)>> {
        let path = "/etcdserverpb.Maintenance/Alarm";
        let list: Result<AlarmResponse, Status> =
            self.connection.call(path, AlarmRequest { action: 0 }, ANSWER).await;
        list.map(|list| list.alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm)).collect())
            .map_err(|status| self.connection.failed("alarm list", &status))
    }

    /// Number of existing keys with this prefix, and the cluster's revision; a linearizable read.
    pub(crate) async fn count(&self, prefix: &[u8]) -> Result<(u64, i64)> {
        let path = "/etcdserverpb.KV/Range";
        let (key, range_end) =
            if prefix.is_empty() { (vec![0], vec![0]) } else { (prefix.to_vec(), after(prefix)) };
        let question = RangeRequest { key, range_end, limit: 0, count_only: true };
        let answer: Result<RangeResponse, Status> = self.connection.call(path, question, ANSWER).await;
        let answer = answer.map_err(|status| self.connection.failed("read the revision", &status))?;
        Ok((answer.count.unsigned_abs(), answer.header.map_or(0, |header| header.revision)))
    }

    pub(crate) async fn hash_kv(&self, revision: i64) -> Result<HashKvResponse, Status> {
        let path = "/etcdserverpb.Maintenance/HashKV";
        self.connection.call(path, HashKvRequest { revision }, HASH_ANSWER).await
    }
}

/// The first key behind all that begin with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

impl EtcdSource {
    /// Chooses a member, drains its snapshot, and asks everybody for HashKV.
    pub(crate) async fn take(&self, dir: &Path, clock: &dyn Clock) -> Result<Taken> {
        let pem = self.tls.read()?;
        let (mut known, absent) = self.reach(pem.as_ref()).await?;
        let candidates: Vec<Candidate> = known.iter().map(candidate).collect();
        // Before the alarms, whose list needs a quorum: without one the reason is known already.
        choose(&candidates)?;
        let alarms = known[0].etcd.alarms().await?;
        let candidates: Vec<Candidate> = candidates
            .into_iter()
            .map(|c| Candidate { corrupt: alarms.contains(&(c.member_id, CORRUPT)), ..c })
            .collect();
        known.swap(0, choose(&candidates)?);
        let chosen = &known[0];
        let endpoint = chosen.etcd.connection.endpoint.clone();
        // A count of nothing: a cheap linearizable read that tells the revision of the whole cluster.
        let (_, before) = chosen.etcd.count(b"\0highwater").await?;
        let taken_ms = clock.unix_ms();
        let path = "/etcdserverpb.Maintenance/Snapshot";
        let stream = chosen.etcd.connection.stream(path, Nothing {}).await;
        let stream = stream.map_err(|status| chosen.etcd.connection.failed("snapshot", &status))?;
        let (received, seconds) = drain(stream, &endpoint, dir, self.limits, |answer: SnapshotResponse| {
            (answer.blob, Some(answer.remaining_bytes))
        })
        .await?;
        let shape = Shape::of(&*received.spool)?;
        let revision = newest_revision(&*received.spool, &shape)?;
        let reached = reached_revision(&*received.spool, &shape)?;
        if reached < before {
            return Err(Error::Source(format!(
                "{endpoint} gave revision {reached}, but the cluster was at {before} before: it answers with old data"
            )));
        }
        let mut hashes = join_all(known.iter().map(|member| ask(member, revision))).await;
        hashes.extend(absent);
        let header = chosen.status.header.clone().unwrap_or_default();
        let origin = Origin {
            cluster_id: Some(format!("{:016x}", header.cluster_id)),
            member_id: Some(format!("{:016x}", header.member_id)),
            etcd_version: Some(chosen.status.version.clone()),
            leader: Some(chosen.status.leader == header.member_id),
            alarms: alarms.iter().map(alarm_text).collect(),
            db_size: u64::try_from(chosen.status.db_size).ok(),
            db_in_use: u64::try_from(chosen.status.db_size_in_use).ok(),
            ..Origin::new("etcd", &endpoint)
        };
        Ok(Taken { received, origin, taken_ms, stream_seconds: Some(seconds), hashes: Ok(hashes) })
    }

    /// What one endpoint is, in words, for `doctor`.
    pub(crate) async fn describe(&self, endpoint: &str, pem: Option<&Pem>) -> Result<String> {
        let known = meet(endpoint, pem).await?;
        known.etcd.count(b"\0highwater").await?;
        let candidate = candidate(&known);
        choose(std::slice::from_ref(&candidate))?;
        let role = if candidate.leader == candidate.member_id { "leader" } else { "follower" };
        let (size, used) = (known.status.db_size, known.status.db_size_in_use.max(1));
        Ok(format!(
            "etcd {} answers as {role}, {size} bytes of which {used} are in use{}",
            known.status.version,
            if size > used * 2 { ": defragmenting would shrink every snapshot" } else { "" }
        ))
    }

    /// Everybody who answers, and an unknown hash for every voting member who does not.
    async fn reach(&self, pem: Option<&Pem>) -> Result<(Vec<Known>, Vec<MemberHash>)> {
        let mut known: Vec<Known> = Vec::new();
        let mut first_error = None;
        for answer in join_all(self.endpoints.iter().map(|endpoint| meet(endpoint, pem))).await {
            match answer {
                Ok(member) if known.iter().any(|other| other.id() == member.id()) => {}
                Ok(member) => known.push(member),
                Err(error) => {
                    tracing::warn!(%error, "a member does not answer");
                    first_error.get_or_insert(error);
                }
            }
        }
        if known.is_empty() {
            return Err(first_error.unwrap_or_else(|| Error::Usage("no endpoint is given".into())));
        }
        let mut absent = Vec::new();
        for member in known[0].etcd.members().await? {
            if member.is_learner || known.iter().any(|other| other.id() == member.id) {
                continue;
            }
            let mut why = "it announces no address for clients".to_owned();
            for url in &member.client_urls {
                match meet(url, pem).await {
                    Ok(found) if found.id() == member.id => {
                        known.push(found);
                        break;
                    }
                    Ok(_) => why = format!("{url} is another member"),
                    Err(error) => why = error.to_string(),
                }
            }
            if known.iter().all(|other| other.id() != member.id) {
                let endpoint = member.client_urls.first().cloned().unwrap_or_default();
                absent.push(unknown(member.id, endpoint, why));
            }
        }
        Ok((known, absent))
    }
}

async fn meet(endpoint: &str, pem: Option<&Pem>) -> Result<Known> {
    let etcd = Etcd::open(endpoint, pem).await?;
    let status = etcd.status().await?;
    Ok(Known { etcd, status })
}

fn candidate(known: &Known) -> Candidate {
    Candidate {
        endpoint: known.etcd.connection.endpoint.clone(),
        member_id: known.id(),
        leader: known.status.leader,
        learner: known.status.is_learner,
        applied: known.status.raft_applied_index,
        errors: known.status.errors.clone(),
        corrupt: false,
    }
}

fn alarm_text((member, alarm): &(u64, i32)) -> String {
    let name = match *alarm {
        1 => "NOSPACE",
        CORRUPT => "CORRUPT",
        _ => "unknown alarm",
    };
    format!("{name} on {member:016x}")
}

fn unknown(member: u64, endpoint: String, why: String) -> MemberHash {
    MemberHash {
        member: format!("{member:016x}"),
        endpoint,
        hash: None,
        compact_revision: None,
        verdict: Verdict::Unknown,
        why: Some(why),
    }
}

async fn ask(member: &Known, revision: i64) -> MemberHash {
    let endpoint = member.etcd.connection.endpoint.clone();
    if member.status.is_learner {
        return unknown(member.id(), endpoint, "it is a learner".into());
    }
    for attempt in 1.. {
        match member.etcd.hash_kv(revision).await {
            Ok(answer) => {
                return MemberHash {
                    hash: Some(answer.hash),
                    compact_revision: Some(answer.compact_revision),
                    why: None,
                    ..unknown(member.id(), endpoint, String::new())
                };
            }
            Err(status) if status.message().contains("future revision") && attempt < LAGGING_TRIES => {
                tokio::time::sleep(LAGGING_PAUSE).await;
            }
            Err(status) => return unknown(member.id(), endpoint, message(&status)),
        }
    }
    unreachable!("the last attempt returns")
}
