//! The one HTML page: the status document as tables, for a person with a browser and no dashboard.
//!
//! Self-contained: no script, no image, no other address. Every text is escaped. The page knows no field of the document:
//! objects become rows, lists of objects become tables, so that it cannot disagree with `/status`.

use crate::Health;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Nesting beyond this is shown as JSON text.
const MAX_DEPTH: usize = 6;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em;\
color-scheme:light dark}table{border-collapse:collapse;margin:.3em 0}td,th{border:1px solid #8886;padding:.25em .6em;\
text-align:left;vertical-align:top}th{font-weight:600}.no{color:#c00}.yes{color:#080}";

/// The page for a status document.
pub(crate) fn html(status: &Value, health: &Health) -> String {
    let name = status.get("component").and_then(Value::as_str).unwrap_or("highwater");
    let mut out = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>");
    escape(&mut out, name);
    out.push_str("</title><meta name=\"viewport\" content=\"width=device-width\"><style>");
    out.push_str(STYLE);
    out.push_str("</style><h1>");
    escape(&mut out, name);
    out.push_str("</h1><table>");
    for (what, state) in [("started", health.started()), ("live", health.live()), ("ready", health.ready())] {
        let (class, text) = match state {
            Ok(()) => ("yes", "yes".to_owned()),
            Err(reason) => ("no", format!("no: {reason}")),
        };
        let _ = write!(out, "<tr><th>{what}<td class=\"{class}\">"); // writing to a String cannot fail
        escape(&mut out, &text);
    }
    out.push_str("</table>");
    value(&mut out, status, 0);
    out.push_str("<p><a href=\"status\">status</a> <a href=\"metrics\">metrics</a></html>\n");
    out
}

fn value(out: &mut String, shown: &Value, depth: usize) {
    match shown {
        Value::Object(fields) if depth < MAX_DEPTH => object(out, fields, depth),
        Value::Array(items) if depth < MAX_DEPTH => array(out, items, depth),
        Value::String(text) => escape(out, text),
        Value::Null => out.push('–'),
        other => escape(out, &other.to_string()),
    }
}

fn object(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    out.push_str("<table>");
    for (key, field) in fields {
        out.push_str("<tr><th>");
        escape(out, key);
        out.push_str("<td>");
        value(out, field, depth + 1);
    }
    out.push_str("</table>");
}

/// A list of objects is a table with the union of their keys as columns; any other list is one item per line.
fn array(out: &mut String, items: &[Value], depth: usize) {
    if items.is_empty() {
        out.push('–');
        return;
    }
    let objects: Option<Vec<&Map<String, Value>>> = items.iter().map(Value::as_object).collect();
    let Some(objects) = objects else {
        for item in items {
            value(out, item, depth + 1);
            out.push_str("<br>");
        }
        return;
    };
    let mut columns: Vec<&String> = Vec::new();
    for key in objects.iter().flat_map(|fields| fields.keys()) {
        if !columns.contains(&key) {
            columns.push(key);
        }
    }
    out.push_str("<table><tr>");
    for key in &columns {
        out.push_str("<th>");
        escape(out, key);
    }
    for fields in objects {
        out.push_str("<tr>");
        for key in &columns {
            out.push_str("<td>");
            value(out, fields.get(*key).unwrap_or(&Value::Null), depth + 1);
        }
    }
    out.push_str("</table>");
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;
    use std::time::Duration;

    fn page(status: Value) -> String {
        let health = Health::new(Arc::new(clock::ManualClock::at(0)), Duration::from_secs(1));
        health.wait_for("<waiting>");
        html(&status, &health)
    }

    #[test]
    fn every_text_is_escaped() {
        let page = page(json!({"component": "<script>", "a<b": ["'\"&"]}));
        assert!(!page.contains("<script>") && !page.contains("<waiting>") && !page.contains("a<b"));
        assert!(page.contains("&lt;script&gt;") && page.contains("&#39;&quot;&amp;"));
    }

    #[test]
    fn a_list_of_objects_is_one_table() {
        let page = page(json!({"databases": [{"path": "a.db", "lag": 0}, {"path": "b.db", "error": null}]}));
        assert!(
            page.contains("<th>path<th>lag<th>error") || page.contains("<th>lag<th>path<th>error"),
            "{page}"
        );
        assert!(page.contains("<td>a.db") && page.contains("<td>b.db"));
    }

    #[test]
    fn p7_deep_documents_do_not_recurse() {
        let deep = (0..100).fold(json!(1), |inner, _| json!({ "in": inner }));
        assert!(page(deep).contains("&quot;in&quot;"));
    }
}
