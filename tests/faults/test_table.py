"""Some rows of the table of faults; `tests/acceptance/test_faults.py` has all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disturbed import Undisturbed
from tests.faults.table import FAULTS, Fault, Server, tried
from tests.s3_server import start_server

pytestmark = pytest.mark.slow

# The others have tests of their own beside this one, or are much like these.
SMALL = {
    "model tells its keys",
    "kill -9 while answers are written",
    "kill -9 while scores are written",
    "kill -9 while aggregating",
    "Ctrl-C twice",
    "two writers",
    "server dies while answers are written",
    "uploads are torn",
}
SMOKE = "kill -9 while scores are written"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    with pytest.MonkeyPatch.context() as patch:
        return Undisturbed.of("sampler", tmp_path_factory.mktemp("undisturbed"), patch)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(start_server())
    yield server
    server.running.stop()


def test_each_of_these_is_a_row_of_the_table() -> None:
    assert {fault.name for fault in FAULTS} >= SMALL


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=pytest.mark.smoke if fault.name == SMOKE else ())
        for fault in FAULTS
        if fault.name in SMALL
    ],
    ids=str,
)
def test_a_disturbed_run_loses_and_doubles_nothing(
    fault: Fault, undisturbed: Undisturbed, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        found = tried(fault, tmp_path, undisturbed, server, patch)
    assert (found.equal, found.lost, found.doubled) == (True, 0, 0), found
