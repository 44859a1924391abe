//! `--to URL`: a store, and perhaps a retention of its own in the query.

use crate::cli::Keep;
use crate::failed;
use door::{Failure, duration};
use etcd_replica::{Destination, Policy};
use std::str::FromStr;
use std::time::Duration;
use store::{OpenConfig, StoreUrl};

/// A destination as it is written on the command line.
#[derive(Debug, Clone)]
pub(crate) struct To {
    pub(crate) url: StoreUrl,
    keep_all: Option<Duration>,
    keep_daily: Option<Duration>,
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (location, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut keep_all, mut keep_daily, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let slot = match pair.split_once('=') {
                Some(("keep-all", value)) => Some((&mut keep_all, value)),
                Some(("keep-daily", value)) => Some((&mut keep_daily, value)),
                _ => None,
            };
            match slot {
                Some((slot, value)) => {
                    if slot.replace(duration(value)?).is_some() {
                        return Err(format!("{pair:?} is given twice"));
                    }
                }
                None => rest.push(pair),
            }
        }
        let url = match rest.is_empty() {
            true => location.to_owned(),
            false => format!("{location}?{}", rest.join("&")),
        };
        let url = StoreUrl::parse(&url).map_err(|error| error.to_string())?;
        Ok(Self { url, keep_all, keep_daily })
    }
}

impl To {
    pub(crate) async fn open(&self, keep: &Keep) -> Result<Destination, Failure> {
        let mut policy = policy(keep);
        if let Some(all) = self.keep_all {
            policy.keep_all = seconds(all);
        }
        if let Some(daily) = self.keep_daily {
            policy.keep_daily = seconds(daily);
        }
        policy.check().map_err(failed)?;
        let store = store::open(&self.url, OpenConfig::default()).await;
        let store = store.map_err(|error| failed(error.into()))?;
        Ok(Destination { url: self.url.to_string(), store, policy })
    }
}

pub(crate) fn policy(keep: &Keep) -> Policy {
    Policy {
        keep_all: seconds(keep.keep_all),
        keep_daily: seconds(keep.keep_daily),
        forever: keep.keep_forever,
        max_deletes: keep.max_deletes,
        ..Policy::default()
    }
}

pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_carries_its_own_retention() {
        let to: To =
            "s3://backups/etcd?keep-all=30d&endpoint=http://127.0.0.1:9000&keep-daily=0".parse().unwrap();
        assert_eq!(to.url.to_string(), "s3://backups/etcd?endpoint=http://127.0.0.1:9000");
        assert_eq!(
            (to.keep_all, to.keep_daily),
            (Some(Duration::from_secs(30 * 86_400)), Some(Duration::ZERO))
        );
        let to: To = "file:///mnt/nas".parse().unwrap();
        assert!(to.keep_all.is_none() && to.url.to_string() == "file:///mnt/nas");
        for wrong in ["s3://b?keep-all=x", "file:///a?keep-all=1d&keep-all=2d", "s3://backups?keepall=1d"] {
            assert!(wrong.parse::<To>().is_err(), "{wrong}");
        }
    }
}
