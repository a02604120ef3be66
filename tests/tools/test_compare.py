"""The side-by-side page: what it makes of measurements, how lines are counted, and how a process is measured."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
import yaml

from tools.compare import measuring
from tools.compare.cases import STORIES, STORY_TOOLS, cases
from tools.compare.environments import ROOT, TOOLS, InstallError, parse_pythons
from tools.compare.measuring import SCHEMA, ProcessFailedError, Sitting, code_lines, run, run_story, support
from tools.compare.measuring import STORIES as FOLDER
from tools.compare.page import agreement, build_page, draw
from tools.compare.rows import QUICK, prepare
from tools.compare.workers.protocol import rate

MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "memory_gb": 8.0,
    "system": "Linux 6",
    "other_load": 0.0,
    "versions": '{"x": "1"}',
}


def measurements(**tools: list[float]) -> pl.DataFrame:
    """Wall times of one case, by tool and repeat."""
    rows = [
        {
            "case": "mmlu", "title": "MMLU", "group": "end to end", "tool": tool, "repeat": repeat, "figure": "wall_s",
            "value": value, "compared": True, "lower": True, "n": 50, "note": "", **MACHINE,
        }
        for tool, values in tools.items()
        for repeat, value in enumerate(values, 1)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema={name: kind for name, kind in SCHEMA.items() if name != "sitting"})
    return frame.with_columns(sitting=pl.datetime(2026, 1, 2, time_zone="UTC")).select(*SCHEMA)


def test_a_page_has_medians_spread_and_ratio() -> None:
    page = build_page(measurements(helmframe=[1, 2, 9], helm=[10, 20, 40]))
    assert "| MMLU | wall time | 2 s (1–9) | 20 s (10–40), ×10 |" in page
    assert "No other tool has a better median" in page


def test_a_page_names_where_helmframe_loses() -> None:
    page = build_page(measurements(helmframe=[4, 4, 4], helm=[2, 3, 3.5], lm_eval=[3, 3, 5]))
    assert "The other tool has the better median in 2 of 2 comparisons." in page
    assert "- **HELM**, MMLU, wall time: 4 s against 3 s.\n" in page
    assert "- **lm-eval**, MMLU, wall time: 4 s against 3 s. The spreads overlap." in page


def test_figures_of_other_rows_are_not_compared() -> None:
    same = measurements(helmframe=[4, 4, 4], inspect=[2, 2, 2])
    assert "×0.5" in build_page(same)
    page = build_page(same.with_columns(n=pl.when(pl.col("tool") == "inspect").then(10).otherwise(1000)))
    assert "×" not in page.partition("| case | figure |")[2]
    assert "No other tool has a better median" in page


def test_a_rate_is_that_of_repeated_passes() -> None:
    passes = []

    def work() -> None:
        passes.append(1)
        time.sleep(0.1)

    found = rate(10, work)
    assert len(passes) in range(3, 8)
    assert 50 < found <= 100


def test_a_busy_machine_is_stated() -> None:
    busy = measurements(helmframe=[1, 2]).with_columns(other_load=1.5)
    assert "times are longer than on an idle machine" in build_page(busy)
    assert "times are longer than on an idle machine" not in build_page(measurements(helmframe=[1, 2]))


def test_a_missing_figure_has_its_reason() -> None:
    frame = measurements(helmframe=[1], helm=[2])
    absent = frame.head(1).with_columns(
        tool=pl.lit("inspect"), value=pl.lit(None, pl.Float64), note=pl.lit("no such command")
    )
    assert "- Inspect, MMLU: no such command." in build_page(pl.concat([frame, absent]))


def test_optional_tools_are_on_the_page_if_they_have_figures() -> None:
    four = "# Benchmarks: helmframe, HELM, lm-eval and Inspect\n"
    assert build_page(measurements(helmframe=[1], helm=[2])).startswith(four)
    page = build_page(measurements(helmframe=[1], lighteval=[2], evalscope=[3]))
    assert page.startswith("# Benchmarks: helmframe, HELM, lm-eval, Inspect, lighteval and evalscope\n")
    assert "| case | figure | helmframe | lighteval | evalscope |" in page
    assert "evalscope generates a letter" in page
    assert "evalscope" not in build_page(measurements(helmframe=[1], lighteval=[2]))


def test_the_chart_distinguishes_six_tools() -> None:
    tools = ("helmframe", "helm", "lm_eval", "inspect", "lighteval", "evalscope")
    layers = draw(measurements(**{tool: [1.0, 2.0] for tool in tools}), "light").to_dict()["layer"]
    encoding = layers[1]["encoding"]
    assert encoding["color"]["scale"]["domain"] == [TOOLS[tool].title for tool in tools]
    assert len(set(encoding["color"]["scale"]["range"])) == len(set(encoding["shape"]["scale"]["range"])) == 6


def test_a_second_sitting_is_compared_with_the_spread(tmp_path: Path) -> None:
    measurements(helmframe=[1, 2, 3], helm=[10, 20], lm_eval=[10, 11]).write_parquet(tmp_path / "a")
    measurements(helmframe=[2.5], helm=[30], lm_eval=[12]).write_parquet(tmp_path / "b")
    first, second, third = agreement(tmp_path / "a", tmp_path / "b").splitlines()
    assert first.startswith("1 of 3 medians")
    assert second == "1 others differ by at most 20% from its median, 1 by more:"
    assert third == "mmlu wall_s helm: 30, 10–20 s"


def test_cases_that_no_longer_exist_leave_the_measurements(tmp_path: Path) -> None:
    output = tmp_path / "measurements.parquet"
    for name in ("removed", "mmlu", "startup"):
        rows = measurements(helmframe=[1]).with_columns(case=pl.lit(name)).to_dicts()
        measuring._write(output, rows, ["mmlu", "startup"])
    assert pl.read_parquet(output)["case"].to_list() == ["mmlu", "startup"]


def test_lines_of_code_exclude_docstrings_comments_and_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "story.py"
    docstring = '"""Do it.\n\nSupport: by hand.\n"""\n\n'
    body = 'import os  # a module\n\n\ndef f() -> str:\n    """Return."""\n    # comment\n    return """a\nb"""\n'
    file.write_text(docstring + body, encoding="utf-8")
    assert code_lines(file) == 4
    assert support(file) == "by hand"


@pytest.mark.parametrize("tool", STORY_TOOLS)
def test_every_tool_has_every_story(tool: str) -> None:
    assert {file.stem for file in (FOLDER / tool).glob("*.py")} == {"__init__", *STORIES}
    assert all(support(FOLDER / tool / f"{story}.py") for story in STORIES)


def test_a_process_is_measured_with_its_figures(tmp_path: Path) -> None:
    code = "x = b'x' * 150_000_000; print('{\"n\": 3, \"rate\": 2.5}')"
    outcome = run([sys.executable, "-c", code], tmp_path, {})
    assert outcome.figures["rate"] == 2.5
    assert outcome.figures["cpu_s"] > 0
    assert 150 < outcome.figures["peak_mb"] < 190  # not that of this process, which is larger


def test_a_failed_process_raises_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailedError, match="no such thing"):
        run([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path, {})


def test_helmframe_resumes_its_story_after_a_kill(tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    killed = run_story(
        Path(sys.executable), "helmframe", "resume", tmp_path, {"REQUESTS_LOG": str(log), "CRASH_AFTER": "100"}
    )
    assert killed.figures["code"] == -9
    assert len(log.read_text(encoding="utf-8").splitlines()) == 100
    done = run_story(Path(sys.executable), "helmframe", "resume", tmp_path, {"REQUESTS_LOG": str(log)})
    assert done.output.strip().endswith("200")


@pytest.mark.shared
def test_the_rows_are_the_same_for_all_tools(shared: Path, tmp_path: Path) -> None:
    rows = prepare(shared / "scenarios", tmp_path, QUICK)
    assert prepare(shared / "scenarios", tmp_path, QUICK) == rows
    lines = (rows / "mmlu" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    parquet = pl.read_parquet(rows / "mmlu" / "rows" / "test-*.parquet")
    table = pl.read_csv(rows / "mmlu" / "helm" / "data" / "test" / "philosophy_test.csv", has_header=False)
    assert len(lines) == parquet.height == table.height == QUICK.mmlu
    card = (rows / "mmlu" / "README.md").read_text(encoding="utf-8").split("---")[1]
    files = [file["path"] for file in yaml.safe_load(card)["configs"][0]["data_files"]]
    assert files == ["dev.jsonl", "test.jsonl"]
    assert table.to_series(0).to_list() == parquet["question"].to_list()


def test_an_optional_tool_that_pip_cannot_install_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def python_of(name: str, given: Mapping[str, Path]) -> Path:
        if name == "lighteval":
            raise InstallError("pip can't install lighteval.")
        return Path(sys.executable)

    monkeypatch.setattr(measuring, "python_of", python_of)
    (case,) = (case for case in cases(QUICK) if case.name == "mmlu")
    missing = measuring._install(Sitting({}, QUICK, 1), [case])
    left = measuring._without(case, missing)
    assert list(left.commands) == ["helmframe", "helm", "lm_eval", "inspect", "evalscope"]
    assert left.absent == {"lighteval": "pip can't install it"}


def test_a_main_tool_that_pip_cannot_install_ends_the_sitting(monkeypatch: pytest.MonkeyPatch) -> None:
    def python_of(name: str, given: Mapping[str, Path]) -> Path:
        raise InstallError(f"pip can't install {name}.")

    monkeypatch.setattr(measuring, "python_of", python_of)
    with pytest.raises(InstallError, match="pip can't install helmframe"):
        measuring._install(Sitting({}, QUICK, 1), cases(QUICK))


def test_every_command_of_a_worker_is_in_its_module() -> None:
    for case in cases(QUICK):
        for command in case.commands.values():
            if command[:1] == ("-m",) and command[1].startswith("tools.compare.workers."):
                file = ROOT / f"{command[1].replace('.', '/')}.py"
                assert f"def {command[2]}() -> None:" in file.read_text(encoding="utf-8")


def test_case_names_are_distinct_and_another_python_is_checked() -> None:
    names = [case.name for case in cases(QUICK)]
    assert len(set(names)) == len(names)
    assert parse_pythons([f"helm={sys.executable}"]) == {"helm": Path(sys.executable)}
    with pytest.raises(SystemExit, match="TOOL=PATH"):
        parse_pythons(["other=python"])
