"""Loadtest: knee, limit and thresholds, without any server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest import analysis, kinds, page, profiles, summary, thresholds, verdict
from loadtest.target import Verified


def _row(offered: float, right: float, p99: float, cores: dict[str, float] | None = None, **more: Any) -> analysis.Row:
    fields: dict[str, Any] = {
        "number": 0, "role": profiles.STEP, "kind": kinds.MAIN, "users": 64, "began": 0.0, "seconds": 5, "offered": offered,
        "right": right, "drawings": right, "p50": p99 / 3, "p95": p99 / 2, "p99": p99, "late_p99": 0.1, "failures": {},
        "sent": int(right * 5), "cores": cores or {},
    }  # fmt: skip
    return analysis.Row(**{**fields, **more})


STEPS = [_row(100, 100, 8), _row(200, 199, 12), _row(300, 298, 40), _row(400, 360, 900), _row(500, 350, 2000)]


def test_the_knee_is_the_highest_step_that_kept_up_within_the_p99() -> None:
    knee = analysis.knee_of(STEPS, 250)
    assert knee is not None
    assert knee.row is STEPS[2]
    assert knee.beyond is STEPS[3]
    tighter = analysis.knee_of(STEPS, 20)
    assert tighter is not None
    assert tighter.row is STEPS[1]
    assert analysis.knee_of([_row(1, 1, 1, role=profiles.HOLD)], 250) is None


def test_the_limit_is_named_from_who_was_busy() -> None:
    busy = {"generator": 0.5, "gateway": 0.9, "model server": 0.5, "machine": 1.97}
    assert "2 cores, all busy" in analysis.limit_of(_row(400, 360, 900, busy), 2000, 2)
    assert "gateway needed most" in analysis.limit_of(_row(400, 360, 900, busy), 2000, 2)
    assert analysis.limit_of(_row(400, 360, 900, {"generator": 0.97, "machine": 1.2}), 2000, 4).startswith("the generator")
    idle = {"generator": 0.2, "gateway": 0.2, "model server": 0.1, "machine": 0.6}
    assert analysis.limit_of(_row(400, 360, 900, idle), 2000, 4).startswith("no CPU")
    assert "90 % of the 400" in analysis.limit_of(_row(400, 360, 900, idle), 400, 4)


def _judged(rows: list[analysis.Row], failures: dict[str, int], verified: Verified | None = None) -> dict[str, bool]:
    run = analysis.Run(rows, None, failures, {})
    limits = thresholds.load()
    found = verdict.judge(run, analysis.knee_of(rows, limits.knee_p99_ms), verified or Verified(100), limits)
    return {one.rule: one.passed for one in found}


def test_one_wrong_digit_breaks_the_run_and_refusals_beyond_the_knee_do_not() -> None:
    refused = _row(600, 300, 90, failures={"HTTP 503": 1500}, sent=3000)
    assert all(_judged([*STEPS, refused], {"HTTP 503": 1500}).values())
    assert not _judged(STEPS, {kinds.WRONG: 1})["wrong digits"]
    below = _row(200, 198, 12, failures={"HTTP 503": 5}, sent=1000)
    assert not _judged([STEPS[0], below, *STEPS[2:]], {"HTTP 503": 5})["failures up to the knee"]


def test_a_step_below_the_knee_or_a_hold_that_was_not_kept_up_with_breaks_the_run() -> None:
    rule = "answered of what was offered"
    assert not _judged([STEPS[0], _row(200, 40, 12), *STEPS[2:]], {})[rule]
    assert _judged([_row(50, 50, 12, role=profiles.HOLD)], {})[rule]
    assert not _judged([_row(50, 34, 12, role=profiles.HOLD)], {})[rule]
    assert not _judged([*STEPS, _row(50, 34, 12, role=profiles.QUIET)], {})[rule]


def test_drawings_with_changing_answers_count_as_wrong_and_too_many_misread_break_the_run() -> None:
    assert not _judged(STEPS, {}, Verified(100, unsteady=[3]))["wrong digits"]
    assert not _judged(STEPS, {}, Verified(100, dropped=list(range(20))))["drawings misread before the run"]


def test_a_run_without_answers_is_never_passed() -> None:
    assert not _judged([], {})["answers"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("p95_ms = 60.0", ""), "missing"),
        (("p95_ms = 60.0", 'p95_ms = "fast"'), "wanted a number"),
        (("p95_ms = 60.0", "p95_ms = nan"), "wanted a number"),
        (("[answers]", "limit = 3\n[answers]"), "outside any section"),
        (("[knee]", "[knie]"), "unknown"),
    ],
)
def test_a_broken_thresholds_file_is_told(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    broken = tmp_path / "thresholds.toml"
    broken.write_text(thresholds.DEFAULT.read_text().replace(*change))
    with pytest.raises(thresholds.BadThresholds, match=complaint):
        thresholds.load(broken)


def _built(*rows: analysis.Row, seconds: dict[int, list[Any]] | None = None) -> dict[str, Any]:
    run = analysis.Run(list(rows), None, {}, seconds or {})
    surroundings = dict.fromkeys(("began", "profile", "target"), "") | {
        "machine": {},
        "versions": {},
        "settings": {"connections": 64},
    }
    return summary.build(run, Verified(0), thresholds.load(), {}, [], 1, "", surroundings)


def test_a_recovery_is_told_with_how_much_could_be_waiting() -> None:
    quiet, after = (_row(50, 50, 12, role=role, number=number) for number, role in enumerate((profiles.QUIET, profiles.RECOVERY)))
    told = page.render(_built(quiet, after, seconds={1: [[0, 50, 90.0], [1, 50, 13.0]]}), None)
    assert "within 2 s, with at most 64 requests under way or waiting" in told


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"target": "http://127.0.0.1:4000 (started for this run)"}, True),
        ({"target": "http://10.0.0.7:8080 (given)"}, False),
        ({"profile": "ramp"}, False),
        ({"complete": False}, False),
        ({"settings": {"steps made of": "REST, 1 drawing"}}, False),
        ({"settings": {"connections": 8}}, False),
    ],
)
def test_only_the_same_load_on_the_same_target_is_compared(tmp_path: Path, change: dict[str, Any], found: bool) -> None:
    settings = {"steps made of": kinds.MAIN, "connections": 64, "arrivals": "evenly spaced"}
    now = {
        "began": "2024-01-02",
        "profile": "standard",
        "target": "http://127.0.0.1:3000 (started for this run)",
        "complete": True,
    }
    before = {**now, "began": "2024-01-01", **change, "settings": {**settings, **change.get("settings", {})}}
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / summary.FILE).write_text(json.dumps(before))
    assert (summary.previous(tmp_path, tmp_path / "now", {**now, "settings": settings}) == before) is found


def test_a_run_is_told_by_what_was_held_and_not_by_its_warm_up() -> None:
    busy = {"gateway": 0.3, "machine": 0.5}
    warm, probe = (replace(_row(0, 2268, 30, busy, role=role), offered=None) for role in (profiles.WARM, profiles.PROBE))
    hold = _row(50, 50, 12, busy, role=profiles.HOLD)
    kept = _built(warm, probe, hold)
    assert kept["headline"].startswith("Of 50 requests a second that were held (gateway, 1 drawing), 50 were answered")
    assert kept["limit"].startswith("Up to 50 requests/s no limit was met")
    assert _built(warm, probe, replace(hold, right=30))["limit"].startswith("At 50 requests/s the limit was")
    assert _built(warm, replace(hold, offered=None))["limit"].startswith("At 64 users, gateway, 1 drawing the limit was")
    assert "At most 2268 drawings" in _built(warm, probe)["headline"]
    assert _built(warm)["headline"] == "Nothing was measured after the warm-up."
