"""Loadtest: capacity and the benches' table, without any server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest import bench, bench_gateway, capacity, profiles
from tests.conftest import ROOT


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
    assert found.costs["gateway"].per_replica == pytest.approx(0.05)
    gateway, server = capacity.plan(found, 1000, 100)  # 80 % full within 100 ms
    assert gateway.each == pytest.approx((0.8 - 0.05) / 0.003)  # every replica pays for its own small batches
    assert (gateway.replicas, server.replicas) == (4 + 1, 2 + 1)
    strict, _ = capacity.plan(found, 1000, 15)  # 35 % full within 15 ms
    assert strict.replicas == 10 + 1


def test_a_p99_below_anything_measured_cannot_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "summary.json"
    report.write_text(json.dumps(_report()))
    assert capacity.main(["--drawings-per-second", "10", "--p99-ms", "5", "--report", str(report)]) == 1
    assert "no number of replicas lowers" in capsys.readouterr().err
    assert capacity.main(["--drawings-per-second", "1000", "--p99-ms", "100", "--report", str(report)]) == 0
    assert "(0.800 − 0.050) cores ÷ 3.000 core-ms = 250/s each; 1000 ÷ 250 = 4.00 → 4 + 1 = 5 replicas" in capsys.readouterr().out


def test_the_documented_calculation_is_that_of_the_documented_steps() -> None:
    rows, text = [], (ROOT / "docs" / "load-tests.md").read_text()
    for line in text.partition("| offered/s | answered/s |")[2].partition("\n\n")[0].splitlines()[2:]:
        offered, answered, _, _, p99, *cores = (float(cell.replace(",", "")) for cell in line.strip("|").split("|"))
        used = dict(zip(("gateway", "model server", "generator", "others"), cores, strict=True))
        rows.append({"role": profiles.STEP, "drawings": answered, "p99": p99, "kept_up": answered >= 0.95 * offered,
                     "cores": {**used, "machine": sum(cores)}})  # fmt: skip
    found = capacity.measured({"cpus": 2, "rows": rows}, "the table")
    told = capacity.told(found, capacity.plan(found, 1000, 250), 1000, 250, 1.0).splitlines()[1:]
    assert "```text\n" + "\n".join(told) + "\n```" in (ROOT / "docs" / "capacity.md").read_text()


@pytest.mark.parametrize("document", ["[]", "{}", '{"rows": 3}', "{"])
def test_a_file_that_is_no_report_is_told_in_one_line(document: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "it.json").write_text(document)
    assert capacity.main(["--drawings-per-second", "10", "--report", str(tmp_path / "it.json")]) == 2
    assert capsys.readouterr().err == f"loadtest.capacity: {tmp_path}/it.json is no summary.json of a load test\n"


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


def test_a_figure_that_fell_to_nothing_is_no_equal() -> None:
    rate: dict[str, Any] = {"name": "rate", "value": 0, "unit": "/s", "better": "higher"}
    (now,) = bench.figures("bench_x", [rate])
    assert now.worse_than(100.0) > bench.SLOWER
    assert "nothing is left" in bench.table([now], {("bench_x", "rate"): 100.0})


def test_a_figure_is_held_against_its_newest_whichever_run_had_it(tmp_path: Path) -> None:
    def save(name: str, **values: float) -> None:
        figures = [{"bench": bench_name, "name": "rate", "value": value} for bench_name, value in values.items()]
        (tmp_path / f"{name}.json").write_text(json.dumps({"figures": figures}))

    save("2024-01-01", bench_a=1, bench_b=2)
    save("2024-01-02", bench_a=3)
    (tmp_path / "2024-01-03.json").write_text("{")
    assert bench.previous(tmp_path) == {("bench_a", "rate"): 3.0, ("bench_b", "rate"): 2.0}


WRK = """#!/bin/sh
cat <<END
  Latency Distribution
     50%    1.20ms
     75%    1.90ms
     99%   10.00ms
  4000 requests in 2.00s, 1.00MB read
  $BAD
Requests/sec:   2000.00
END
"""


def test_refusals_are_no_throughput_of_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrk").write_text(WRK)
    (tmp_path / "wrk").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert bench_gateway.wrk(1, 2, tmp_path, [os.getpid()])[:3] == (2000.0, 1.2, 10.0)
    monkeypatch.setenv("BAD", "Non-2xx or 3xx responses: 3990")
    with pytest.raises(bench_gateway.BenchFailed, match="3990 of 4000"):
        bench_gateway.wrk(1, 2, tmp_path, [os.getpid()])


def test_every_bench_writes_its_figures_where_it_is_told() -> None:
    for name in bench.benches():
        found = subprocess.run(
            [sys.executable, "-m", f"loadtest.{name}", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert "--json" in found.stdout, f"{name} has no --json; `make bench` needs it"
