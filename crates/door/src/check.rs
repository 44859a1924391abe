//! What a `check` found: one line per finding, with a hint where something has to change.
//!
//! Usable as a Job: the exit code is that of the worst finding, and every line says what was looked at, so that "all
//! good" is not silence.

use crate::{Output, print};
use serde::Serialize;
use std::fmt::Write;
use telemetry::Exit;

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// Works, and somebody should know.
    Warning,
    /// Will not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, a fixed word: `store`, `volume`, `clock`.
    pub check: &'static str,
    /// On what: a URL without its secrets, a path.
    pub subject: String,
    /// How good it is.
    pub verdict: Verdict,
    /// What was found, one line, lower case.
    pub found: String,
    /// What to change; empty where nothing has to.
    pub hint: String,
    /// The exit code this finding alone would end with.
    pub exit: u8,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        let (subject, found) = (subject.into(), found.into());
        Self { check, subject, verdict: Verdict::Ok, found, hint: String::new(), exit: 0 }
    }

    /// Works, and somebody should know; does not change the exit code.
    pub fn warning(
        check: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Warning, hint: hint.into(), ..Self::ok(check, subject, found) }
    }

    /// Will not work, and ends with this code.
    pub fn failed(
        check: &'static str,
        exit: Exit,
        subject: impl Into<String>,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let exit = exit.code();
        Self { verdict: Verdict::Failed, hint: hint.into(), exit, ..Self::ok(check, subject, found) }
    }

    fn line(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        let mut line = format!("{verdict:<8} {:<12} {}: {}", self.check, self.subject, self.found);
        if !self.hint.is_empty() {
            let _ = write!(line, "; {}", self.hint); // writing to a String cannot fail
        }
        line
    }
}

/// The code of the worst finding.
pub fn exit_of_findings(findings: &[Finding]) -> Exit {
    let all = [Exit::Failed, Exit::Usage, Exit::Refused, Exit::Damaged, Exit::Fenced, Exit::Partial];
    // A retry may help against 1 only when nothing else is wrong.
    let worst = findings.iter().map(|finding| finding.exit).max().unwrap_or(0);
    all.into_iter().find(|exit| exit.code() == worst).unwrap_or(Exit::Done)
}

/// Prints the findings and gives the exit code.
pub fn report(output: Output, findings: &[Finding]) -> Exit {
    print(output, &findings, |all| all.iter().map(|finding| finding.line() + "\n").collect());
    exit_of_findings(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_exit_code() {
        let ok = Finding::ok("store", "s3://b", "reachable");
        let warning = Finding::warning("clock", "s3://b", "40 s apart", "run an NTP client");
        let failed = Finding::failed("volume", Exit::Refused, "/data", "read-only", "remount it");
        assert_eq!(exit_of_findings(&[ok.clone(), warning.clone()]), Exit::Done);
        assert_eq!(exit_of_findings(&[ok, failed.clone(), warning]), Exit::Refused);
        assert_eq!(failed.line(), "FAILED   volume       /data: read-only; remount it");
    }
}
