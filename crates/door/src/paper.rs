//! Shell completions and man pages, made from the command line itself, so that they cannot disagree with it.

use clap::{Command, Subcommand};
use std::fs;
use std::path::{Path, PathBuf};
use telemetry::Exit;

/// The two verbs every binary has beside its own; flatten it into the binary's verbs.
#[derive(Debug, Subcommand)]
pub enum Paper {
    /// Print shell completions
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Write man pages, one per verb
    #[command(hide = true)]
    Man {
        /// Directory to write them to
        dir: PathBuf,
    },
}

impl Paper {
    /// Carries it out for this command line.
    pub fn run(&self, mut command: Command) -> Exit {
        let name = command.get_name().to_owned();
        match self {
            Paper::Completions { shell } => {
                clap_complete::generate(*shell, &mut command, name, &mut std::io::stdout());
                Exit::Done
            }
            Paper::Man { dir } => match pages(command, dir) {
                Ok(()) => Exit::Done,
                Err(error) => {
                    eprintln!("{name}: cannot write man pages to {}: {error}", dir.display());
                    Exit::Failed
                }
            },
        }
    }
}

fn pages(command: Command, dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    // `help` as a verb of every verb would be a page each.
    clap_mangen::generate_to(command.disable_help_subcommand(true), dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    /// Keeps things.
    #[derive(Parser)]
    #[command(name = "keeper", version)]
    struct Cli {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Subcommand)]
    enum Verb {
        /// Keep one thing
        Keep,
        #[command(flatten)]
        Paper(Paper),
    }

    #[test]
    fn every_verb_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let Verb::Paper(paper) = Cli::parse_from(["keeper", "man", dir.path().to_str().unwrap()]).verb else {
            panic!("man is a verb");
        };
        assert!(paper.run(Cli::command()).is_done());
        for page in ["keeper.1", "keeper-keep.1", "keeper-completions.1"] {
            let text = fs::read_to_string(dir.path().join(page)).unwrap();
            assert!(text.contains(".SH NAME"), "{page}: {text}");
        }
        assert!(matches!(Cli::parse_from(["keeper", "keep"]).verb, Verb::Keep));
    }
}
