//! The Talos machine API: the only way to etcd there, and the only one with a role that can read and nothing else.
//!
//! The node ends the stream with OK even when its own read from etcd failed, and sends 1 KiB at a time: completeness
//! is proven by length and digest alone. HashKV does not exist in this API, so the verdict is unknown (P6).

use super::choose::{Candidate, choose};
use super::connect::{ANSWER, Connection};
use super::drain::{Limits, drain};
use super::wire::{
    Metadata, Nothing, TalosAlarmListResponse, TalosData, TalosMemberListResponse, TalosStatusResponse,
};
use super::{Origin, Taken, TalosConfig};
use crate::{Error, Result};
use clock::Clock;
use futures::future::join_all;
use std::path::{Path, PathBuf};
use tonic::Status;

const CORRUPT: i32 = 2;

/// A Talos cluster by its talosconfig.
#[derive(Debug, Clone)]
pub struct TalosSource {
    /// Path of the talosconfig.
    pub talosconfig: PathBuf,
    /// Bounds of the stream.
    pub limits: Limits,
}

struct Known {
    connection: Connection,
    candidate: Candidate,
    hostname: String,
}

impl TalosSource {
    pub(crate) async fn take(&self, dir: &Path, clock: &dyn Clock) -> Result<Taken> {
        let config = TalosConfig::read(&self.talosconfig)?;
        let (mut known, alarms) = reach(&config).await?;
        let candidates: Vec<Candidate> = known.iter().map(|node| node.candidate.clone()).collect();
        known.swap(0, choose(&candidates)?);
        let chosen = &known[0];
        let name = member_name(&chosen.connection, chosen.candidate.member_id).await?;
        let taken_ms = clock.unix_ms();
        let endpoint = chosen.connection.endpoint.clone();
        let stream = chosen.connection.stream("/machine.MachineService/EtcdSnapshot", Nothing {}).await;
        let stream = stream.map_err(|status| chosen.connection.failed("snapshot", &status))?;
        let (received, seconds) =
            drain(stream, &endpoint, dir, self.limits, |answer: TalosData| (answer.bytes, None)).await?;
        let origin = Origin {
            member_id: Some(format!("{:016x}", chosen.candidate.member_id)),
            member_name: name.or_else(|| Some(chosen.hostname.clone()).filter(|name| !name.is_empty())),
            leader: Some(chosen.candidate.leader == chosen.candidate.member_id),
            alarms,
            ..Origin::new("talos", &endpoint)
        };
        let hashes = Err("the Talos API has no HashKV".to_owned());
        Ok(Taken { received, origin, taken_ms, stream_seconds: Some(seconds), hashes })
    }
}

impl TalosSource {
    /// What the nodes are, in words, for `doctor`.
    pub(crate) async fn describe(&self) -> Result<Vec<String>> {
        let config = TalosConfig::read(&self.talosconfig)?;
        let (known, alarms) = reach(&config).await?;
        let candidates: Vec<Candidate> = known.iter().map(|node| node.candidate.clone()).collect();
        choose(&candidates)?;
        let node = |node: &Known| {
            let role = if node.candidate.leader == node.candidate.member_id { "leader" } else { "follower" };
            format!("{} {} answers as {role}", node.candidate.endpoint, node.hostname)
        };
        Ok(known.iter().map(node).chain(alarms).collect())
    }
}

/// Every node that answers, and the alarms.
async fn reach(config: &TalosConfig) -> Result<(Vec<Known>, Vec<String>)> {
    // Named nodes are reached through the first endpoint that answers; without them every endpoint is a node.
    let targets: Vec<(String, Option<String>)> = if config.nodes.is_empty() {
        config.endpoints.iter().map(|endpoint| (endpoint.clone(), None)).collect()
    } else {
        let through = |node: &String| {
            config.endpoints.iter().map(|e| (e.clone(), Some(node.clone()))).collect::<Vec<_>>()
        };
        config.nodes.iter().flat_map(through).collect()
    };
    let mut known: Vec<Known> = Vec::new();
    let mut first_error = None;
    for answer in
        join_all(targets.iter().map(|(endpoint, node)| meet(config, endpoint, node.as_deref()))).await
    {
        match answer {
            Ok(node) if known.iter().any(|other| other.candidate.member_id == node.candidate.member_id) => {}
            Ok(node) => known.push(node),
            Err(error) => {
                tracing::warn!(%error, "a node does not answer");
                first_error.get_or_insert(error);
            }
        }
    }
    if known.is_empty() {
        return Err(first_error.unwrap_or_else(|| Error::Usage("the talosconfig names no endpoint".into())));
    }
    let connection = known[0].connection.clone();
    let list: Result<TalosAlarmListResponse, Status> =
        connection.call("/machine.MachineService/EtcdAlarmList", Nothing {}, ANSWER).await;
    let list = list.map_err(|status| connection.failed("alarm list", &status))?;
    let mut alarms = Vec::new();
    for message in &list.messages {
        node_error(&connection, message.metadata.as_ref())?;
        for alarm in &message.member_alarms {
            let corrupt = alarm.alarm == CORRUPT;
            alarms.push(format!(
                "{} on {:016x}",
                if corrupt { "CORRUPT" } else { "NOSPACE" },
                alarm.member_id
            ));
            for node in known.iter_mut().filter(|node| node.candidate.member_id == alarm.member_id) {
                node.candidate.corrupt |= corrupt;
            }
        }
    }
    Ok((known, alarms))
}

async fn meet(config: &TalosConfig, endpoint: &str, node: Option<&str>) -> Result<Known> {
    let mut connection = Connection::open(endpoint, Some(&config.pem)).await?;
    if let Some(node) = node {
        connection = connection.with_metadata("node", node)?;
    }
    let answer: Result<TalosStatusResponse, Status> =
        connection.call("/machine.MachineService/EtcdStatus", Nothing {}, ANSWER).await;
    let answer = answer.map_err(|status| connection.failed("etcd status", &status))?;
    let message = answer.messages.into_iter().next();
    let message =
        message.ok_or_else(|| Error::Source(format!("{endpoint}: an empty answer to etcd status")))?;
    node_error(&connection, message.metadata.as_ref())?;
    let status = message
        .member_status
        .ok_or_else(|| Error::Source(format!("{endpoint} runs no etcd: is it a control plane node?")))?;
    let candidate = Candidate {
        endpoint: node.map_or_else(|| connection.endpoint.clone(), str::to_owned),
        member_id: status.member_id,
        leader: status.leader,
        learner: status.is_learner,
        applied: status.raft_applied_index,
        errors: status.errors,
        corrupt: false,
    };
    let hostname = message.metadata.map(|metadata| metadata.hostname).unwrap_or_default();
    Ok(Known { connection, candidate, hostname })
}

/// The chosen member's name, and its learner flag as the list has it.
async fn member_name(connection: &Connection, id: u64) -> Result<Option<String>> {
    let list: Result<TalosMemberListResponse, Status> =
        connection.call("/machine.MachineService/EtcdMemberList", Nothing {}, ANSWER).await;
    let list = list.map_err(|status| connection.failed("member list", &status))?;
    let member = list.messages.into_iter().flat_map(|message| message.members).find(|member| member.id == id);
    match member {
        Some(member) if member.is_learner => {
            Err(Error::Source(format!("{} became a learner meanwhile", connection.endpoint)))
        }
        member => Ok(member.map(|member| member.hostname)),
    }
}

fn node_error(connection: &Connection, metadata: Option<&Metadata>) -> Result<()> {
    match metadata.map(|metadata| metadata.error.as_str()) {
        None | Some("") => Ok(()),
        Some(error) => Err(Error::Source(format!("{}: {error}", connection.endpoint))),
    }
}
