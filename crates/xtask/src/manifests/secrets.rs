//! Secret scanning as the pages recommend it: gitleaks with its own rules finds no secret in what people copy from here, and finds a key that
//! somebody commits by mistake.
//!
//! The full tier builds it; the default run uses the one on the path. What it does not do: look into history, or into the sources of tests, which
//! hold keys on purpose.

use super::{Report, go_tool};
use crate::tools::has;
use anyhow::Result;
use std::path::Path;
use std::process::{Command, Stdio};

const GITLEAKS: (&str, &str) = ("github.com/zricethezav/gitleaks/v8", "v8.28.0");
/// What people copy.
const COPIED: [&str; 4] = ["kustomize-components", "helm", "examples", "docs"];

/// Scans what people copy, and a folder with a planted key.
pub(super) fn judge(full: bool, report: &mut Report) -> Result<()> {
    let found = (full || has("gitleaks")).then(|| go_tool("gitleaks", GITLEAKS.0, GITLEAKS.1)).flatten();
    let Some(gitleaks) = found else {
        report.skip(format!(
            "gitleaks {}: the full tier builds it; nothing was scanned for secrets",
            GITLEAKS.1
        ));
        return Ok(());
    };
    let clean = |dir: &Path| -> Result<bool> {
        let mut command = Command::new(&gitleaks);
        command.args(["dir", "--no-banner", "--log-level", "error", "--exit-code", "9"]).arg(dir);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if ![0, 9].contains(&status.code().unwrap_or(-1)) {
            anyhow::bail!("gitleaks {} ended with {status}", dir.display());
        }
        Ok(status.success())
    };
    for dir in COPIED {
        if !clean(Path::new(dir))? {
            report.fail(format!("gitleaks finds a secret below {dir}: `gitleaks dir -v {dir}`"));
        }
    }
    // In two parts, so that this file is no finding.
    let planted = ["AGE-SECRET-", "KEY-1QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHC7"].concat();
    let scratch = tempfile::tempdir()?;
    std::fs::write(scratch.path().join("secret.yaml"), format!("identity: {planted}\n"))?;
    if clean(scratch.path())? {
        report.fail("gitleaks does not find an age identity in a file");
    }
    report.pass(format!("gitleaks: no secret below {}, a planted identity found", COPIED.join(", ")));
    Ok(())
}
