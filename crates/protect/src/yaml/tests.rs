//! The file's strictness, and that its schema agrees with its parser.

use super::*;
use serde_json::Value;

const FULL: &str = include_str!("../../examples/vaultwarden.yaml");
const SMALL: &str = include_str!("../../examples/small.yaml");

#[test]
fn every_value_knows_its_line() {
    let layer = parse(FULL, "protect.yaml").unwrap();
    let databases = layer.databases.unwrap();
    let place = &databases[1].keep.as_ref().unwrap().place;
    assert!(place.to_string().starts_with("protect.yaml:1"), "{place}");
    assert_eq!(place.key, "databases[1].keep");
    assert_eq!(databases[0].profile.as_ref().unwrap().value, Profile::Critical);
}

/// File text and the error's message; `schema` says whether the schema refuses it too.
const REFUSED: &[(&str, &str, bool)] = &[
    ("app: a\ndatabase: []\n", "p.yaml:2: database is not a known key (did you mean databases?)", true),
    (
        "databases:\n  - path: a.db\n    profil: critical\n",
        "p.yaml:3: profil is not a known key (did you mean profile?)",
        true,
    ),
    ("app: a\napp: b\n", "p.yaml:2: app: the same key is written twice", false),
    ("app: [a]\n", "p.yaml:1: expected string scalar", true),
    ("root:\napp: a\n", "p.yaml:1: a key without a value", true),
    ("databases:\n", "p.yaml:1: a key without a value", true),
    ("databases: a.db\n", "p.yaml:1: expected sequence start", true),
    (
        "profile: critcal\n",
        "p.yaml:1: profile: \"critcal\" is not a profile (one of critical, standard, relaxed, ephemeral, did you mean critical?)",
        true,
    ),
    ("app: a\nsnapshot: often\n", "p.yaml:2: snapshot: \"often\" is not a duration", false),
    ("keep: {daily: many}\n", "p.yaml:1: invalid u32", true),
    ("keep: {daily: -1}\n", "p.yaml:1: ", true),
    ("keep: {all: 0}\n", "p.yaml:1: keep: keeps nothing", false),
    ("databases: [{profile: critical}]\n", "p.yaml:1: missing field", true),
    ("app: a\n---\napp: b\n", "p.yaml", false),
    ("app: {{\n", "p.yaml:1: ", false),
    ("", "p.yaml: is empty", false),
    ("encrypt: {recipients: [age1x], identity: y}\n", "p.yaml:1: identity is not a known key", true),
];

#[test]
fn wrong_files_are_refused_with_their_place() {
    for (text, message, _) in REFUSED {
        let error = parse(text, "p.yaml").unwrap_err().to_string();
        assert!(error.starts_with(message), "{text:?} gave {error:?}, not {message:?}");
        assert!(!error.contains('\n'), "{error}");
    }
}

fn validate(text: &str) -> Result<(), String> {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", crate::json_schema()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    let document: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    schemas.validate(&document, index).map_err(|error| error.to_string())
}

#[test]
fn the_schema_agrees_with_the_parser() {
    for text in [FULL, SMALL] {
        assert!(parse(text, "p.yaml").is_ok());
        validate(text).unwrap();
    }
    for (text, _, schema) in REFUSED.iter().filter(|(_, _, schema)| *schema) {
        assert_eq!(validate(text).is_err(), *schema, "{text}");
    }
}
