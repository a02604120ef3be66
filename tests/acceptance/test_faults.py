"""The table of faults: whatever disturbs a run, the next one gives the undisturbed table, and no answer is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.figures import shown
from tests.faults.disturbed import PLANS, Undisturbed
from tests.faults.table import FAULTS, Fault, Server, tried
from tests.s3_server import BUCKET, start_server

pytestmark = [pytest.mark.shared, pytest.mark.soak]


@pytest.fixture(scope="module")
def undisturbed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Undisturbed]:
    """Each sentence, run once without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
        return {plan: Undisturbed.of(plan, folder / plan, patch) for plan in PLANS}


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[Server]:
    """A server that may be killed."""
    server = Server(start_server())
    for folder in ("mmlu/philosophy", "boolq"):
        server.running.filesystem().put(f"{shared}/scenarios/{folder}/", f"{BUCKET}/{folder}/", recursive=True)
    yield server
    server.running.stop()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_3_a_disturbed_run_loses_and_doubles_nothing(
    fault: Fault,
    undisturbed: dict[str, Undisturbed],
    server: Server,
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HELMFRAME_DATA", str(shared / "scenarios"))
    with monkeypatch.context() as patch:
        found = tried(fault, tmp_path, undisturbed[fault.plan], server, patch)
    shown("3", fault.name, found, "equal, lost 0, doubled 0")
    assert found.equal
    assert found.lost == 0
    assert found.doubled == 0
