//! `etcd-shipper doctor`.

use crate::cli::Doctor;
use crate::sources;
use clock::SystemClock;
use door::{Failure, Finding, report};
use etcd_replica::doctor;
use store::OpenConfig;
use telemetry::Exit;

pub(crate) async fn run(args: Box<Doctor>) -> Result<Exit, Failure> {
    let source = sources::source(&args.from)?;
    let mut findings = of("source", doctor::source(&source).await);
    if let Some(dir) = &args.spool_dir {
        findings.extend(of("spool", vec![doctor::spool_dir(dir)]));
    }
    for to in &args.to {
        let url = to.url.to_string();
        match store::open(&to.url, OpenConfig::default()).await {
            Ok(store) => {
                findings.extend(of(
                    "store",
                    doctor::destination(&url, &store, &args.cluster, &SystemClock).await,
                ));
            }
            Err(error) => findings.push(Finding::failed("store", Exit::Usage, url, error.to_string(), "")),
        }
    }
    Ok(report(args.output, &findings))
}

fn of(check: &'static str, findings: Vec<doctor::Finding>) -> Vec<Finding> {
    let one = |finding: doctor::Finding| match finding.ok {
        true => Finding::ok(check, finding.what, finding.says),
        false => Finding::failed(check, Exit::Failed, finding.what, finding.says, ""),
    };
    findings.into_iter().map(one).collect()
}
