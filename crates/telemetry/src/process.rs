//! What the process uses, read from `/proc/self` at each scrape.
//!
//! The names are those of the official Prometheus clients. Facts: proc_pid_stat(5). `utime` and `stime` count in USER_HZ,
//! which is 100 on every Linux architecture we build for, whatever the kernel's own HZ is; resident memory comes from
//! `VmRSS` of `/proc/self/status`, in KiB, so that no page size is needed.
//! The process start is our own first look at the clock: `/proc`'s is relative to a boot time that moves with NTP.
//! A value that cannot be read (no `/proc`) is left out rather than shown as 0.

use crate::Error;
use crate::names::{self, Metric};
use crate::registry::refused;
use clock::Clock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

const USER_HZ: f64 = 100.0;

/// The `process_*` metrics.
#[derive(Debug, Clone)]
pub(crate) struct ProcessCollector {
    resident: Gauge,
    cpu: Counter,
    descriptors: Gauge,
    start: Gauge,
    /// Two scrapes at once must not both add the same difference to the counter.
    scrape: Arc<Mutex<()>>,
}

impl ProcessCollector {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let gauge = |row: Metric| Gauge::with_opts(options(row)).map_err(|error| refused(row.name, error));
        let cpu = names::PROCESS_CPU_SECONDS_TOTAL;
        let made = Self {
            resident: gauge(names::PROCESS_RESIDENT_MEMORY_BYTES)?,
            cpu: Counter::with_opts(options(cpu)).map_err(|error| refused(cpu.name, error))?,
            descriptors: gauge(names::PROCESS_OPEN_FDS)?,
            start: gauge(names::PROCESS_START_TIME_SECONDS)?,
            scrape: Arc::new(Mutex::new(())),
        };
        made.start.set(clock.unix_ms() as f64 / 1_000.0);
        Ok(made)
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        [self.resident.desc(), self.cpu.desc(), self.descriptors.desc(), self.start.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _one_at_a_time = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families = self.start.collect();
        if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes)
        {
            self.resident.set(bytes as f64);
            families.extend(self.resident.collect());
        }
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
            families.extend(self.cpu.collect());
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory we are reading.
            self.descriptors.set(entries.count().saturating_sub(1) as f64);
            families.extend(self.descriptors.collect());
        }
        families
    }
}

fn options(row: Metric) -> Opts {
    Opts::new(row.name, row.help)
}

/// `VmRSS:     1234 kB` of `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Fields 14 and 15 of `/proc/self/stat`; the name in field 2 may hold spaces and brackets, so count after its last one.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / USER_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_formats() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2044 kB\n"), Some(2044 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 999";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let collector = ProcessCollector::new(Arc::new(clock::ManualClock::at(5_000))).unwrap();
        assert_eq!(collector.collect().len(), 4);
        assert!(collector.resident.get() > 0.0);
        assert!(collector.descriptors.get() > 0.0);
        assert_eq!(collector.start.get(), 5.0);
    }
}
