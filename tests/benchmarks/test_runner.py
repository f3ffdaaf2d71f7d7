"""The benchmark runner: what it writes down, and documents that take their tables from it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROW = {
    "name": "speed of f", "value": 1234.56, "unit": "1/s", "spread": [1200.0, 1300.0], "better": "higher",
    "target": 1000, "met": True, "peer": "other", "peer_value": 900.123,
}  # fmt: skip


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The runner, with two benchmarks and results in a temporary folder."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import runner

    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    monkeypatch.setattr(runner, "RESULTS", tmp_path / "results")
    body = f"def run(quick):\n    return [{ROW!r} | {{'seeds': [0, 1]}}]\n"
    (tmp_path / "speed.py").write_text(f'"""How fast f is.\n\nMore."""\n{body}')
    (tmp_path / "helper.py").write_text("def other(): pass\n")
    return runner


@pytest.fixture
def rows(runner: ModuleType) -> list[dict[str, Any]]:
    about = {"command": "python -m benchmarks speed", "date": "2026-01-02", "seeds": None, "threads": 1,
             "versions": {"creo": "0.1", "torch": "2.13"}, "cpu": "a processor, 2 cores"}  # fmt: skip
    return [runner.completed(ROW, about)]


def test_benchmarks_are_the_modules_with_run(runner: ModuleType) -> None:
    assert runner.benchmarks() == {"speed": "How fast f is."}


def test_every_benchmark_of_the_project_says_what_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import runner

    found = runner.benchmarks()
    assert "startup" in found
    assert all(found.values())


def test_a_row_is_completed_with_its_circumstances(runner: ModuleType) -> None:
    row = runner.completed(ROW | {"seeds": [0, 1]}, runner.circumstances("a command"))
    assert row["seeds"] == [0, 1]
    assert row["command"] == "a command"
    assert row.keys() >= {"date", "versions", "cpu", "threads", *runner.KEYS}
    assert json.loads(json.dumps(row)) == row


def test_a_row_that_lacks_something_is_refused(runner: ModuleType) -> None:
    with pytest.raises(runner.Problem, match="lacks peer"):
        runner.completed({k: v for k, v in ROW.items() if not k.startswith("peer")}, {})


def test_an_unknown_benchmark_is_refused(runner: ModuleType) -> None:
    with pytest.raises(runner.Problem, match="'sped'; there are speed"):
        runner.measure("sped", quick=True)
    with pytest.raises(runner.Problem, match="python -m benchmarks speed"):
        runner.table("speed")


def test_the_table(runner: ModuleType, rows: list[dict[str, Any]]) -> None:
    runner.write("speed", rows)
    assert runner.measured() == ["speed"]
    assert runner.table("speed") == (
        "| measured | value | target | beside it |\n"
        "| :-- | --: | --: | --: |\n"
        "| speed of f | 1 235 1/s (1 200 to 1 300) | at least 1 000: met | other: 900.1 1/s |\n"
        "\n"
        "`python -m benchmarks speed`, 2026-01-02: a processor, 2 cores, 1 thread; creo 0.1, torch 2.13.\n"
    )


def test_columns_that_nobody_needs_are_left_out(runner: ModuleType, rows: list[dict[str, Any]]) -> None:
    bare = rows[0] | {
        "target": None,
        "met": None,
        "peer": None,
        "peer_value": None,
        "spread": 0.5,
        "note": "So.",
    }
    assert runner.rows_as_table([bare]).splitlines()[:5] == [
        "| measured | value |",
        "| :-- | --: |",
        "| speed of f | 1 235 1/s ± 0.5 |",
        "",
        "So.",
    ]


def test_documents_take_their_tables_from_the_results(
    runner: ModuleType, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    runner.write("speed", rows)
    document = tmp_path / "page.md"
    document.write_text("Before\n<!-- benchmarks:speed -->\nold\n<!-- /benchmarks -->\nafter\n")
    assert runner.refresh(document, write=False)
    assert "old" in document.read_text()
    assert runner.refresh(document, write=True)
    expected = f"Before\n<!-- benchmarks:speed -->\n{runner.table('speed')}<!-- /benchmarks -->\nafter\n"
    assert document.read_text() == expected
    assert not runner.refresh(document, write=False)
    runner.write("speed", [rows[0] | {"value": 5.0}])
    assert runner.refresh(document, write=False)


def test_a_document_may_take_all_tables(
    runner: ModuleType, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    runner.write("speed", rows)
    document = tmp_path / "page.md"
    document.write_text("<!-- benchmarks:* -->\n<!-- /benchmarks -->\n")
    assert runner.refresh(document, write=True)
    assert f"## speed\n\nHow fast f is.\n\n{runner.table('speed')}" in document.read_text()


def test_several_results_share_one_table(
    runner: ModuleType, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    runner.write("speed", rows)
    runner.write("size", [rows[0] | {"name": "how large g is", "value": 7.0}])
    document = tmp_path / "page.md"
    document.write_text("<!-- benchmarks:speed,size -->\n<!-- /benchmarks -->\n")
    assert runner.refresh(document, write=True)
    text = document.read_text()
    assert text.count(":--") == 1
    assert rows[0]["name"] in text
    assert "how large g is" in text


def test_a_document_without_a_table_is_up_to_date_and_one_without_a_result_is_not(
    runner: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("text")
    assert not runner.refresh(tmp_path / "a.md", write=True)
    (tmp_path / "b.md").write_text("<!-- benchmarks:speed -->\n<!-- /benchmarks -->")
    for name, why in (("b.md", "not measured"), ("c.md", "no document")):
        with pytest.raises(runner.Problem, match=why):
            runner.refresh(tmp_path / name, write=True)


def test_a_quick_run_writes_nothing(
    runner: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rows: list[dict[str, Any]],
) -> None:
    from benchmarks import __main__ as program

    monkeypatch.setattr(runner, "measure", lambda name, quick: rows)
    assert program.run(["speed"], quick=True) == 0
    assert "speed of f" in capsys.readouterr().out
    assert runner.measured() == []
    assert program.run(["speed"], quick=False) == 0
    assert runner.read("speed") == rows
    monkeypatch.setattr(runner, "measure", lambda name, quick: [rows[0] | {"met": False}])
    assert program.run(["speed"], quick=True) == 1


def test_rows_with_cells_make_a_grid(runner: ModuleType, rows: list[dict[str, Any]]) -> None:
    plain = rows[0] | {
        "target": None,
        "met": None,
        "peer": None,
        "peer_value": None,
        "better": "lower",
        "unit": "nats",
    }
    values = {("maf", "moons"): 0.25, ("nsf", "moons"): 0.125, ("nsf", "rings"): 2.0}
    table = runner.rows_as_table([plain | {"cell": list(c), "value": v} for c, v in values.items()])
    lines = [
        "| nats | moons | rings |",
        "| :-- | --: | --: |",
        "| maf | 0.25 |  |",
        "| nsf | **0.125** | **2** |",
    ]
    assert table.splitlines()[:4] == lines
