"""Write Grafana's dashboard: `python tools/dashboard.py > monitoring/grafana/dashboards/digits.json`.

A row answers one of an operator's questions; a panel is a line here instead of forty in JSON.
"""

from __future__ import annotations

import json
from typing import Any

ASKED = 'endpoint="api.predict"'
MODEL = ":tensorflow:serving:"
Query = tuple[str, str]  # PromQL, legend


def quantiles(metric: str, labels: str = "") -> list[Query]:
    """50, 95 and 99 % of a histogram."""
    rate = f"sum by (le) (rate({metric}_bucket{{{labels}}}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {rate})", f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def mean(metric: str, legend: str) -> Query:
    """Mean of a histogram over the interval."""
    return f"sum(rate({metric}_sum[$__rate_interval])) / sum(rate({metric}_count[$__rate_interval]))", legend


def rate(metric: str, by: str = "", labels: str = "", legend: str = "") -> Query:
    """Increase a second of a counter, by a label."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{labels}}}[$__rate_interval]))", legend or (f"{{{{{by}}}}}" if by else metric)


MIX = "sum by (digit) (increase(digits_predicted_total[1h])) / scalar(sum(increase(digits_predicted_total[1h])))"
SLOW_STAGE = "histogram_quantile(0.95, sum by (le, stage) (rate(digits_stage_seconds_bucket[$__rate_interval])))"
UNSURE = "sum(rate(digits_unsure_total[15m])) / sum(rate(digits_predicted_total[15m]))"
BATCHING = f"{MODEL}batching_session:"


def one(query: str, legend: str) -> list[Query]:
    """A panel of one query."""
    return [(query, legend)]


# row → panels: title, unit, queries, what to make of it
ROWS: dict[str, list[tuple[str, str, list[Query], str]]] = {
    "Is it up?": [
        ("Tiers up", "short", one("sum by (job) (up)", "{{job}}"), "Instances that answer Prometheus; 0 is down"),
        ("Answered with a 5xx", "percentunit", one("digits:errors:ratio_rate5m", "share"), "Promised: under 0.1 %"),
        ("Circuit open", "short", one("max(digits_circuit_open)", "open"), "1: the gateway fails at once instead of waiting"),
        ("Versions that may be asked", "short", one("max by (version) (digits_model_version)", "version {{version}}"), ""),
    ],
    "How fast?": [
        ("Gateway, a request", "s", quantiles("digits_request_seconds", ASKED), "Promised: p99 under 250 ms"),
        ("Model server, a request", "µs", quantiles(f"{MODEL}request_latency", 'entrypoint="GRPC"'), "Successes only"),
        ("Which stage is slow?", "s", one(SLOW_STAGE, "{{stage}}"), "p95 of each; queue is the wait for a place in a call"),
    ],
    "How many?": [
        ("Requests by status", "reqps", [rate("digits_requests_total", "status", ASKED)], ""),
        ("In work now", "short", one("sum(digits_in_flight)", "requests"), ""),
        ("Turned away", "reqps", [rate("digits_shed_total", "reason")], "By reason; a steady rate wants more replicas"),
        ("Calls repeated", "reqps", [rate("digits_rpc_retries_total", legend="repeated")], "A model server left or is full"),
        ("Model server by code", "reqps", [rate(f"{MODEL}request_count", "status")], ""),
    ],
    "How full are batches?": [
        (
            "Drawings in a call, in a batch",
            "short",
            [mean("digits_batch_images", "gateway's call"), mean(f"{BATCHING}input_batch_size", "model server's batch")],
            "More than 1 under load: drawings share the graph's runs",
        ),
        ("Wait for a batch", "µs", quantiles(f"{BATCHING}queuing_latency"), "Grows when all cores are busy"),
    ],
    "Which model, and is the world still what it was trained on?": [
        (
            "Answers by version and label",
            "reqps",
            [rate("digits_answers_total", "version, label", legend="{{version}} {{label}}")],
            "The canary's share, and whether a promotion took",
        ),
        ("Digit mix", "percentunit", one(MIX, "{{digit}}"), "Share of each digit in the last hour"),
        ("Confidence", "percentunit", [mean("digits_confidence", "mean")], "Falling: drawings that the model does not know"),
        ("Not sure", "percentunit", one(UNSURE, "share"), "Answers below the model's own threshold"),
        ("Versions refused", "short", one("max(digits_contract_mismatch)", "versions"), "Published, but not of this contract"),
    ],
}


def panel(
    number: int, x: int, y: int, width: int, title: str, unit: str, queries: list[Query], description: str
) -> dict[str, Any]:
    """One time series."""
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "gridPos": {"x": x, "y": y, "w": width, "h": 7},
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 8, "showPoints": "never"}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [{"refId": chr(65 + i), "expr": expr, "legendFormat": legend} for i, (expr, legend) in enumerate(queries)],
    }


def dashboard() -> dict[str, Any]:
    """All rows, in Grafana's form."""
    panels: list[dict[str, Any]] = []
    y = 0
    for question, row in ROWS.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": question, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        width = 24 // len(row)
        panels += [panel(len(panels) + 1 + i, i * width, y + 1, width, *content) for i, content in enumerate(row)]
        y += 8
    return {
        "uid": "digits",
        "title": "digits",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "editable": False,
        "panels": panels,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1, ensure_ascii=False))
