//! `restore list` of a replica of files: one line per snapshot.

use door::Output;
use file_replica::{Error, points};
use store::Store;
use telemetry::Exit;

pub(crate) async fn run(store: &Store, output: Output) -> Result<Exit, Error> {
    let points = points(store).await?;
    door::print(output, &points, |points| {
        let mut text = format!(
            "{:>8}  {:<24}  {:>8}  {:>14}  {:>7}  {:>8}  {:<6}  {:<6}\n",
            "SNAPSHOT", "COMMITTED", "ENTRIES", "BYTES", "OBJECTS", "UNSTABLE", "SEALED", "PROVEN"
        );
        let yes = |is: bool| if is { "yes" } else { "" };
        for p in points {
            text += &format!(
                "{:>8}  {:<24}  {:>8}  {:>14}  {:>7}  {:>8}  {:<6}  {:<6}\n",
                p.snapshot,
                p.time,
                p.entries,
                p.bytes,
                p.objects,
                p.unstable,
                yes(p.sealed),
                yes(p.proven)
            );
        }
        text
    });
    Ok(Exit::Done)
}
