//! The options of the application, as a value and as a command line.

use std::path::PathBuf;
use std::str::FromStr;

/// When the application checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// SQLite's own hook, at 1,000 pages: what nearly all applications do.
    Auto,
    /// Never.
    None,
    /// By pragma, every `checkpoint_every` transactions of a writer, with the hook off.
    Passive,
    /// See [`Checkpoint::Passive`].
    Full,
    /// See [`Checkpoint::Passive`].
    Restart,
    /// See [`Checkpoint::Passive`].
    Truncate,
}

/// What to run; [`AppArgs::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct AppArgs {
    /// The database; created when missing, continued when not.
    pub db: PathBuf,
    /// Connections that write, one thread each.
    pub writers: u32,
    /// Connections that keep reading, one thread each, with transactions of some milliseconds.
    pub readers: u32,
    /// Transactions of this run, all writers together; 0 for no end.
    pub transactions: u64,
    /// Seconds after which the run ends; 0 for no end.
    pub seconds: u64,
    /// Seed of the plan; what a database was created with stays.
    pub seed: u64,
    /// Transactions per second, all writers together; 0 for as many as possible.
    pub rate: f64,
    /// When to checkpoint.
    pub checkpoint: Checkpoint,
    /// Transactions of one writer between two of its checkpoints.
    pub checkpoint_every: u64,
    /// One in so many transactions of a writer is preceded by one that spills and is rolled back; 0 for none.
    pub rollback_one_in: u64,
    /// `PRAGMA synchronous`: full, else normal.
    pub sync_full: bool,
    /// Bytes; of a new database.
    pub page_size: u32,
    /// `none`, `full` or `incremental`; of a new database.
    pub auto_vacuum: String,
    /// Where every committed transaction is appended, see [`super::read_acks`].
    pub ack_file: Option<PathBuf>,
    /// Ids that documents have: with `blob`, the size the database grows to; of a new database.
    pub documents: u64,
    /// Largest ordinary document in bytes; of a new database.
    pub blob: u64,
}

impl AppArgs {
    /// One writer, 100 transactions, 4 KiB pages, SQLite's own checkpoints.
    pub fn new(db: impl Into<PathBuf>) -> AppArgs {
        AppArgs {
            db: db.into(),
            writers: 1,
            readers: 0,
            transactions: 100,
            seconds: 0,
            seed: 1,
            rate: 0.0,
            checkpoint: Checkpoint::Auto,
            checkpoint_every: 100,
            rollback_one_in: 25,
            sync_full: false,
            page_size: 4096,
            auto_vacuum: "none".to_owned(),
            ack_file: None,
            documents: 1000,
            blob: 2000,
        }
    }

    /// From `--name value` pairs.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<AppArgs, String> {
        let mut arguments = arguments.into_iter();
        let mut args = AppArgs::new("");
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--db" => args.db = value.into(),
                "--writers" => args.writers = number(&name, &value)?,
                "--readers" => args.readers = number(&name, &value)?,
                "--transactions" => args.transactions = number(&name, &value)?,
                "--seconds" => args.seconds = number(&name, &value)?,
                "--seed" => args.seed = number(&name, &value)?,
                "--rate" => args.rate = number(&name, &value)?,
                "--checkpoint" => args.checkpoint = value.parse()?,
                "--checkpoint-every" => args.checkpoint_every = number(&name, &value)?,
                "--rollback-one-in" => args.rollback_one_in = number(&name, &value)?,
                "--sync" if value == "normal" || value == "full" => args.sync_full = value == "full",
                "--page-size" => args.page_size = number(&name, &value)?,
                "--auto-vacuum" if ["none", "full", "incremental"].contains(&value.as_str()) => {
                    args.auto_vacuum = value;
                }
                "--ack-file" => args.ack_file = Some(value.into()),
                "--documents" => args.documents = number(&name, &value)?,
                "--blob" => args.blob = number(&name, &value)?,
                _ => return Err(format!("unknown option {name} {value}")),
            }
        }
        match args.db.as_os_str().is_empty() {
            true => Err("--db is missing".to_owned()),
            false => Ok(args),
        }
    }

    /// The command line of `hw-app` that does the same.
    pub fn to_args(&self) -> Vec<String> {
        let checkpoint = format!("{:?}", self.checkpoint).to_lowercase();
        let mut pairs = vec![
            ("--db", self.db.display().to_string()),
            ("--writers", self.writers.to_string()),
            ("--readers", self.readers.to_string()),
            ("--transactions", self.transactions.to_string()),
            ("--seconds", self.seconds.to_string()),
            ("--seed", self.seed.to_string()),
            ("--rate", self.rate.to_string()),
            ("--checkpoint", checkpoint),
            ("--checkpoint-every", self.checkpoint_every.to_string()),
            ("--rollback-one-in", self.rollback_one_in.to_string()),
            ("--sync", if self.sync_full { "full" } else { "normal" }.to_owned()),
            ("--page-size", self.page_size.to_string()),
            ("--auto-vacuum", self.auto_vacuum.clone()),
            ("--documents", self.documents.to_string()),
            ("--blob", self.blob.to_string()),
        ];
        pairs.extend(self.ack_file.iter().map(|file| ("--ack-file", file.display().to_string())));
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}: not a number: {value}"))
}

impl FromStr for Checkpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Checkpoint, String> {
        Ok(match text {
            "auto" => Checkpoint::Auto,
            "none" => Checkpoint::None,
            "passive" => Checkpoint::Passive,
            "full" => Checkpoint::Full,
            "restart" => Checkpoint::Restart,
            "truncate" => Checkpoint::Truncate,
            _ => return Err(format!("--checkpoint: not a mode: {text}")),
        })
    }
}
