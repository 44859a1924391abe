//! When the next task is due: armed by changes, taken when due, nothing armed while idle.
//!
//! Monotonic nanoseconds. Random shifts keep a thousand databases from doing the same at the same moment.

use clock::IdGen;
use std::time::Duration;

const NEVER: u64 = u64::MAX;

/// The timers of one database.
#[derive(Debug, Clone)]
pub(crate) struct Timers {
    levels: [u64; 3],
    point: u64,
    /// When the next restore point may be due at the earliest.
    point_from: u64,
    /// A new replica is not read back before this.
    first_point: u64,
    retention: u64,
    /// When retention looks again after the run that is armed: the newest merge has outlived its grace then.
    retention_again: u64,
    retention_from: u64,
    verify: u64,
    /// After a failure nothing happens before this.
    pub(crate) not_before: u64,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            levels: [NEVER; 3],
            point: NEVER,
            point_from: 0,
            first_point: 0,
            retention: NEVER,
            retention_again: 0,
            retention_from: 0,
            verify: NEVER,
            not_before: 0,
        }
    }
}

fn after(now: u64, pause: Duration) -> u64 {
    now.saturating_add(pause.as_nanos() as u64)
}

/// A random part of `span`.
fn part(span: Duration, ids: &dyn IdGen) -> Duration {
    span.mul_f64((ids.next_u64() >> 11) as f64 / (1u64 << 53) as f64)
}

/// Takes a timer that is due.
fn take(timer: &mut u64, now: u64) -> bool {
    let due = *timer <= now;
    if due {
        *timer = NEVER;
    }
    due
}

impl Timers {
    /// When something is due.
    pub(crate) fn next(&self) -> u64 {
        let [a, b, c] = self.levels;
        a.min(b).min(c).min(self.point).min(self.retention).min(self.verify).max(self.not_before)
    }

    /// Whether nothing but scheduled checks is armed.
    pub(crate) fn is_settled(&self) -> bool {
        let [a, b, c] = self.levels;
        a.min(b).min(c).min(self.point).min(self.retention) == NEVER
    }

    pub(crate) fn arm_level(&mut self, level: u8, now: u64, interval: Duration) {
        let timer = &mut self.levels[usize::from(level) - 1];
        *timer = (*timer).min(after(now, interval));
    }

    pub(crate) fn level_now(&mut self, level: u8, now: u64) {
        self.levels[usize::from(level) - 1] = now;
    }

    pub(crate) fn take_level(&mut self, level: u8, now: u64) -> bool {
        take(&mut self.levels[usize::from(level) - 1], now)
    }

    /// At a start: the next restore point is due when the rest of the interval has passed, a little scattered.
    pub(crate) fn start_point(&mut self, now: u64, left: Duration, interval: Duration, ids: &dyn IdGen) {
        let scatter = part((interval / 10).min(Duration::from_secs(600)), ids);
        self.point_from = after(now, left + scatter);
        self.point = self.point_from;
    }

    /// Of a new replica there is no restore point before `pause` has passed.
    pub(crate) fn first_point(&mut self, now: u64, pause: Duration) {
        self.first_point = after(now, pause);
        self.point_from = self.first_point;
    }

    /// Nothing is read back before the first restore point may be.
    pub(crate) fn put_off_point(&mut self) {
        self.point = self.point.max(self.first_point);
    }

    /// Something changed: a restore point will be due.
    pub(crate) fn arm_point(&mut self, now: u64) {
        self.point = self.point.min(self.point_from.max(now));
    }

    pub(crate) fn point_now(&mut self, now: u64) {
        self.point = now;
    }

    pub(crate) fn take_point(&mut self, now: u64) -> bool {
        take(&mut self.point, now)
    }

    /// There is a restore point; the next one after `interval`, a little earlier so that it is never late.
    pub(crate) fn point_reached(&mut self, now: u64, interval: Duration, ids: &dyn IdGen) {
        self.point = NEVER;
        self.point_from = after(now, interval - part(interval / 10, ids));
    }

    pub(crate) fn arm_retention(&mut self, now: u64, pause: Duration) {
        let at = after(now, pause).max(self.retention_from);
        self.retention = self.retention.min(at);
        self.retention_again = at;
    }

    pub(crate) fn retention_now(&mut self, now: u64) {
        self.retention = now.max(self.retention_from);
    }

    pub(crate) fn take_retention(&mut self, now: u64) -> bool {
        let due = take(&mut self.retention, now);
        if due && self.retention_again > now {
            self.retention = self.retention_again;
        }
        due
    }

    /// Nothing is deleted for a while.
    pub(crate) fn rest_retention(&mut self, now: u64, rest: Duration) {
        self.retention_from = after(now, rest);
        if self.retention != NEVER {
            self.retention = self.retention.max(self.retention_from);
        }
    }

    pub(crate) fn start_verify(&mut self, now: u64, every: Option<Duration>, ids: &dyn IdGen) {
        if let Some(every) = every {
            self.verify = after(now, every / 2 + part(every / 2, ids));
        }
    }

    pub(crate) fn verify_now(&mut self, now: u64) {
        self.verify = now;
    }

    pub(crate) fn take_verify(&mut self, now: u64, every: Option<Duration>, ids: &dyn IdGen) -> bool {
        let due = take(&mut self.verify, now);
        if let Some(every) = every.filter(|_| due) {
            self.verify = after(now, every - part(every / 10, ids));
        }
        due
    }
}
