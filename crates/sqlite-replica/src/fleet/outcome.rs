//! How the databases of a fleet ended.

use crate::error::Error;
use crate::fleet::config::Database;
use crate::write::Finish;

/// How one database ended.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub database: Database,
    /// Whether everything is durable, or why it was not followed to the end.
    pub finish: Result<Finish, Error>,
}
