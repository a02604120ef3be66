"""Scenarios: the instances of a spec or a frame, streamed from a folder, a bucket or the hub."""

from helmframe.scenarios.catalogue import find_scenario, find_scenarios, scenario_names
from helmframe.scenarios.frames import frame_scenario, is_rows_file
from helmframe.scenarios.load import count, load, load_train
from helmframe.scenarios.validation import check_where, values

__all__ = [
    "check_where",
    "count",
    "find_scenario",
    "find_scenarios",
    "frame_scenario",
    "is_rows_file",
    "load",
    "load_train",
    "scenario_names",
    "values",
]
