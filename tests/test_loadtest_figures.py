"""Loadtest: buckets, pace, knee, limit, thresholds and pictures, without any server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest

from loadtest import analysis, bench, capacity, hands, kinds, pictures, profiles, thresholds, verdict
from loadtest.measure import Cell, Recorder, bucket, cell_of, percentile
from loadtest.pace import Beat, Pace
from loadtest.target import Verified
from tests.conftest import ROOT


def test_percentiles_are_exact_to_one_per_cent() -> None:
    latencies = np.random.default_rng(1).lognormal(3, 0.8, 5000)
    recorder = Recorder()
    for value in latencies:
        recorder.add(0, 0, float(value), 0.0, None)
    cell = cell_of(json.loads(json.dumps(recorder.drain()))[0])
    for share in (0.5, 0.95, 0.99):
        exact = float(np.sort(latencies)[int(np.ceil(share * 5000)) - 1])
        assert percentile(cell.latencies, share) == pytest.approx(exact, rel=0.01)
    assert percentile({}, 0.5) is None


def test_a_request_that_found_no_free_user_counts_from_when_it_was_due() -> None:
    pace = Pace()
    pace.set(Beat(phase=0, kind="x", rate=100.0))
    time.sleep(0.2)  # every user was busy: twenty slots came due
    waited = [time.perf_counter() - pace.take(0).due for _ in range(5)]
    assert all(0.1 < one < 0.4 for one in waited)
    assert waited == sorted(waited, reverse=True)


def test_slots_are_due_at_the_offered_rate() -> None:
    pace = Pace()
    pace.set(Beat(phase=0, kind="x", rate=200.0))
    due = [pace.take(0).due for _ in range(41)]
    assert np.diff(due) == pytest.approx(1 / 200)
    assert time.perf_counter() >= due[-1] - 0.001  # it slept until the last was due


def test_a_new_phase_takes_back_the_slots_of_the_last() -> None:
    pace = Pace()
    pace.set(Beat(phase=0, kind="x", rate=0.01))
    pace.take(0)
    waiting = gevent.spawn(pace.take, 0)  # due in a hundred seconds
    gevent.sleep(0.02)
    pace.set(Beat(phase=1, kind="y", rate=None))
    assert waiting.get(timeout=1).beat.phase == 1


def test_users_beyond_those_of_a_phase_rest() -> None:
    pace = Pace()
    pace.set(Beat(phase=0, kind="x", users=2, rate=None))
    assert pace.take(1).beat.phase == 0
    idle = gevent.spawn(pace.take, 2)
    gevent.sleep(0.05)
    assert not idle.ready()
    idle.kill()


@pytest.mark.parametrize("kind", list(kinds.KINDS.values()), ids=lambda kind: kind.name)
def test_every_body_holds_the_drawings_of_its_labels(kind: kinds.Kind) -> None:
    from loadtest.stub import Answers

    drawings = hands.prepare(20)
    answers = Answers(20)
    for one in kinds.bodies(kind, drawings, 3):
        assert len(one.labels) == kind.drawings
        reply = answers.to(one.body)
        assert reply is not None or kind.drawings > 1  # the stub holds other groups of several
        if reply is not None:
            assert kinds.digits_read(kind.door, reply) == list(one.labels)


def test_drawings_are_the_same_every_time_and_vary_in_size() -> None:
    first, second = hands.prepare(60), hands.prepare(60)
    assert [one.png for one in first] == [one.png for one in second]
    assert {int.from_bytes(one.png[16:20]) for one in first} == set(hands.CANVAS_PX)
    assert [one.label for one in hands.without(first, [0, 2])][:2] == [1, 3]


def test_an_answer_without_digits_is_told_with_its_beginning() -> None:
    with pytest.raises(ValueError, match=r"no digits in the answer.*<html>"):
        kinds.digits_read(kinds.GATEWAY, b"<html>")


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
        (("[knee]", "[knie]"), "unknown"),
    ],
)
def test_a_broken_thresholds_file_is_told(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    broken = tmp_path / "thresholds.toml"
    broken.write_text(thresholds.DEFAULT.read_text().replace(*change))
    with pytest.raises(thresholds.BadThresholds, match=complaint):
        thresholds.load(broken)


@pytest.mark.parametrize("name", list(profiles.PROFILES))
def test_every_profile_is_bounded_and_takes_a_rate(name: str) -> None:
    phases = profiles.phases_of(name, profiles.Plan(rate=100.0))
    assert 0 < sum(phase.seconds for phase in phases) <= 2000
    assert all(phase.share is None and 0 < phase.users <= 64 for phase in phases)


def test_the_standard_profile_takes_two_minutes_at_most() -> None:
    assert 90 <= sum(phase.seconds for phase in profiles.phases_of("standard", profiles.Plan())) <= 120


def test_a_line_that_was_cut_short_loses_only_itself(tmp_path: Path) -> None:
    log = tmp_path / "measured.jsonl"
    phase = {"number": 0, "role": "hold", "kind": kinds.MAIN, "seconds": 5, "users": 1, "rate": 10.0, "began": 1000.0}
    recorder = Recorder()
    for second in range(4):
        for _ in range(10):
            recorder.add(0, second, 20.0, 0.1, None)
    cells = "".join(json.dumps({"cell": row}) + "\n" for row in recorder.drain())
    log.write_text(json.dumps({"phase": phase}) + "\n" + cells + '{"cell": {"phase": 0, "sec')
    (row,) = analysis.read(log, 1004.0, ()).rows
    assert row.right == 10.0
    assert row.p50 == pytest.approx(20.0, rel=0.01)
    assert row.seconds == 3  # the first is not judged


def test_a_run_that_was_stopped_before_its_first_phase_has_no_rows(tmp_path: Path) -> None:
    assert analysis.read(tmp_path / "none.jsonl", 1004.0, ()).rows == []


def test_pictures_are_well_formed_even_of_nothing() -> None:
    import xml.etree.ElementTree as ET

    line = pictures.Line("p<99>", [(1.0, 2.0), (3.0, 400.0)])
    for svg in (
        pictures.lines("a & b", "x", "y", [line], logarithmic=True, mark=(2.0, "knee")),
        pictures.lines("empty", "x", "y", []),
        pictures.bars("bars", "x", "y", ["1", "2"], {"gateway": [1, 2], "others": [0.5, 0]}, 2.0),
    ):
        assert ET.fromstring(svg).tag.endswith("svg")


def test_the_command_itself_stays_free_of_gevent_and_tensorflow() -> None:
    # Locust patches the standard library when it is imported; only the generator's own processes may do that
    code = "import sys, loadtest.__main__; print([m for m in ('gevent', 'locust', 'tensorflow', 'flask') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_cells_add_up() -> None:
    one, other = Cell(), Cell()
    one.right, other.right = 2, 3
    one.latencies[bucket(5.0)] = 2
    other.latencies[bucket(5.0)] = 3
    other.failures["HTTP 503"] = 1
    one.add(other)
    assert (one.right, one.sent, one.latencies[bucket(5.0)]) == (5, 6, 5)


def _report(full: tuple[float, ...] = (0.2, 0.35, 0.5, 0.8)) -> dict[str, Any]:
    """A report of a machine of two cores: a drawing costs the gateway 3 core-ms and the model server 1."""
    rates, p99s = (50.0, 100.0, 150.0, 240.0), (10.0, 12.0, 20.0, 90.0)
    rows = [
        {"role": profiles.STEP, "drawings": rate, "p99": p99, "kept_up": True,
         "cores": {"gateway": 0.05 + 0.003 * rate, "model server": 0.02 + 0.001 * rate, "generator": 0.1, "machine": 2 * share}}
        for rate, p99, share in zip(rates, p99s, full, strict=True)
    ]  # fmt: skip
    return {"cpus": 2, "complete": True, "rows": rows}


def test_replicas_follow_from_the_cost_of_a_drawing_and_how_full_the_cores_may_be() -> None:
    found = capacity.measured(_report(), "a report")
    assert found.costs["gateway"].per_drawing == pytest.approx(0.003)
    assert found.costs["gateway"].idle == pytest.approx(0.05)
    gateway, server = capacity.plan(found, 1000, 100)  # 80 % full within 100 ms
    assert gateway.busy == pytest.approx(3.0)
    assert gateway.needed == pytest.approx(3.75)
    assert (gateway.replicas, server.replicas) == (4 + 1, 2 + 1)
    strict, _ = capacity.plan(found, 1000, 15)  # 35 % full within 15 ms
    assert strict.replicas == 10 + 1


def test_a_p99_below_anything_measured_cannot_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "summary.json"
    report.write_text(json.dumps(_report()))
    assert capacity.main(["--drawings-per-second", "10", "--p99-ms", "5", "--report", str(report)]) == 1
    assert "no number of replicas lowers" in capsys.readouterr().err
    assert capacity.main(["--drawings-per-second", "1000", "--p99-ms", "100", "--report", str(report)]) == 0
    assert "→ 5 replicas" in capsys.readouterr().out


def test_a_report_whose_tiers_were_not_watched_cannot_be_planned_from() -> None:
    report = _report()
    for row in report["rows"]:
        del row["cores"]["gateway"]
    with pytest.raises(capacity.CannotPlan, match="0 steps"):
        capacity.measured(report, "a report")


def test_a_bench_that_got_slower_is_seen_beside_the_run_before() -> None:
    rate: dict[str, Any] = {"name": "rate", "value": 80, "unit": "/s", "better": "higher"}
    now = bench.figures("bench_x", [rate, {"name": "p99", "value": 5, "unit": "ms", "better": "lower"}])
    told = bench.table(now, {("bench_x", "rate"): 100.0, ("bench_x", "p99"): 5.1})
    assert "slower by 25 %" in told
    assert told.count("| = |") == 1
    with pytest.raises(bench.BenchFailed, match="wanted a list"):
        bench.figures("bench_x", [{**rate, "better": "faster"}])


def test_every_bench_writes_its_figures_where_it_is_told() -> None:
    for name in bench.benches():
        found = subprocess.run(
            [sys.executable, "-m", f"loadtest.{name}", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert "--json" in found.stdout, f"{name} has no --json; `make bench` needs it"
