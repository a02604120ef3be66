"""What all tests share: the test data, an S3 server, and a store and settings of their own."""

import os
import signal
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck

from helmframe import config
from helmframe._core import cache_files
from helmframe._core.registry import Registry
from helmframe.adapters.adapt import ADAPTERS
from helmframe.metrics.protocol import METRICS
from helmframe.models import protocol
from helmframe.perturbations.registry import PERTURBATIONS
from helmframe.scenarios import validation
from tests.s3_server import BUCKET, S3Server, start_server

SUBJECTS = ("abstract_algebra", "anatomy", "high_school_us_history", "philosophy")
if "PYTEST_XDIST_WORKER" in os.environ:
    # threads of several workers that wait for one another on the same cores take ten times as long
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The selections of `make test` and `make test-slow`. Together they select every test.
SELECTIONS = (
    "smoke or not (slow or serial)",
    "(slow or hypothesis) and not (smoke or serial)",
    "serial",
)
_without_data: dict[str, None] = {}
_deselected: dict[str, None] = {}

# A machine that does much else is slow in making examples, which is no fault of a test.
for _name, _examples in (("quick", 25), ("thorough", 100), ("exhaustive", 500)):
    hypothesis.settings.register_profile(
        _name, max_examples=_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
hypothesis.settings.load_profile("quick")  # "thorough" in make test-slow, "exhaustive" in make soak


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the shared data, leave out the tests that need it: by name, counted, never skipped in silence."""
    if _shared_data() is not None:
        return
    without = [item for item in items if _needs_shared(item)]
    _without_data.update(dict.fromkeys(item.nodeid for item in without))
    items[:] = [item for item in items if not _needs_shared(item)]
    config.hook.pytest_deselected(items=without)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Record the shared tests that an option deselects, unless another of the `SELECTIONS` runs them."""
    options = items[0].config.option if items else None
    if options is None or (options.markexpr in SELECTIONS and not (options.keyword or options.deselect)):
        return
    _deselected.update(dict.fromkeys(item.nodeid for item in items if _needs_shared(item)))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what a worker of pytest-xdist deselected: the controller collects no tests."""
    output = getattr(node, "workeroutput", {})  # a worker that crashed has none
    _without_data.update(dict.fromkeys(output.get("without_data", ())))
    _deselected.update(dict.fromkeys(output.get("deselected", ())))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were left out, and which."""
    if _without_data:
        terminalreporter.write_line(
            f"deselected for want of shared data: {len(_without_data)}: {', '.join(_without_data)}"
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where CI_REQUIRES_SHARED is set, a test of the shared data that was left out is a failure."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output.update(without_data=[*_without_data], deselected=[*_deselected])
    elif (_without_data or _deselected) and exitstatus == 0 and os.environ.get("CI_REQUIRES_SHARED"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Replace lone surrogates in what a worker of pytest-xdist reports: its channel only takes UTF-8."""
    return _as_utf8((yield))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the shared test data: scenarios/, helm_runs/, …; its tests carry `@pytest.mark.shared`."""
    found = _shared_data()
    if found is None:
        pytest.fail("no shared data; set HELMFRAME_TEST_DATA")
    return found


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a store of its own, and no settings or credentials from outside."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "HELMFRAME_")) and name != "HELMFRAME_TEST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
    # no test may find the credentials of whoever runs it, or ask a cloud's metadata service for some
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(config, "_settings", config._Settings())
    # what another test has checked about a model must be checked again
    monkeypatch.setattr(cache_files, "_root", lambda: tmp_path / "cache")
    # what another test found in the rows of a scenario must be found again
    validation._cached_facts.cache_clear()
    # and none stands by what another vouched for
    monkeypatch.setattr(protocol, "_declared_versions", {})


@pytest.fixture(autouse=True)
def registered_names() -> Iterator[None]:
    """Remove the names that a test registers, at its end."""
    registries: list[Registry[Any]] = [METRICS, PERTURBATIONS, ADAPTERS]
    before = [set(registry.added()) for registry in registries]
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry.added()) - names:
            registry.remove(name)


@pytest.fixture(scope="session")
def s3_server(shared: Path) -> Iterator[S3Server]:
    """A real S3 server whose bucket `evals` holds some scenarios; it fails, never skips, where it can't start."""
    server = start_server()
    try:
        filesystem = server.filesystem()
        for folder in ("gsm8k", "boolq", *(f"mmlu/{subject}" for subject in SUBJECTS)):
            filesystem.put(f"{shared}/scenarios/{folder}/", f"{BUCKET}/{folder}/", recursive=True)
        yield server
    finally:
        server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with the usual variables set and HELMFRAME_DATA at its bucket."""
    for name, value in {**s3_server.environment, "HELMFRAME_DATA": f"s3://{BUCKET}"}.items():
        monkeypatch.setenv(name, value)
    return s3_server


def _as_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_as_utf8(key): _as_utf8(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_as_utf8(item) for item in value)
    return value


def _shared_data() -> Path | None:
    said = os.environ.get("HELMFRAME_TEST_DATA")
    checkout = Path(__file__).resolve().parents[1]
    # beside the checkout, or beside a folder that holds it
    guesses = [Path(said)] if said else [folder / "shared" / "data" for folder in list(checkout.parents)[:3]]
    return next((guess for guess in guesses if (guess / "scenarios").is_dir()), None)


def _needs_shared(item: pytest.Item) -> bool:
    return item.get_closest_marker("shared") is not None or "shared" in getattr(item, "fixturenames", ())
