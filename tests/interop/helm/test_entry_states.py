"""What becomes of each of HELM's run entries: a plan, or why it is skipped."""

import logging
from pathlib import Path

import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NoInstancesError, UnknownScenarioError
from helmframe.interop.helm import Entry, EntryState, entry_states, parse_entry, plans_of, read_conf, skipped_text

CONF = """
entries: [
  {description: "sampler:subject=music,model=text", priority: 1},
  {description: "sampler:subject=biology,model=text", priority: 1},
  {description: "sampler:subject=alchemy,model=text", priority: 1},
  {description: "cleva:task=summarization,model=text", priority: 2, groups: ["chinese"]},
  {description: "big_bench:task=known,subtask=,model=text", priority: 2},
]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root without any scenario; the sampler comes with the package."""
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def conf(root: Path) -> Path:
    (root / "run_specs.conf").write_text(CONF)
    return root / "run_specs.conf"


def entries(*texts: str) -> list[Entry]:
    return [parse_entry(text) for text in texts]


def states(*texts: str) -> list[str]:
    return [each.state for each in entry_states(entries(*texts))]


def test_the_states_of_entries(root: Path) -> None:
    assert states(
        "sampler:subject=music,model=text",
        "sampler:subject=music,model=openai/gpt2",  # whichever model it names
        "sampler:subject=alchemy,model=text",
        "big_bench:task=known,subtask=,model=text",  # the root has no such folder
        "cleva:task=summarization,model=text",
        "commonsense:dataset=codah,model=text",  # a scenario of HELM's is known by this name, with other arguments
        "sampler:subject=music,shape=round",
        "sampler:subject=music,temperature=warm",
    ) == [
        *("plan", "plan", "rows missing", "rows missing", "scenario not here", "scenario not here"),
        *("unsupported", "unsupported"),
    ]


def test_a_state_has_the_error_as_its_reason_and_entries_are_listed_once(root: Path) -> None:
    listed = list(entry_states(entries(*["sampler:subject=alchemy"] * 2, "cleva:task=x")))
    assert [each.entry.name for each in listed] == ["sampler", "cleva"]
    assert "where(subject='alchemy') matches no instance" in listed[0].reason
    assert "'cleva'" in listed[1].reason


def test_an_entry_alone_raises(root: Path) -> None:
    with pytest.raises(UnknownScenarioError, match="cleva"):
        plans_of(entries("cleva:task=x"))
    with pytest.raises(NoInstancesError, match="alchemy"):
        plans_of(entries("sampler:subject=alchemy"))


def test_entries_of_a_conf_file_without_scenario_or_rows_are_skipped(
    conf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="helmframe.interop.helm"):
        suite = hf.suite(conf)
    assert suite.plans[0] == hf.scenario("sampler", compat="helm").where(
        subject=["music", "biology"], split=["valid", "test"]
    )
    warning = "\n".join(record.getMessage() for record in caplog.records)
    assert "2 run entries are skipped" in warning
    assert "scenario not here: 1 entries: cleva" in warning
    assert "rows missing: 1 entries: sampler:subject=alchemy,model=text" in warning
    assert "helmframe list helm-entries" in warning


def test_the_part_that_is_missing_leaves_the_others_in_their_plan(conf: Path) -> None:
    skipped: list[EntryState] = []
    plans = plans_of(read_conf(conf), priority=1, skipped=skipped)
    assert len(plans) == 1
    assert [(str(each.entry), each.state) for each in skipped] == [
        ("sampler:subject=alchemy,model=text", "rows missing")
    ]


def test_entries_that_are_not_chosen_are_not_listed(conf: Path) -> None:
    read = read_conf(conf)
    for options, names in (
        ({"groups": ["sampler"]}, ["sampler"]),
        ({"groups": ["chinese"]}, ["cleva"]),
        ({"priority": 1}, ["sampler"]),
    ):
        skipped: list[EntryState] = []
        plans_of(read, skipped=skipped, **options)
        assert [each.entry.name for each in skipped] == names


def test_a_model_that_is_missing_still_raises(root: Path) -> None:
    with pytest.raises(OSError, match="no model 'nobody/nothing'"):
        plans_of(entries("sampler:subject=music,model=nobody/nothing"), skipped=[])


def test_at_most_five_names_of_a_kind_are_shown() -> None:
    skipped = [EntryState(parse_entry(f"unknown{number}:a=b"), "scenario not here") for number in range(7)]
    assert "7 entries: unknown0, unknown1, unknown2, unknown3, unknown4, … (7 in all)" in skipped_text(skipped)


def test_a_file_of_skipped_entries_alone_is_an_error(root: Path) -> None:
    file = root / "none.conf"
    file.write_text('entries: [{description: "cleva:task=x", priority: 1}]')
    with pytest.raises(ArgumentError, match=r"no entry can be run\. 1 run entries are skipped"):
        hf.suite(file)


@pytest.mark.shared
def test_every_entry_of_helms_files_has_a_state(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    read = dict.fromkeys(read_conf(shared / "helm_conf" / "run_entries_lite_20240424.conf"))
    listed = list(entry_states(read))
    assert len(listed) == len(read)
    assert "plan" in {each.state for each in listed}
    assert all(each.reason for each in listed if each.state != "plan")
