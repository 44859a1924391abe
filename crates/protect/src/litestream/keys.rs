//! Every key of Litestream's configuration, 0.3.13 to 0.5.18, and what becomes of it here.
//!
//! The names are those of its documentation. Keys of a replica may also stand at the top, as defaults for all replicas.

/// What becomes of a key.
pub(super) enum Rule {
    /// It is translated; into what.
    Taken(&'static str),
    /// It becomes this flag of `wal-streamer replicate`, with its value.
    Flag(&'static str),
    /// As [`Rule::Flag`], with a duration.
    Span(&'static str),
    /// Not applicable, and why.
    Dropped(&'static str),
    /// Cannot be had, and what to do.
    Refused(&'static str),
    /// A set of keys.
    Block(Table),
    /// A list of sets of keys.
    List(Table),
    /// The settings of a replica.
    Replica,
    /// A list of replicas.
    Replicas,
}

/// Keys and their rules.
pub(super) type Table = &'static [(&'static str, Rule)];

use Rule::{Block, Dropped, Flag, List, Refused, Replica, Replicas, Span, Taken};

const SECRET: &str = "a secret does not belong here: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or files in /highwater/credentials (the same names, or LITESTREAM_*)";
const TUNING: &str = "measured defaults are used; uploads are one PUT up to 8 MiB, parts beyond";
const TAIL: &str = "wake-ups come from the file system and checkpoints are paced by the WAL itself";
const NO_STORE: &str = "only for stores that are not supported; use S3 or a directory";

/// Keys at the top of the file.
pub(super) const GLOBAL: Table = &[
    ("addr", Taken("the flag --listen")),
    ("mcp-addr", Dropped("there is no such server; control is the unix socket")),
    (
        "socket",
        Block(&[
            ("enabled", Dropped("the control socket is always there, for its owner only")),
            ("path", Flag("--socket")),
            ("permissions", Dropped("always 0600")),
        ]),
    ),
    ("levels", List(&[("interval", Dropped("levels are compacted at 30 s, 5 min and 1 h"))])),
    ("snapshot", Block(&[("interval", Taken("snapshot")), ("retention", Taken("keep.all"))])),
    (
        "validation",
        Block(&[("interval", Dropped("verification is always on and exported as highwater_verify_*"))]),
    ),
    ("l0-retention", Dropped("increments are removed once they are compacted")),
    ("l0-retention-check-interval", Dropped("nothing is polled")),
    ("verify-compaction", Dropped("every compaction carries a rolling checksum of the database")),
    (
        "retention",
        Block(&[(
            "enabled",
            Refused(
                "retention cannot be switched off in the description; give a credential without the right to delete",
            ),
        )]),
    ),
    ("heartbeat-url", Dropped("alert on highwater_wal_last_sync_timestamp_seconds instead")),
    ("heartbeat-interval", Dropped("alert on highwater_wal_last_sync_timestamp_seconds instead")),
    ("dbs", List(DATABASE)),
    ("exec", Refused("the application runs in its own container; start wal-streamer beside it")),
    (
        "logging",
        Block(&[
            ("level", Dropped("HIGHWATER_LOG (debug, info, warn, error)")),
            ("type", Flag("--log-format")),
            ("stderr", Dropped("logs always go to standard error")),
            ("source", Dropped("log lines name their module at level debug")),
        ]),
    ),
    ("shutdown-sync-timeout", Span("--drain")),
    ("shutdown-sync-interval", Dropped("the last upload is repeated with back-off until --drain ends")),
];

/// Keys of an entry of `dbs`.
const DATABASE: Table = &[
    ("path", Taken("databases[].path")),
    ("dir", Taken("databases[].path")),
    ("pattern", Taken("databases[].path")),
    ("recursive", Taken("databases[].path")),
    ("watch", Dropped("patterns are always watched for new databases")),
    (
        "snapshot",
        Block(&[("interval", Taken("databases[].snapshot")), ("retention", Taken("databases[].keep.all"))]),
    ),
    ("meta-path", Dropped("state lies in .highwater/ beside the database")),
    ("meta-dir", Dropped("state lies in .highwater/ beside the database")),
    ("monitor-interval", Dropped(TAIL)),
    ("checkpoint-interval", Dropped(TAIL)),
    ("busy-timeout", Dropped("the write lock is asked for 50 ms at most, and held for milliseconds")),
    ("min-checkpoint-page-count", Dropped(TAIL)),
    ("max-checkpoint-page-count", Dropped("no checkpoint ever blocks readers or writers")),
    (
        "truncate-page-n",
        Dropped("the WAL is kept small by checkpoints, never truncated under the application"),
    ),
    ("max-sync-wal-bytes", Dropped("memory per upload is bounded")),
    ("restore-if-db-not-exists", Dropped("the init container `restore init` does it (restore: auto)")),
    ("replica", Replica),
    ("replicas", Replicas),
    // 0.5 reads it where 0.3 had it, for a warning of its own.
    ("shutdown-timeout", Dropped("never had an effect; see --drain")),
];

/// Keys of a replica that cannot stand at the top.
pub(super) const REPLICA_ONLY: Table = &[
    ("type", Taken("databases[].url")),
    ("name", Dropped("replicas have no names")),
    ("path", Taken("databases[].url")),
    ("url", Taken("databases[].url")),
    ("retention", Taken("databases[].keep.all")),
    ("retention-check-interval", Dropped("retention runs when something became old enough")),
    ("snapshot-interval", Taken("databases[].snapshot")),
];

/// Keys of a replica, and defaults of all replicas at the top.
pub(super) const REPLICA: Table = &[
    ("sync-interval", Span("--sync-interval")),
    ("validation-interval", Dropped("verification is always on and exported as highwater_verify_*")),
    ("max-sync-ltx-files", Dropped("one file per sync is uploaded as it is made")),
    ("auto-recover", Dropped("a hole in a replica is healed without asking, and reported")),
    ("access-key-id", Dropped(SECRET)),
    ("secret-access-key", Dropped(SECRET)),
    ("region", Taken("databases[].url, as region=")),
    ("bucket", Taken("databases[].url")),
    ("endpoint", Taken("databases[].url, as endpoint=")),
    ("force-path-style", Taken("databases[].url, as path-style=")),
    ("sign-payload", Dropped("payloads are signed where the store wants it")),
    ("sign-accept-encoding", Dropped("no such header is sent")),
    ("require-content-md5", Dropped("checksums are sent when the store requires them")),
    ("put-object-content-md5", Dropped("checksums are sent when the store requires them")),
    (
        "skip-verify",
        Refused("certificate checks cannot be switched off; name the authority with ca=FILE in the url"),
    ),
    ("storage-class", Dropped("set it as the bucket's default or by a lifecycle rule")),
    ("part-size", Dropped(TUNING)),
    ("concurrency", Dropped(TUNING)),
    (
        "sse-customer-algorithm",
        Refused("customer keys are not sent to the store; encrypt with age recipients instead"),
    ),
    (
        "sse-customer-key",
        Refused("customer keys are not sent to the store; encrypt with age recipients instead"),
    ),
    (
        "sse-customer-key-path",
        Refused("customer keys are not sent to the store; encrypt with age recipients instead"),
    ),
    ("sse-kms-key-id", Dropped("set it as the bucket's default encryption")),
    ("account-name", Refused(NO_STORE)),
    ("account-key", Refused(NO_STORE)),
    ("sas-token", Refused(NO_STORE)),
    ("host", Refused(NO_STORE)),
    ("user", Refused(NO_STORE)),
    ("password", Refused(NO_STORE)),
    ("key-path", Refused(NO_STORE)),
    ("concurrent-writes", Dropped(NO_STORE)),
    ("host-key", Refused(NO_STORE)),
    ("webdav-url", Refused(NO_STORE)),
    ("webdav-username", Refused(NO_STORE)),
    ("webdav-password", Refused(NO_STORE)),
    ("jwt", Refused(NO_STORE)),
    ("seed", Refused(NO_STORE)),
    ("creds", Refused(NO_STORE)),
    ("nkey", Refused(NO_STORE)),
    ("username", Refused(NO_STORE)),
    ("token", Refused(NO_STORE)),
    ("tls", Refused(NO_STORE)),
    ("root-cas", Refused(NO_STORE)),
    ("client-cert", Refused(NO_STORE)),
    ("client-key", Refused(NO_STORE)),
    ("max-reconnects", Dropped(NO_STORE)),
    ("reconnect-wait", Dropped(NO_STORE)),
    ("timeout", Dropped(NO_STORE)),
    (
        "age",
        Block(&[
            ("recipients", Taken("encrypt.recipients")),
            ("identities", Dropped("private keys stay where restores run: $HIGHWATER_IDENTITY_FILE")),
        ]),
    ),
];
