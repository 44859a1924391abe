//! Logs go to standard error, as text for a person or as JSON for a collector.
//!
//! The default is text on a terminal and JSON elsewhere. The filter comes from `HIGHWATER_LOG`, else `RUST_LOG`, else it is
//! `info`; a filter that cannot be read is an error, because a silently ignored one hides what somebody wanted to see.
//! Colours only on a terminal and only while `NO_COLOR` is unset or empty (no-color.org).
//! What it does not do: log files, rotation, sampling. Standard output belongs to `-o text|json`.

use crate::Error;
use std::env;
use std::io::{IsTerminal, stderr};
use std::str::FromStr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event, fields at the top level.
    Json,
}

impl LogFormat {
    /// Text on a terminal, JSON elsewhere.
    pub fn by_terminal() -> Self {
        if stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is not a log format (text or json)")),
        }
    }
}

/// Installs the process's logger; once per process. `None` chooses by [`LogFormat::by_terminal`].
pub fn init(format: Option<LogFormat>) -> Result<(), Error> {
    let format = format.unwrap_or_else(LogFormat::by_terminal);
    let colours = stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder =
        SubscriberBuilder::default().with_env_filter(filter(|name| env::var(name).ok())?).with_writer(stderr);
    let installed = match format {
        LogFormat::Text => builder.with_ansi(colours).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    installed.map_err(|_| Error::LogAlreadySet)
}

fn filter(variable: impl Fn(&str) -> Option<String>) -> Result<EnvFilter, Error> {
    for name in ["HIGHWATER_LOG", "RUST_LOG"] {
        if let Some(value) = variable(name).filter(|value| !value.trim().is_empty()) {
            return EnvFilter::builder().parse(&value).map_err(|error| Error::Filter {
                variable: name,
                value,
                reason: error.to_string(),
            });
        }
    }
    Ok(EnvFilter::new("info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(set: &[(&str, &str)]) -> Result<String, Error> {
        let variables: Vec<(String, String)> = set.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        filter(|name| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
            .map(|filter| filter.to_string())
    }

    #[test]
    fn our_variable_wins() {
        assert_eq!(filter_of(&[]).unwrap(), "info");
        assert_eq!(filter_of(&[("RUST_LOG", "debug")]).unwrap(), "debug");
        assert_eq!(filter_of(&[("RUST_LOG", "debug"), ("HIGHWATER_LOG", "warn")]).unwrap(), "warn");
        assert_eq!(filter_of(&[("RUST_LOG", "debug"), ("HIGHWATER_LOG", "")]).unwrap(), "debug");
    }

    #[test]
    fn an_unreadable_filter_is_an_error_that_names_its_variable() {
        let message = filter_of(&[("HIGHWATER_LOG", "store=loud")]).unwrap_err().to_string();
        assert!(message.starts_with(r#"HIGHWATER_LOG="store=loud" is not a log filter"#), "{message}");
    }

    #[test]
    fn formats_are_strict() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("JSON5".parse::<LogFormat>().is_err());
    }
}
