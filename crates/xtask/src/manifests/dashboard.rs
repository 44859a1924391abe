//! The Grafana dashboard from its short description: rows of panels with expressions, units and lines.

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
    exprs: Vec<Expr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expr {
    expr: String,
    legend: Option<String>,
}

/// Every expression, with Grafana's variables replaced by a match of everything: for promtool.
pub(super) fn expressions(description: &str) -> Result<Vec<String>> {
    let board: Board = serde_saphyr::from_str(description)?;
    let all = board.rows.into_iter().flat_map(|r| r.panels).flat_map(|p| p.exprs);
    Ok(all.map(|e| e.expr.replace("$ns", ".*").replace("$app", ".*")).collect())
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
            variable("app", "Application", "label_values(highwater_build_info, app)"),
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
    if panel.line.is_some() && kind == "timeseries" {
        defaults["custom"] = json!({"thresholdsStyle": {"mode": "line"}});
    }
    let options = if kind == "stat" {
        json!({"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"], "values": false}})
    } else {
        json!({})
    };
    json!({"id": id, "type": kind, "title": panel.title, "gridPos": place, "targets": targets, "options": options,
        "datasource": {"type": "prometheus", "uid": "$datasource"}, "fieldConfig": {"defaults": defaults, "overrides": []}})
}

#[cfg(test)]
mod tests {
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
