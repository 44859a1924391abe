//! What can be made to go wrong, while the server runs.
//!
//! Two kinds: *rules*, which wait for the next n requests they match and then are used up, in the order they were
//! added; and *switches*, which change how every request is treated until they are switched back.
//! Everything acts in front of the store but `ignore_conditions` and `allow_small_parts`, because conditions are
//! signed headers that cannot be stripped on the way.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::operation::Operation;
use super::throttle::Throttle;

/// What happens to a request that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer with this status and S3 error code; the store does not see the request.
    Fail {
        /// HTTP status.
        status: u16,
        /// Error code of the XML body.
        code: String,
    },
    /// Status 200, and the error in the body: what CompleteMultipartUpload and CopyObject do on AWS.
    FailInside200(String),
    /// Cut the connection before the store sees the request.
    DropBefore,
    /// Perform the request, then cut the connection instead of answering.
    LoseReply,
    /// Read the request, never answer.
    Hang,
    /// Cut the connection after this many bytes of the response body.
    Truncate(u64),
    /// Wait this long first.
    Delay(Duration),
}

/// An [`Action`] for the next `times` requests that match.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Only this operation.
    pub operation: Option<Operation>,
    /// Only this HTTP method.
    pub method: Option<String>,
    /// Only keys (percent-encoded) that contain this; empty matches all.
    pub key: String,
    /// Matching requests to let through first.
    pub skip: u32,
    /// How often.
    pub times: u32,
    /// What.
    pub action: Action,
}

impl Rule {
    /// A rule for the next `times` requests of any kind.
    pub fn any(times: u32, action: Action) -> Rule {
        Rule { operation: None, method: None, key: String::new(), skip: 0, times, action }
    }

    fn matches(&self, operation: Operation, method: &str, key: &str) -> bool {
        self.times > 0
            && self.operation.is_none_or(|wanted| wanted == operation)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && key.contains(&self.key)
    }
}

#[derive(Debug, Default)]
struct Switches {
    latency: Duration,
    bit_flips: Vec<(String, Option<u64>)>,
    credentials: (String, String),
}

/// The control panel of a server's faults; see the module for the two kinds.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    switches: Mutex<Switches>,
    pub(super) inbound: Throttle,
    pub(super) outbound: Throttle,
    deny_all: AtomicBool,
    deny_reads: AtomicBool,
    deny_lists: AtomicBool,
    deny_writes: AtomicBool,
    deny_deletes: AtomicBool,
    expired: AtomicBool,
    unavailable: AtomicBool,
    require_clock: AtomicBool,
    ignore_conditions: AtomicBool,
    small_parts: AtomicBool,
    skew_ms: AtomicI64,
}

macro_rules! switch {
    ($($(#[$doc:meta])* $name:ident => $field:ident, $get:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self, on: bool) -> &Self {
            self.$field.store(on, Ordering::SeqCst);
            self
        }
        pub(super) fn $get(&self) -> bool {
            self.$field.load(Ordering::SeqCst)
        }
    )*};
}

impl Faults {
    pub(super) fn new(access: &str, secret: &str) -> Faults {
        let faults = Faults::default();
        faults.set_credentials(access, secret);
        faults
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule behind those that wait already.
    pub fn add(&self, rule: Rule) -> &Self {
        self.rules().push(rule);
        self
    }

    /// The next `n` requests get this status with the error code S3 uses for it.
    pub fn fail_next(&self, n: u32, status: u16) -> &Self {
        self.add(Rule::any(n, Action::Fail { status, code: code_of(status).to_owned() }))
    }

    /// As [`Self::fail_next`], with an error code of one's own.
    pub fn fail_next_with(&self, n: u32, status: u16, code: &str) -> &Self {
        self.add(Rule::any(n, Action::Fail { status, code: code.to_owned() }))
    }

    /// The next `n` requests with this method on keys that contain `key_substring` fail.
    pub fn fail_next_matching(&self, method: &str, key_substring: &str, n: u32, status: u16) -> &Self {
        let action = Action::Fail { status, code: code_of(status).to_owned() };
        let (method, key) = (Some(method.to_owned()), key_substring.to_owned());
        self.add(Rule { method, key, ..Rule::any(n, action) })
    }

    /// The next `n` requests are performed, and the connection is cut instead of an answer.
    pub fn lose_reply_next(&self, n: u32) -> &Self {
        self.add(Rule::any(n, Action::LoseReply))
    }

    /// As [`Self::lose_reply_next`], for one method and some keys.
    pub fn lose_reply_matching(&self, method: &str, key_substring: &str, n: u32) -> &Self {
        let (method, key) = (Some(method.to_owned()), key_substring.to_owned());
        self.add(Rule { method, key, ..Rule::any(n, Action::LoseReply) })
    }

    /// The next `n` requests are cut before anything happens.
    pub fn drop_before_next(&self, n: u32) -> &Self {
        self.add(Rule::any(n, Action::DropBefore))
    }

    /// The next `n` requests never get an answer.
    pub fn hang_next(&self, n: u32) -> &Self {
        self.add(Rule::any(n, Action::Hang))
    }

    /// The next GetObject is cut after this many bytes of its body.
    pub fn truncate_next_get(&self, after_bytes: u64) -> &Self {
        let operation = Some(Operation::Get);
        self.add(Rule { operation, ..Rule::any(1, Action::Truncate(after_bytes)) })
    }

    /// The next `n` CompleteMultipartUpload answer 200 with an error inside.
    pub fn fail_complete_inside_200(&self, n: u32) -> &Self {
        let operation = Some(Operation::Complete);
        self.add(Rule { operation, ..Rule::any(n, Action::FailInside200("InternalError".to_owned())) })
    }

    /// Every request waits this long first.
    pub fn latency(&self, latency: Duration) -> &Self {
        self.switches().latency = latency;
        self
    }

    /// Request bodies of all connections together: bytes per second, 0 for no limit.
    pub fn throttle_in(&self, bytes_per_second: u64) -> &Self {
        self.inbound.set(bytes_per_second);
        self
    }

    /// Response bodies of all connections together: bytes per second, 0 for no limit.
    pub fn throttle_out(&self, bytes_per_second: u64) -> &Self {
        self.outbound.set(bytes_per_second);
        self
    }

    /// Objects whose key contains this lie on read: the lowest bit of their middle byte is flipped, always the same.
    pub fn bit_flip(&self, key_substring: &str) -> &Self {
        self.switches().bit_flips.push((key_substring.to_owned(), None));
        self
    }

    /// As [`Self::bit_flip`], at this byte of the object.
    pub fn bit_flip_at(&self, key_substring: &str, offset: u64) -> &Self {
        self.switches().bit_flips.push((key_substring.to_owned(), Some(offset)));
        self
    }

    /// The server's clock, as its `Date` header and [`Self::require_clock`] see it, is this far ahead; `behind` for
    /// the past.
    pub fn skew_date(&self, ahead: Duration) -> &Self {
        self.skew_ms.store(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self
    }

    /// The server's clock is this far behind.
    pub fn skew_date_behind(&self, behind: Duration) -> &Self {
        self.skew_ms.store(-i64::try_from(behind.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self
    }

    /// Accepts this key pair from now on, and no other.
    pub fn set_credentials(&self, access: &str, secret: &str) -> &Self {
        self.switches().credentials = (access.to_owned(), secret.to_owned());
        self
    }

    switch! {
        /// 403 AccessDenied for everything.
        deny_all => deny_all, denies_all;
        /// 403 for GET and HEAD: a write-only credential (it may still list).
        deny_reads => deny_reads, denies_reads;
        /// 403 for LIST.
        deny_lists => deny_lists, denies_lists;
        /// 403 for PUT, COPY and multipart uploads: a read-only credential.
        deny_writes => deny_writes, denies_writes;
        /// 403 for DELETE (also of uploads).
        deny_deletes => deny_deletes, denies_deletes;
        /// 400 ExpiredToken for everything.
        expire_credentials => expired, credentials_expired;
        /// Connections are accepted and closed at once; open ones are cut at their next request.
        unavailable => unavailable, is_unavailable;
        /// 403 RequestTimeTooSkewed when the client's clock is more than 15 minutes off the server's.
        require_clock => require_clock, requires_clock;
        /// A store that accepts create-only twice: If-None-Match and If-Match of writes mean nothing.
        ignore_conditions => ignore_conditions, ignores_conditions;
        /// Multipart uploads may have parts below 5 MiB (a real store refuses them).
        allow_small_parts => small_parts, allows_small_parts;
    }

    /// Back to a store without faults; credentials stay.
    pub fn clear(&self) {
        self.rules().clear();
        let mut switches = self.switches();
        let credentials = std::mem::take(&mut switches.credentials);
        *switches = Switches { credentials, ..Switches::default() };
        drop(switches);
        self.throttle_in(0).throttle_out(0).skew_date(Duration::ZERO);
        self.deny_all(false).deny_reads(false).deny_lists(false).deny_writes(false).deny_deletes(false);
        self.expire_credentials(false).unavailable(false).require_clock(false);
        self.ignore_conditions(false).allow_small_parts(false);
    }

    /// Rules that still wait for their requests: 0 proves that every planned fault took place.
    pub fn pending(&self) -> u32 {
        self.rules().iter().map(|rule| rule.times).sum()
    }

    pub(super) fn take(&self, operation: Operation, method: &str, key: &str) -> Option<Action> {
        let mut rules = self.rules();
        let index = rules.iter().position(|rule| rule.matches(operation, method, key))?;
        let rule = &mut rules[index];
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times -= 1;
        let action = rule.action.clone();
        rules.retain(|rule| rule.times > 0);
        Some(action)
    }

    pub(super) fn current_latency(&self) -> Duration {
        self.switches().latency
    }

    pub(super) fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::SeqCst)
    }

    /// The offset to flip in an object of this size, when it is one that lies.
    pub(super) fn flip_of(&self, key: &str, size: u64) -> Option<u64> {
        let switches = self.switches();
        let (_, offset) = switches.bit_flips.iter().find(|(part, _)| key.contains(part.as_str()))?;
        Some(offset.unwrap_or(size / 2))
    }

    pub(super) fn secret_of(&self, access: &str) -> Option<String> {
        let switches = self.switches();
        (switches.credentials.0 == access).then(|| switches.credentials.1.clone())
    }
}

/// S3's usual error code for a status.
fn code_of(status: u16) -> &'static str {
    match status {
        400 => "InvalidRequest",
        403 => "AccessDenied",
        404 => "NoSuchKey",
        405 => "MethodNotAllowed",
        408 => "RequestTimeout",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        429 => "TooManyRequests",
        501 => "NotImplemented",
        503 => "SlowDown",
        507 => "InsufficientStorage",
        _ => "InternalError",
    }
}
