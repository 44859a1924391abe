//! Progress of a restore: a bar with rate and time left on a terminal, a log line every few seconds elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::Duration;
use tokio::task::JoinHandle;

const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR_EVERY: Duration = Duration::from_millis(100);

/// A shown progress; end it before printing the result.
pub(crate) struct Shown {
    bar: Option<ProgressBar>,
    task: JoinHandle<()>,
}

/// Shows the bytes that `fetched` counts, out of `total`, until finished.
pub(crate) fn show(fetched: impl Fn() -> u64 + Send + 'static, total: u64) -> Shown {
    if !stderr().is_terminal() {
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LINE_EVERY).await;
                tracing::info!(fetched = fetched(), total, "restoring");
            }
        });
        return Shown { bar: None, task };
    }
    let bar = ProgressBar::new(total);
    let template = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let shown = bar.clone();
    let task = tokio::spawn(async move {
        loop {
            shown.set_position(fetched());
            tokio::time::sleep(BAR_EVERY).await;
        }
    });
    Shown { bar: Some(bar), task }
}

impl Shown {
    pub(crate) fn finish(self) {
        self.task.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
