use super::*;

fn s3(text: &str) -> S3Url {
    match StoreUrl::parse(text).expect(text).target {
        Target::S3(url) => url,
        other => panic!("{other:?}"),
    }
}

fn refusal(text: &str) -> String {
    StoreUrl::parse(text).expect_err(text).to_string()
}

#[test]
fn s3_urls_as_users_write_them() {
    let url = s3("s3://bucket/a/b?endpoint=https://minio:9000/&region=eu&ca=/ca.pem");
    assert_eq!((url.bucket.as_str(), url.prefix.as_str()), ("bucket", "a/b"));
    assert_eq!(url.endpoint.as_deref(), Some("https://minio:9000"));
    assert!(url.path_style, "custom endpoints use path style");
    assert!(!s3("s3://bucket").path_style);
    assert_eq!(s3("s3://bucket/p/").prefix, "p");
    assert_eq!(s3("s3://bucket/my%20app").prefix, "my app");
    assert!(!s3("s3://bucket/p?endpoint=https://x&path-style=false").path_style);
    assert_eq!(s3("s3://bucket/?endpoint=https://id.r2.cloudflarestorage.com").profile, Some(Profile::R2));
}

#[test]
fn unknown_keys_name_the_nearest() {
    for (key, nearest) in [("endpont", "endpoint"), ("allow_http", "allow-http"), ("pathstyle", "path-style")]
    {
        let message = refusal(&format!("s3://bucket/p?{key}=SECRET"));
        assert!(message.contains(&format!("did you mean {nearest}?")), "{message}");
        assert!(!message.contains("SECRET"), "{message}");
    }
    assert!(refusal("file:///x?region=y").contains("create"));
}

#[test]
fn plain_http_has_to_be_said_except_on_loopback() {
    assert!(refusal("s3://bucket/p?endpoint=http://minio:9000").contains("allow-http=true"));
    for good in [
        "http://minio:9000&allow-http=true",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://localhost:1",
    ] {
        s3(&format!("s3://bucket/p?endpoint={good}"));
    }
    assert!(refusal("s3://bucket/p?endpoint=http://127.0.0.1.example.com").contains("plain http"));
}

#[test]
fn secrets_and_nonsense_are_refused() {
    for bad in [
        "s3://key:secret@bucket/p",
        "s3://bucket/p?endpoint=https://key:secret@host",
        "s3://bucket/p?endpoint=ftp://host",
        "s3://bucket/p?allow-http=yes",
        "s3://bucket/p?region=a&region=b",
        "s3://bucket/p?region=",
        "s3://bucket/../p",
        "s3://b",
        "s3://bucket/%zz",
        "file://relative/path",
        "file:///a/../b",
        "http://bucket/p",
        "/a/path",
        "memory://",
        "s3://bucket/p?forbid=minio&endpoint=https://minio.lan",
        "s3://bucket/p?forbid=minio&profile=minio",
        "s3://bucket/p?forbid=garage",
    ] {
        let message = refusal(bad);
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn display_gives_back_what_was_written() {
    let text = "s3://bucket/p?endpoint=https://x&region=r";
    assert_eq!(StoreUrl::parse(text).expect("valid").to_string(), text);
}

#[test]
fn file_urls() {
    let url = StoreUrl::parse("file:///mnt/nas/my%20app/?create=true").expect("valid");
    assert_eq!(url.path(), Some(Path::new("/mnt/nas/my app")));
    assert_eq!(url.kind(), Kind::File);
}
