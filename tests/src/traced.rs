//! A program under `strace`, which makes calls fail, skips them, or ends the program at one of them.

use std::process::{Command, Stdio};

/// Why nothing can be traced here, if nothing can.
pub fn no_strace() -> Option<String> {
    let tried =
        Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    match tried {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("strace may not trace: {status}")),
        Err(error) => Some(format!("no strace: {error}")),
    }
}

/// The same command under strace with these options; nothing is printed of what it sees.
pub fn traced(command: &Command, options: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]).args(options);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}
