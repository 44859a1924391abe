//! An application in a process of its own, obeying one command per line.

use crate::workload;
use rusqlite::Connection;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const DATABASE: &str = "SQLITE_TAIL_TEST_APP";
const UID: &str = "SQLITE_TAIL_TEST_UID";

pub(crate) struct App {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.end();
    }
}

impl App {
    pub(crate) fn open(path: &Path) -> Self {
        Self::spawn(path, None)
    }

    /// An application running under another uid.
    pub(crate) fn open_as(path: &Path, uid: u32) -> Self {
        Self::spawn(path, Some(uid))
    }

    fn spawn(path: &Path, uid: Option<u32>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(DATABASE, path);
        if let Some(uid) = uid {
            command.env(UID, uid.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    /// Starts a command without waiting for its end.
    pub(crate) fn begin(&mut self, command: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{command}").unwrap();
        stdin.flush().unwrap();
    }

    /// The answer to the oldest command not yet answered: rows joined by `;`, or the error.
    pub(crate) fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the application died");
            if let Some(at) = line.find("> ok ") {
                return Ok(line[at + 5..].trim_end().to_owned());
            }
            if let Some(at) = line.find("> err ") {
                return Err(line[at + 6..].trim_end().to_owned());
            }
        }
    }

    pub(crate) fn ask(&mut self, command: &str) -> Result<String, String> {
        self.begin(command);
        self.answer()
    }

    /// Runs one SQL statement.
    pub(crate) fn sql(&mut self, sql: &str) -> String {
        self.ask(&format!("sql {sql}")).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// A clean exit: the connection is closed.
    pub(crate) fn exit(mut self) {
        assert!(self.end());
    }

    /// A crash: nothing is closed.
    pub(crate) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(&mut self) -> bool {
        drop(self.stdin.take());
        // What the child's test harness still has to say.
        let _ = std::io::copy(&mut self.stdout, &mut std::io::sink());
        self.child.wait().is_ok_and(|status| status.success())
    }
}

/// Runs the command loop if this process is a child.
pub(crate) fn run_if_child() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    if let Ok(uid) = std::env::var(UID) {
        nix::unistd::setuid(nix::unistd::Uid::from_raw(uid.parse().unwrap())).unwrap();
    }
    let path = Path::new(&path);
    let mut connection: Option<Connection> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let answer = obey(path, &mut connection, &line);
        let mut out = std::io::stdout().lock();
        match answer {
            Ok(text) => writeln!(out, "\n> ok {text}").unwrap(),
            Err(error) => writeln!(out, "\n> err {}", error.replace('\n', " ")).unwrap(),
        }
        out.flush().unwrap();
    }
}

fn obey(path: &Path, connection: &mut Option<Connection>, line: &str) -> Result<String, String> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    if verb == "attach" {
        // This child plays the streamer.
        return match sqlite_tail::Tail::attach(path, Default::default(), crate::clock()) {
            Ok(_) => Ok("attached".into()),
            Err(error) => Err(format!("{:?}: {error}", error.class())),
        };
    }
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(Connection::open(path).map_err(|e| e.to_string())?),
    };
    match verb {
        "sql" => rows(connection, rest),
        "work" => workload::run(connection, rest),
        "storm" => workload::storm(connection, rest),
        other => Err(format!("unknown command {other}")),
    }
    .map_err(|e| e.to_string())
}

fn rows(connection: &Connection, sql: &str) -> Result<String, String> {
    let run = || -> rusqlite::Result<String> {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        let mut text = Vec::new();
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                text.push(match row.get_ref(column)? {
                    rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                    rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
                    other => format!("{other:?}"),
                });
            }
        }
        Ok(text.join(";"))
    };
    run().map_err(|e| e.to_string())
}
