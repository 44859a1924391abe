//! A real application: PocketBase, with two databases, uploads, and migrations that it writes itself, driven over its HTTP interface.
//!
//! Answered means committed: what it answers 200 to is on its volume. Its request log is off until asked for, so that it is quiet when nobody asks.

use super::kubelet::Pod;
use super::probe::request;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

const PORT: u16 = 8090;
const ADMIN: (&str, &str) = ("admin@example.com", "correct-horse-battery");
const BOUNDARY: &str = "highwater-e2e-boundary";

/// The application in a running pod.
pub(super) struct Notes<'a> {
    pod: &'a Pod,
    token: String,
}

impl<'a> Notes<'a> {
    /// The application once it answers. `first`: nothing was there, so it gets its administrator and its collection.
    pub(super) fn open(pod: &'a Pod, first: bool) -> Result<Self> {
        let mut notes = Self { pod, token: String::new() };
        super::cluster::until("PocketBase answers", || Ok(notes.call("GET", "/api/health", None).is_ok()))
            .with_context(|| pod.logs())?;
        if first {
            let upsert = ["/pocketbase", "superuser", "upsert", ADMIN.0, ADMIN.1, "--dir=/data"];
            pod.exec("pocketbase", &upsert)?;
        }
        let who = json!({"identity": ADMIN.0, "password": ADMIN.1});
        let said = notes.call("POST", "/api/collections/_superusers/auth-with-password", Some(&who))?;
        notes.token = said["token"].as_str().context("a token")?.to_owned();
        if first {
            notes.keep_requests(0)?;
            let fields = json!([
                {"name": "title", "type": "text", "required": true},
                {"name": "document", "type": "file", "maxSelect": 1, "maxSize": 5_242_880}
            ]);
            let rules = json!({"name": "notes", "type": "base", "fields": fields});
            notes.call("POST", "/api/collections", Some(&rules))?;
        }
        Ok(notes)
    }

    /// From now on the application logs requests to its second database, for so many days; 0 is never.
    pub(super) fn keep_requests(&self, days: u32) -> Result<()> {
        self.call("PATCH", "/api/settings", Some(&json!({"logs": {"maxDays": days}}))).map(drop)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(method, path, "application/json", body.as_bytes())
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Value> {
        let headers = [("Content-Type", kind), ("Authorization", self.token.as_str())];
        let (status, said) = request(self.pod.network().pod(), PORT, method, path, &headers, body)?;
        let text = String::from_utf8_lossy(&said);
        ensure!(status == 200, "{method} {path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes so many notes, each with a document, numbered from `from`.
    pub(super) fn write(&self, from: u32, count: u32) -> Result<()> {
        for number in from..from + count {
            let document = document(number);
            let mut body = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nnote {number}\r\n--{BOUNDARY}\r\n\
                 Content-Disposition: form-data; name=\"document\"; filename=\"note{number}.txt\"\r\nContent-Type: text/plain\r\n\r\n"
            )
            .into_bytes();
            body.extend_from_slice(document.as_bytes());
            body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
            let kind = format!("multipart/form-data; boundary={BOUNDARY}");
            self.send("POST", "/api/collections/notes/records", &kind, &body)?;
        }
        Ok(())
    }

    /// How many notes it has; the documents of some are fetched and compared with what was uploaded.
    pub(super) fn read(&self) -> Result<u64> {
        let page = self.call("GET", "/api/collections/notes/records?perPage=20&sort=-title", None)?;
        for note in page["items"].as_array().context("items")? {
            let [id, name, title] =
                ["id", "document", "title"].map(|key| note[key].as_str().unwrap_or_default());
            let path = format!("/api/files/notes/{id}/{name}");
            let (status, bytes) = request(self.pod.network().pod(), PORT, "GET", &path, &[], b"")?;
            let number = title.rsplit(' ').next().unwrap_or_default().parse()?;
            ensure!(
                status == 200 && bytes == document(number).as_bytes(),
                "{title}: {path} is not what was uploaded"
            );
        }
        page["totalItems"].as_u64().context("totalItems")
    }
}

/// What was uploaded as note `number`.
fn document(number: u32) -> String {
    format!("document {number}\n").repeat(20 + number as usize % 400)
}
