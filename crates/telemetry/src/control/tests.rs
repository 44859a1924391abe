//! The socket as a command, a stranger and a killed process see it.

use super::*;
use serde_json::json;

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn echo() -> Handler {
    Arc::new(|request| Box::pin(async move { json!({ "exit": 0, "you": request }) }))
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn one_question_one_answer() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/control.sock");
        let stop = Shutdown::manual();
        let control = serve(&path, echo(), stop.clone()).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only its owner may ask");
        let asked = path.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&asked, &json!({"do": "status"}), SOON));
        assert_eq!(answer.await.unwrap().unwrap()["you"]["do"], "status");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        stop.cancel();
        control.stopped().await;
        assert!(!path.exists());
        assert!(ask(&path, &json!({}), SOON).unwrap_err().to_string().contains("is it running?"));
    });
}

#[test]
fn p4_a_living_socket_is_not_taken_and_a_dead_one_is() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let stop = Shutdown::manual();
        let first = serve(&path, echo(), stop.clone()).unwrap();
        let second = serve(&path, echo(), Shutdown::manual()).unwrap_err().to_string();
        assert!(second.contains("another process listens on it"), "{second}");
        first.task.abort(); // as a kill would: the file stays
        while connect(&path).is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(path.exists());
        serve(&path, echo(), stop).unwrap();
        fs::write(dir.path().join("precious"), "data").unwrap();
        assert!(serve(&dir.path().join("precious"), echo(), Shutdown::manual()).is_err());
        assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"data");
    });
}

#[test]
fn a_long_path_works() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d".repeat(120)).join("control.sock");
        let stop = Shutdown::manual();
        let _control = serve(&path, echo(), stop).unwrap();
        let answer = tokio::task::spawn_blocking(move || ask(&path, &json!(1), SOON)).await.unwrap();
        assert_eq!(answer.unwrap()["you"], 1);
    });
}

#[test]
fn p7_a_request_is_bounded_and_garbage_is_answered() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let _control = serve(&path, echo(), Shutdown::manual()).unwrap();
        let answer = |text: String| {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                let mut stream = connect(&path).unwrap();
                let _ = stream.write_all(text.as_bytes());
                let mut line = String::new();
                let _ = BufReader::new(stream).read_line(&mut line);
                line
            })
        };
        assert!(answer("sync please\n".into()).await.unwrap().contains("no JSON"));
        assert_eq!(answer("x".repeat(MAX_REQUEST as usize + 2) + "\n").await.unwrap(), "");
    });
}
