"""Loadtest: buckets, pace, bodies, profiles, log and pictures, without any server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import gevent
import numpy as np
import pytest

from loadtest import analysis, hands, kinds, machine, pictures, profiles
from loadtest.measure import Cell, Recorder, bucket, cell_of, percentile
from loadtest.pace import Beat, Pace


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


@pytest.mark.parametrize("poisson", [False, True])
def test_slots_that_came_due_and_that_nobody_took_are_counted_by_second(poisson: bool) -> None:
    pace = Pace()
    pace.set(Beat(phase=3, kind="x", rate=1000.0, poisson=poisson, began=time.perf_counter() - 1.5))
    for _ in range(200):
        pace.take(0)
    phase, by_second = pace.left()
    assert phase == 3
    assert by_second[1] == pytest.approx(500, abs=100)
    assert by_second.total() == pytest.approx(1300, abs=150)
    assert pace.left()[1].total() < 50  # they were given up


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
    with pytest.raises(ValueError, match=r"no digits in the answer: b'{\"results\": \[\]}'"):
        kinds.digits_read(kinds.GATEWAY, b'{"results": []}')


@pytest.mark.parametrize("name", list(profiles.PROFILES))
def test_every_profile_is_bounded_and_takes_a_rate(name: str) -> None:
    phases = profiles.phases_of(name, profiles.Plan(rate=100.0))
    assert 0 < sum(phase.seconds for phase in phases) <= 2000
    assert all(phase.share is None and 0 < phase.users <= 64 for phase in phases)


def test_the_standard_profile_takes_two_minutes_at_most() -> None:
    assert 90 <= sum(phase.seconds for phase in profiles.phases_of("standard", profiles.Plan())) <= 120


def test_a_line_that_was_cut_short_loses_only_itself(tmp_path: Path) -> None:
    log = tmp_path / "measured.jsonl"
    phase = {"number": 0, "role": "hold", "kind": kinds.MAIN, "seconds": 5, "users": 1, "rate": 10.0, "poisson": False,
             "began": 1000.0}  # fmt: skip
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


def test_slots_that_nobody_took_have_failed_only_where_a_load_is_to_be_borne(tmp_path: Path) -> None:
    log, recorder, lines = tmp_path / "measured.jsonl", Recorder(), []
    for number, (role, poisson) in enumerate([(profiles.HOLD, False), (profiles.SPIKE, False), (profiles.HOLD, True)]):
        lines.append({"phase": {"number": number, "role": role, "kind": kinds.MAIN, "seconds": 2, "users": 1, "rate": 12.0,
                                "poisson": poisson, "began": 1000.0 + 2 * number}})  # fmt: skip
        for _ in range(7):
            recorder.add(number, 1, 20.0, 0.1, None)
        recorder.leave(number, {1: 3})
    log.write_text("\n".join(json.dumps(line) for line in [*lines, *({"cell": row} for row in recorder.drain())]))
    hold, spike, random = analysis.read(log, 1006.0, ()).rows
    assert (hold.failures, hold.sent) == ({kinds.UNANSWERED: 3}, 10)
    assert (spike.failures, spike.sent) == ({}, 7)
    assert (hold.offered, random.offered) == (12.0, 10.0)  # random arrivals are held against those that came


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


def test_only_the_cores_that_may_be_used_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    times = namedtuple("times", "user system idle")
    each = [times(1.0, 2.0, 9.0), times(10.0, 20.0, 9.0), times(100.0, 200.0, 9.0)]
    monkeypatch.setattr("psutil.cpu_times", lambda percpu=False: each if percpu else times(111.0, 222.0, 27.0))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert machine.cpus() == 2
    assert machine.busy_s() == 33.0


def test_cells_add_up() -> None:
    one, other = Cell(), Cell()
    one.right, other.right = 2, 3
    one.latencies[bucket(5.0)] = 2
    other.latencies[bucket(5.0)] = 3
    other.failures["HTTP 503"] = 1
    one.add(other)
    assert (one.right, one.sent, one.latencies[bucket(5.0)]) == (5, 6, 5)
