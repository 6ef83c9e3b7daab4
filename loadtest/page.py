"""The report that a person reads: one HTML page with its pictures inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from loadtest.pictures import Line, bars, lines
from loadtest.profiles import DOOR, PROBE, STEP, WARM

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 82rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.2rem } .note { color: #52606d }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem } .wide { overflow-x: auto }
td, th { padding: .2rem .5rem; text-align: right; border-bottom: 1px solid #d9e2ec; white-space: nowrap }
td:first-child, th:first-child { text-align: left; white-space: normal }
.verdict { font-size: 1.3rem; font-weight: 600 } .good { color: #1f7a4d } .bad { color: #b3261e }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem }
svg { width: 100%; height: auto; border: 1px solid #d9e2ec; border-radius: 6px } small { color: #52606d }
"""
WATCHED = ("gateway", "model server", "generator")

Summary = Mapping[str, Any]


def render(summary: Summary, before: Summary | None) -> str:
    """Return the page.  before: the summary of the run before, to compare with."""
    title = f"digits: load test of {summary['began']}"
    body = [
        f"<h1>Load test</h1><p class=note>{escape(summary['began'])} · profile <b>{escape(summary['profile'])}</b> · "
        f"{escape(summary['target'])}</p>",
        _verdict(summary),
        "<h2>Throughput and latency over offered load</h2>" + _pictures(summary) + _steps(summary, before),
        _others(summary, before),
        "<h2>Failures by kind</h2>" + _failures(summary),
        "<h2>Who was busy</h2>" + _cores(summary),
        "<h2>Over time</h2>" + over_time(summary),
        "<h2>How it was measured</h2>" + _how(summary),
    ]
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    return f"<!doctype html><html lang=en>{head}<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; cells are HTML already."""
    if not rows:
        return "<p class=note>nothing</p>"
    top = "".join(f"<th>{name}</th>" for name in head)
    lines_ = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=wide><table><tr>{top}</tr>{lines_}</table></div>"


def ms(value: float | None) -> str:
    """Milliseconds for people."""
    return "–" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _compared(now: float | None, then: float | None) -> str:
    """A figure's change against the run before, in small print."""
    if now is None or not then:
        return ""
    change = 100 * (now / then - 1)
    return f" <small>{change:+.0f} %</small>" if abs(change) >= 1 else " <small>=</small>"


def _verdict(summary: Summary) -> str:
    passed = summary["passed"]
    word = "Passed" if passed else "Failed"
    out = [f"<p class='verdict {'good' if passed else 'bad'}'>{word}. {escape(summary['headline'])}</p>"]
    if not summary["complete"]:
        out.append(f"<p class=bad>The run was cut short ({escape(summary['ending'])}): this is what was measured until then.</p>")
    out += [f"<p>{escape(note)}</p>" for note in summary["notes"]]
    rows = [
        [escape(one["rule"]), escape(one["limit"]), escape(one["measured"]),
         f"<span class={'good' if one['passed'] else 'bad'}>{'kept' if one['passed'] else 'broken'}</span>"]
        for one in summary["findings"]
    ]  # fmt: skip
    return "".join(out) + table(("threshold", "limit", "measured", ""), rows)


def steps_of(summary: Summary) -> list[dict[str, Any]]:
    """The steps that were measured, by load."""
    return sorted((row for row in summary["rows"] if row["role"] == STEP), key=lambda row: row["offered"] or 0)


def throughput_picture(summary: Summary) -> str:
    """Right answers a second over requests offered."""
    steps = steps_of(summary)
    knee = summary["knee"]
    mark = (knee["offered"], f"knee: {knee['right']:.0f}/s") if knee else None
    top = max((row["offered"] for row in steps), default=0.0)
    series = [
        Line("answered", [(row["offered"], row["right"]) for row in steps]),
        Line("offered", [(0, 0), (top, top)], dashed=True),
    ]
    return lines(
        "Answered over offered", "requests offered a second", "right answers a second", series if steps else [], mark=mark
    )


def latency_picture(summary: Summary) -> str:
    """Percentiles over requests offered."""
    steps = steps_of(summary)
    knee = summary["knee"]
    mark = (knee["offered"], "knee") if knee else None
    series = [Line(name, [(row["offered"], row[name]) for row in steps if row[name]]) for name in ("p50", "p95", "p99")]
    return lines("Latency over offered", "requests offered a second", "ms since due", series, logarithmic=True, mark=mark)


def _pictures(summary: Summary) -> str:
    if not steps_of(summary):
        return "<p class=note>This profile has no steps.</p>"
    return f"<div class=pictures>{throughput_picture(summary)}{latency_picture(summary)}</div>"


def _row(row: Mapping[str, Any], then: Mapping[str, Any] | None) -> list[str]:
    offered = f"{row['offered']:.0f}" if row["offered"] is not None else f"closed, {row['users']} users"
    other = then or {}
    return [
        offered,
        f"{row['right']:.0f}{_compared(row['right'], other.get('right'))}",
        f"{row['drawings']:.0f}",
        *(f"{ms(row[name])}{_compared(row[name], other.get(name))}" for name in ("p50", "p95", "p99")),
        f"{sum(row['failures'].values()):,} <small>{row['failed_percent']:.2f} %</small>",
        *(f"{row['cores'][name]:.2f}" if name in row["cores"] else "–" for name in (*WATCHED, "machine")),
    ]


HEAD = (
    "answered/s",
    "drawings/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "failures",
    *(f"{name}, cores" for name in (*WATCHED, "machine")),
)


def _steps(summary: Summary, before: Summary | None) -> str:
    steps = steps_of(summary)
    if not steps:
        return ""
    earlier = steps_of(before) if before else []
    rows = [_row(row, _like(row, earlier)) for row in steps]
    told = (
        f"<p class=note>Small: change against the run of {escape(before['began'])}, at the same load.</p>"
        if before and earlier
        else ""
    )
    return table(("offered/s", *HEAD), rows) + told


def _like(row: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The step of the run before at nearly the same load, else none: figures at other loads say nothing."""
    near = [one for one in earlier if row["offered"] and abs((one["offered"] or 0) / row["offered"] - 1) <= 0.1]
    return min(near, key=lambda one: abs(one["offered"] - row["offered"]), default=None)


def _others(summary: Summary, before: Summary | None) -> str:
    out = []
    others = [row for row in summary["rows"] if row["role"] not in (STEP, DOOR)]
    rows = [[escape(row["role"]), *_row(row, None)] for row in others]
    doors = [row for row in summary["rows"] if row["role"] == DOOR]
    if doors:
        then = {row["kind"]: row for row in before["rows"] if row["role"] == DOOR} if before else {}
        told = [[escape(row["kind"]), *_row(row, then.get(row["kind"]))] for row in doors]
        out.append("<h2>Every door by itself</h2>" + table(("request", "load", *HEAD), told))
    if rows:
        roles = {row["role"] for row in others} - {WARM, PROBE}
        title = "Warm-up and probe" + (", " + ", ".join(sorted(roles)) if roles else "")
        out.append(f"<h2>{escape(title)}</h2>" + table(("phase", "offered/s", *HEAD), rows))
        if summary["recovery_s"] is not None:
            most = f"with at most {summary['settings']['connections']} requests under way or waiting in the deployment"
            out.append(f"<p>After the spike the latency was back to the quiet one within {summary['recovery_s']} s, {most}.</p>")
    return "".join(out)


def _failures(summary: Summary) -> str:
    rows = [
        [escape(row["role"]), escape(row["kind"]), f"{row['offered']:.0f}" if row["offered"] is not None else "closed",
         escape(reason), f"{count:,}"]
        for row in summary["rows"] for reason, count in row["failures"].items()
    ]  # fmt: skip
    return table(("phase", "request", "offered/s", "failure", "count"), rows) if rows else "<p>None.</p>"


def _cores(summary: Summary) -> str:
    steps = [row for row in steps_of(summary) if row["cores"]] or [row for row in summary["rows"] if row["cores"]]
    if not steps:
        return "<p class=note>Nothing could be watched.</p>"
    names = [name for name in WATCHED if any(name in row["cores"] for row in steps)]
    stacks = {name: [row["cores"].get(name, 0.0) for row in steps] for name in names}
    used = [sum(column) for column in zip(*stacks.values(), strict=True)] if stacks else [0.0] * len(steps)
    stacks["others"] = [max(row["cores"]["machine"] - own, 0.0) for row, own in zip(steps, used, strict=True)]
    labels = [f"{row['offered']:.0f}/s" if row["offered"] is not None else row["role"] for row in steps]
    picture = bars("CPU by process", "requests offered a second", "cores", labels, stacks, float(summary["cpus"]))
    memory = [
        [escape(name), *(f"{value:,} MB" for value in both)] for name, both in summary["memory"].items() if name != "generator"
    ]
    grown = table(("memory", "at the start", "at the end"), memory)
    return f"<p>{escape(summary['limit'])}</p><div class=pictures>{picture}<div>{grown}</div></div>"


def over_time(summary: Summary) -> str:
    """Right answers of every second of the run."""
    rate = [(at, float(right)) for at, right, _ in summary["over_time"]]
    late = [(at, p99) for at, _, p99 in summary["over_time"] if p99]
    answered = lines("Right answers by second", "seconds since the start", "right answers a second", [Line("answered", rate)])
    p99 = lines("p99 by second", "seconds since the start", "ms since due", [Line("p99", late)], logarithmic=True)
    return f"<div class=pictures>{answered}{p99}</div>"


def _how(summary: Summary) -> str:
    tables = "".join(
        f"<h3>{name}</h3>" + table(("", ""), [[escape(str(key)), escape(str(value))] for key, value in summary[part].items()])
        for name, part in (("Machine", "machine"), ("Versions", "versions"), ("Settings", "settings"))
    )
    return (
        "<p>Requests are due by a schedule that no answer can delay; latency counts from when a request was due, so waiting for "
        "a free connection is part of it. The first second of a phase is not judged. A request is right if every digit in its "
        f"answer is the one that was drawn.</p>{tables}<p><a href='locust.html'>Locust's own report</a></p>"
    )
