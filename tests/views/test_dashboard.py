import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, StoreError, UnknownNameError
from helmframe.views.dashboard import Dashboard
from helmframe.views.servers import DashboardServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HELMFRAME_STORE", str(tmp_path_factory.mktemp("store")))
        plan = hf.scenario("sampler").where(subject=["music", "biology"]).perturb("typos")
        results = plan.generate({"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}).score()
        return Path(str(results.to_parquet(tmp_path_factory.mktemp("runs") / "today")))


def cells(html: str, region: str) -> list[list[str]]:
    found = re.search(rf'aria-label="{region}.*?</table>', html, re.DOTALL)
    assert found, html
    rows = re.findall(r"<tr>(.*?)</tr>", found[0], re.DOTALL)
    return [re.findall(r"<td[^>]*>(?:<a[^>]*>)?([^<]*)", row) for row in rows[1:]]


def test_the_numbers_are_those_of_the_results(folder: Path) -> None:
    html = Dashboard(folder).page({"model": "bad", "metric": "quasi_exact_match"})
    table = hf.load(folder).table(metrics="quasi_exact_match")
    ours = table.filter(table["model"] == "bad")
    assert [row[4] for row in cells(html, "scores")] == [f"{value:.3f}" for value in ours["value"]]
    changes = hf.load(folder).robustness(metrics="quasi_exact_match").filter(model="bad", perturbation="typos")
    assert f"{changes['change'].item():.3f}" in [row[7] for row in cells(html, "paired changes")]


def test_completions_are_paged_from_the_lowest_score(folder: Path) -> None:
    dashboard = Dashboard(folder)
    first, second = (cells(dashboard.page({"page": number}), "completions") for number in ("1", "2"))
    assert len(first) == 50
    scores = [float(row[5]) for row in first + second]
    assert scores == sorted(scores)
    assert (scores[0], scores[-1]) == (0.0, 1.0)


def test_a_folder_of_runs_lets_one_choose(folder: Path) -> None:
    dashboard = Dashboard(folder.parent)
    assert list(dashboard.runs) == ["today"]
    with pytest.raises(UnknownNameError, match=r"Unknown run .*of this dashboard"):
        dashboard.page({"run": "../today"})


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"model": "' OR 1=1 --"}, 'Unknown model "\' OR 1=1 --" of these results'),
        ({"order": "x"}, "order='x'"),
        ({"page": "-1"}, "page='-1': page must be an integer ≥ 1"),
        ({"sql": "x"}, "this page has no argument 'sql'"),
    ],
)
def test_an_invalid_query_raises(folder: Path, query: dict[str, str], error: str) -> None:
    with pytest.raises((ArgumentError, UnknownNameError), match=error):
        Dashboard(folder).page(query)


def test_a_damaged_file_raises(folder: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    file = next(damaged.glob("scores/**/*.parquet"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"damaged.*\.parquet has changed since it was written"):
        Dashboard(damaged).page({})


def test_no_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"contains no results. Write some with results.to_parquet"):
        Dashboard(tmp_path)


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with DashboardServer(Dashboard(folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


def fetched(address: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            return answer.status, answer.headers["Content-Security-Policy"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Security-Policy"], error.read().decode()


def test_the_server_requires_its_token_and_its_host_name(address: str) -> None:
    status, policy, html = fetched(address)
    assert (status, '<h2 id="scores">' in html) == (200, True)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    root = address.rstrip("/").rpartition("/")[0]
    for wrong, headers in ((f"{root}/", {}), (f"{root}/x/", {}), (address, {"Host": "evil.example"})):
        status, _, html = fetched(wrong, **headers)
        assert (status, "good" in html) == (403, False)


def test_the_server_tells_what_is_wrong(address: str) -> None:
    assert fetched(f"{address}nothing")[0] == 404
    status, _, html = fetched(f"{address}?model=%3Cb%3Egood")
    assert status == 400
    assert "Unknown model &#39;&lt;b&gt;good&#39; of these results. Did you mean &#39;good&#39;?" in html
    assert fetched(f"{address}instance?row=999999")[0] == 400
