//! The JSON Schema of the YAML file, generated from its types, for editors and CI.
//!
//! It knows keys, types and names. What only the parser knows (durations, overlaps, contradictions) it cannot say, so it
//! accepts at least what the parser accepts.

/// The schema, as a JSON document.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(crate::yaml::File).to_value()
}
