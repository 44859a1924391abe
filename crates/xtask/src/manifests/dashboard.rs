//! The Grafana dashboard from its short description: rows of panels with expressions, units and lines.
//!
//! A table is made of several queries: those without a column only bring labels, the others a column each, merged where all labels that two rows
//! share are equal. What it does not do: transformations beyond that, annotations, links.

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    title: String,
    uid: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    title: String,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    /// A Grafana panel type; `timeseries` unless said.
    #[serde(rename = "type")]
    kind: Option<String>,
    unit: Option<String>,
    /// Values above are red.
    bad_above: Option<f64>,
    /// A red line.
    line: Option<f64>,
    /// What is shown where nothing is to be shown: an empty panel says why.
    none: Option<String>,
    exprs: Vec<Expr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expr {
    expr: String,
    legend: Option<String>,
    /// In a table: the title of the column of its values.
    column: Option<String>,
    /// In a table: the unit of that column.
    unit: Option<String>,
    /// In a table: words for values, the first one good and the others bad.
    #[serde(default)]
    words: Vec<(f64, String)>,
}

/// Grafana's variables in expressions.
const VARIABLES: [&str; 3] = ["$ns", "$app", "$db"];

/// Every expression, with Grafana's variables replaced by a match of everything: for promtool.
pub(super) fn expressions(description: &str) -> Result<Vec<String>> {
    let board: Board = serde_saphyr::from_str(description)?;
    let all = board.rows.into_iter().flat_map(|r| r.panels).flat_map(|p| p.exprs);
    Ok(all.map(|e| VARIABLES.iter().fold(e.expr, |text, name| text.replace(name, ".*"))).collect())
}

/// The dashboard as Grafana imports it.
pub(super) fn json(description: &str) -> Result<String> {
    let board: Board = serde_saphyr::from_str(description)?;
    let mut panels = Vec::new();
    let mut y = 0;
    for row in &board.rows {
        panels.push(json!({"id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false,
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []}));
        y += 1;
        let stats = row.panels.iter().all(|p| p.kind.as_deref() == Some("stat"));
        let (width, height) = if stats { (6, 4) } else { (12, 8) };
        let per_line = 24 / width;
        for (index, panel) in row.panels.iter().enumerate() {
            let place = json!({"x": (index % per_line) * width, "y": y + index / per_line * height, "w": width, "h": height});
            panels.push(one(panel, panels.len() + 1, place));
        }
        y += row.panels.len().div_ceil(per_line) * height;
    }
    let board = json!({
        "title": board.title, "uid": board.uid, "tags": ["highwater", "backup"], "schemaVersion": 39, "version": 1,
        "editable": true, "refresh": "1m", "time": {"from": "now-6h", "to": "now"}, "timezone": "",
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
            variable("ns", "Namespace", "label_values(highwater_build_info, namespace)"),
            variable("app", "Application", "label_values(highwater_build_info{namespace=~\"$ns\"}, app)"),
            variable("db", "Database", "label_values(highwater_wal_lag_seconds{namespace=~\"$ns\", app=~\"$app\"}, db)"),
        ]},
        "panels": panels,
    });
    Ok(serde_json::to_string_pretty(&board)? + "\n")
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({"name": name, "label": label, "type": "query", "query": {"query": query, "refId": name}, "refresh": 2,
        "includeAll": true, "allValue": ".*", "multi": true, "sort": 1, "current": {"text": "All", "value": "$__all"},
        "datasource": {"type": "prometheus", "uid": "$datasource"}})
}

fn one(panel: &Panel, id: usize, place: Value) -> Value {
    let kind = panel.kind.as_deref().unwrap_or("timeseries");
    let instant = kind != "timeseries";
    let targets: Vec<Value> = panel
        .exprs
        .iter()
        .zip('A'..)
        .map(|(e, id)| {
            json!({"refId": id.to_string(), "expr": e.expr, "legendFormat": e.legend.as_deref().unwrap_or("__auto"),
                "instant": instant, "range": !instant, "format": if kind == "table" { "table" } else { "time_series" }})
        })
        .collect();
    let bad = panel.bad_above.or(panel.line);
    let mut steps = vec![json!({"color": "green", "value": null})];
    // Grafana's steps begin at their value; ours are bad above it.
    steps.extend(bad.map(|bad| json!({"color": "red", "value": if bad == 0.0 { 1.0 } else { bad }})));
    let mut defaults = json!({"unit": panel.unit.as_deref().unwrap_or("short"), "thresholds": {"mode": "absolute", "steps": steps}});
    if kind == "timeseries" {
        defaults["min"] = 0.into();
        defaults["color"] = json!({"mode": "palette-classic"});
        // Without it an axis of zeros ends at 10,000 %.
        if panel.unit.as_deref() == Some("percentunit") {
            defaults["max"] = 1.into();
        }
    }
    if panel.line.is_some() && kind == "timeseries" {
        defaults["custom"] = json!({"thresholdsStyle": {"mode": "line"}});
    }
    if kind == "table" {
        // Six columns fit into half of the width.
        defaults["custom"] = json!({"minWidth": 60});
    }
    if let Some(none) = &panel.none {
        defaults["noValue"] = none.as_str().into();
    }
    let options = match kind {
        "stat" => {
            json!({"colorMode": "background", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"], "values": false}})
        }
        "timeseries" => json!({"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
            "tooltip": {"mode": "multi", "sort": "desc"}}),
        _ => json!({}),
    };
    let (transformations, overrides) = if kind == "table" { table(panel) } else { (Vec::new(), Vec::new()) };
    json!({"id": id, "type": kind, "title": panel.title, "gridPos": place, "targets": targets, "options": options,
        "datasource": {"type": "prometheus", "uid": "$datasource"}, "transformations": transformations,
        "fieldConfig": {"defaults": defaults, "overrides": overrides}})
}

/// One row per set of labels, one column per query that has a title; with the units and words of the columns.
fn table(panel: &Panel) -> (Vec<Value>, Vec<Value>) {
    let (mut excluded, mut renamed, mut overrides) = (json!({"Time": true}), json!({}), Vec::new());
    // The labels as the first query names them, then the columns.
    let first = panel.exprs.first().map_or("", |e| e.expr.as_str());
    let labels = first.split_once("by (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(l, _)| l);
    let mut order: Vec<String> =
        labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect();
    for (expr, id) in panel.exprs.iter().zip('A'..) {
        // The data source leaves the letter out where there is one query.
        let value = if panel.exprs.len() == 1 { "Value".to_owned() } else { format!("Value #{id}") };
        let Some(column) = &expr.column else {
            excluded[value] = true.into();
            continue;
        };
        renamed[&value] = column.as_str().into();
        order.push(value);
        // Else a cell would say what the whole panel says when it is empty.
        let mut properties = vec![json!({"id": "noValue", "value": "–"})];
        properties.extend(expr.unit.as_ref().map(|unit| json!({"id": "unit", "value": unit})));
        if !expr.words.is_empty() {
            let colour = |index| if index == 0 { "green" } else { "red" };
            let words = expr.words.iter().enumerate().map(|(index, (value, word))| {
                (value.to_string(), json!({"text": word, "color": colour(index), "index": index}))
            });
            let options: serde_json::Map<String, Value> = words.collect();
            properties.push(
                json!({"id": "mappings", "value": [{"type": "value", "options": Value::from(options)}]}),
            );
            properties.push(json!({"id": "custom.cellOptions", "value": {"type": "color-text"}}));
        }
        overrides.push(json!({"matcher": {"id": "byName", "options": column}, "properties": properties}));
    }
    let places: serde_json::Map<String, Value> =
        order.into_iter().enumerate().map(|(index, name)| (name, index.into())).collect();
    let organize = json!({"id": "organize", "options": {"excludeByName": excluded, "renameByName": renamed, "indexByName": places}});
    (vec![json!({"id": "merge", "options": {}}), organize], overrides)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_table_has_the_columns_that_were_named_and_no_others() {
        let text = "title: T\nuid: t\nrows:\n  - title: R\n    panels:\n      - title: A\n        type: table\n        exprs:\n          - {expr: 'max by (pod, db) (a)'}\n\
            \x20         - {expr: b, column: result, unit: s, words: [[1, good], [0, failed]]}\n";
        let board: serde_json::Value = serde_json::from_str(&super::json(text).unwrap()).unwrap();
        let panel = &board["panels"][1];
        let organize = &panel["transformations"][1]["options"];
        assert_eq!(organize["excludeByName"], serde_json::json!({"Time": true, "Value #A": true}));
        assert_eq!(organize["renameByName"], serde_json::json!({"Value #B": "result"}));
        let properties = &panel["fieldConfig"]["overrides"][0]["properties"];
        assert_eq!(organize["indexByName"], serde_json::json!({"pod": 0, "db": 1, "Value #B": 2}));
        assert_eq!(properties[1]["value"], "s");
        assert_eq!(properties[2]["value"][0]["options"]["1"]["color"], "green");
        assert_eq!(properties[2]["value"][0]["options"]["0"]["color"], "red");
    }

    #[test]
    fn panels_stand_below_each_other_and_never_overlap() {
        let text = "title: T\nuid: t\nrows:\n  - title: R\n    panels:\n      - {title: A, type: stat, exprs: [{expr: up}]}\n  - title: S\n    panels:\n\
            \x20     - {title: B, line: 5, exprs: [{expr: up, legend: x}]}\n      - {title: C, exprs: [{expr: up}]}\n      - {title: D, exprs: [{expr: up}]}\n";
        let board: serde_json::Value = serde_json::from_str(&super::json(text).unwrap()).unwrap();
        let places: Vec<[u64; 4]> = board["panels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| ["x", "y", "w", "h"].map(|k| p["gridPos"][k].as_u64().unwrap()))
            .collect();
        assert_eq!(places.len(), 6);
        for (i, [x, y, w, h]) in places.iter().enumerate() {
            for [x2, y2, w2, h2] in &places[..i] {
                assert!(x + w <= *x2 || x2 + w2 <= *x || y + h <= *y2 || y2 + h2 <= *y, "{places:?}");
            }
        }
    }
}
