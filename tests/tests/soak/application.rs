//! An application of the soak: what it is told to do, and what is known of its database.

use e2e::{PATIENCE, Volume, kill_between_commits};
use std::path::PathBuf;
use testkit::app::{AppArgs, Checkpoint, read_acks};
use testkit::procs::{Proc, wait_until};
use testkit::rng::Rng;

/// An application and what is known of its database.
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) db: PathBuf,
    pub(crate) acks: PathBuf,
    pub(crate) args: AppArgs,
    proc: Option<Proc>,
    /// Newest TXID that was reported durable.
    pub(crate) durable: u64,
    /// Newest transaction that came back from a restore of the newest state.
    pub(crate) restored: u64,
}

impl App {
    pub(crate) fn new(data: &Volume, number: u64, rng: &mut Rng) -> App {
        let name = format!("{}.db", char::from(b'a' + number as u8));
        let (db, acks) = (data.file(&name), data.file(&format!("acks.{number}")));
        let args = AppArgs {
            writers: 1 + rng.below(3) as u32,
            readers: rng.below(2) as u32,
            page_size: *rng.pick(&[1024, 4096, 4096, 65536]),
            auto_vacuum: (*rng.pick(&["none", "full", "incremental"])).to_owned(),
            ack_file: Some(acks.clone()),
            blob: *rng.pick(&[300, 3000]),
            documents: 200,
            seed: number,
            transactions: 0,
            ..AppArgs::new(&db)
        };
        App { name, db, acks, args, proc: None, durable: 0, restored: 0 }
    }

    /// Starts it, or starts it anew with other habits.
    pub(crate) fn start(&mut self, rng: &mut Rng) {
        self.kill();
        self.args.rate = *rng.pick(&[2.0, 20.0, 60.0, 150.0]);
        self.args.checkpoint = *rng.pick(&[
            Checkpoint::Auto,
            Checkpoint::Auto,
            Checkpoint::None,
            Checkpoint::Passive,
            Checkpoint::Full,
            Checkpoint::Restart,
            Checkpoint::Truncate,
        ]);
        self.args.checkpoint_every = rng.range(1, 40);
        self.args.sync_full = rng.one_in(2);
        self.args.rollback_one_in = *rng.pick(&[0, 15]);
        self.proc = Some(Proc::bin("hw-app", self.args.to_args()));
    }

    /// Ends it where what is committed is what is published: it has committed since its start, over whatever a kill left behind
    /// the last commit, and commits nothing while it dies.
    pub(crate) fn end(&mut self) {
        let Some(mut proc) = self.proc.take() else { return };
        let before = read_acks(&self.acks).len();
        wait_until(PATIENCE, "one more commit", || read_acks(&self.acks).len() > before);
        kill_between_commits(&mut proc, &self.db);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut proc) = self.proc.take() {
            proc.kill9();
        }
    }
}
