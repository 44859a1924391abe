//! A question on a terminal before something is replaced; elsewhere the flag has to say it.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

/// Whether somebody is there to be asked.
pub(crate) fn is_interactive() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Shows what will happen and waits for `yes`.
pub(crate) fn ask(what: &str) -> bool {
    eprint!("{what}\ntype yes to go on: ");
    let _ = stderr().flush();
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}
