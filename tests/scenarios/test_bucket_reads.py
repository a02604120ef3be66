"""Bytes and requests of limits, samples and `explain()` in a bucket, counted by a proxy of a real S3 server."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NoInstancesError, SourceMissingError
from tests.counting_proxy import CountingProxy, Traffic, counting_proxy
from tests.s3_server import BUCKET, S3Server
from tests.scenarios.readers import READERS

pytestmark = pytest.mark.shared
ROWS, GROUPS, FILES = 20_000, 20, 40
FOOTERS = 250_000  # bytes of footers and listings of a plan that opens its file a few times
SPEC = """\
scenario: large
version: 1
source: {rows: "{data}/NAME/{split}-*.parquet"}
columns: {q: VARCHAR, topic: VARCHAR, options: "VARCHAR[]", a: BIGINT}
splits: {test: test}
instances: |
  SELECT row_index, split, topic, q AS input,
         list_transform(options, lambda option, i: {'text': option, 'correct': i - 1 = a}) AS "references"
  FROM rows
adapter: {method: generation, shots: 0}
metrics: [exact_match]
main: {metric: exact_match}
"""


@dataclass(frozen=True)
class Bucket:
    """The bucket behind the proxy, with a file of 20 row groups and a folder of 40 files."""

    proxy: CountingProxy
    folder: Path
    group_bytes: int

    def plan(self, name: str) -> hf.Plan:
        """Return a plan over `numbered` (with row_index), `plain` (without) or `many` (files)."""
        file = self.folder / f"{name}.yaml"
        file.write_text(SPEC.replace("NAME", name))
        return hf.scenario(str(file))

    def cost(self, action: Callable[[], object]) -> Traffic:
        """Return the requests of an action."""
        with self.proxy.counted() as traffic:
            action()
        return traffic


def rows(start: int, stop: int, *, numbered: bool) -> pl.DataFrame:
    generator = np.random.default_rng(start)
    frame = pl.DataFrame(
        {
            "q": [generator.bytes(1_000).hex() for _ in range(start, stop)],
            "topic": [f"topic {number * GROUPS // ROWS // 5}" for number in range(start, stop)],
            "options": [["yes", "no"]] * (stop - start),
            "a": [0] * (stop - start),
        }
    )
    return frame.with_columns(row_index=pl.int_range(start, stop)) if numbered else frame


@pytest.fixture(scope="module")
def uploaded(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    folder = tmp_path_factory.mktemp("large")
    filesystem = s3_server.filesystem()
    for name in ("numbered", "plain"):
        file = folder / f"{name}.parquet"
        rows(0, ROWS, numbered=name == "numbered").write_parquet(file, row_group_size=ROWS // GROUPS)
        filesystem.put(str(file), f"{BUCKET}/{name}/test-0.parquet")
    for number in range(FILES):
        small = folder / "small.parquet"
        rows(5 * number, 5 * number + 5, numbered=True).with_columns(topic=pl.lit("topic 2")).write_parquet(small)
        filesystem.put(str(small), f"{BUCKET}/many/test-{number:05}.parquet")
    metadata = pq.ParquetFile(folder / "plain.parquet").metadata
    group = metadata.row_group(0)
    size = sum(group.column(column).total_compressed_size for column in range(metadata.num_columns))
    with counting_proxy(s3_server.endpoint) as proxy:
        yield Bucket(proxy, folder, size)


@pytest.fixture(params=READERS)
def bucket(request: pytest.FixtureRequest, uploaded: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    del s3  # sets the usual variables
    monkeypatch.setenv("AWS_ENDPOINT_URL", uploaded.proxy.endpoint)
    monkeypatch.setenv("HELMFRAME_S3_READER", request.param)
    return uploaded


def read(plan: hf.Plan) -> pl.DataFrame:
    return plan.instances().collect()


CALLS: dict[str, Callable[[hf.Plan], object]] = {
    "limit(1)": lambda plan: read(plan.limit(1)),
    "limit(1) explained": lambda plan: plan.limit(1).explain(),
    "explained": lambda plan: plan.explain(),
    "explained with a model": lambda plan: plan.generate(lambda prompt: "yes").explain(),
    "a topic, limit(10)": lambda plan: read(plan.where(topic="topic 2").limit(10)),
    "a topic, explained": lambda plan: plan.where(topic="topic 2").explain(),
    "sample(1)": lambda plan: read(plan.sample(1)),
    "a topic, sample(1)": lambda plan: read(plan.where(topic="topic 2").sample(1)),
}


@pytest.mark.parametrize("name", ["numbered", "plain"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_small_selection_reads_at_most_two_row_groups(
    bucket: Bucket, name: str, call: Callable[[hf.Plan], object]
) -> None:
    plan = bucket.plan(name)
    traffic = bucket.cost(lambda: call(plan))
    assert sum(traffic.sent.values()) <= 2 * bucket.group_bytes + FOOTERS, str(traffic)
    assert traffic.requests["HEAD"] == 0
    assert traffic.requests["LIST"] <= 6


@pytest.mark.parametrize("name", ["numbered", "plain"])
def test_a_sample_reads_the_row_groups_of_its_rows(bucket: Bucket, name: str) -> None:
    plan = bucket.plan(name).sample(5, seed=1)
    instances: list[pl.DataFrame] = []
    traffic = bucket.cost(lambda: instances.append(read(plan)))
    groups = (instances[0]["row_index"] // (ROWS // GROUPS)).n_unique()
    assert 1 < groups <= 5
    assert sum(traffic.sent.values()) <= groups * bucket.group_bytes + FOOTERS, str(traffic)


@pytest.mark.parametrize("name", ["numbered", "plain", "many"])
def test_small_selections_have_the_rows_of_all_rows(bucket: Bucket, name: str) -> None:
    plan = bucket.plan(name)
    everything = read(plan)
    assert read(plan.limit(3)).equals(everything.head(3))
    topic = everything["data_topic"][-1]
    assert read(plan.where(topic=topic).limit(3)).equals(everything.filter(data_topic=topic).head(3))
    sampled = read(plan.sample(3))
    assert sampled.equals(everything.filter(pl.col("row_index").is_in(sampled["row_index"].to_list())))


def test_an_explained_plan_has_all_rows_and_estimated_requests(bucket: Bucket) -> None:
    text = bucket.plan("numbered").generate(lambda prompt: "yes").explain()
    assert "20,000 instances" in text
    assert "20,000 distinct requests: 0 cached, 20,000 to send" in text
    assert "counts are scaled up from the first 1,000 of 20,000 instances" in text


@pytest.mark.parametrize("call", [lambda plan: read(plan), *CALLS.values()], ids=["all", *CALLS])
def test_files_are_listed_once_and_opened_without_a_request_for_their_size(
    bucket: Bucket, call: Callable[[hf.Plan], object]
) -> None:
    plan = bucket.plan("many")
    traffic = bucket.cost(lambda: call(plan))
    assert traffic.requests["HEAD"] == 0
    assert traffic.requests["LIST"] <= 4
    assert traffic.requests["GET"] <= 2 * FILES + 5


def test_an_unknown_subset_in_a_bucket_names_the_known_ones(bucket: Bucket) -> None:
    del bucket
    known = "Known: abstract_algebra, anatomy, high_school_us_history, philosophy"
    with pytest.raises(NoInstancesError, match=f"'astrology'.*matches no instance of scenario 'mmlu'.\n{known}"):
        hf.scenario("mmlu").where(subject="astrology")
    with pytest.raises(NoInstancesError, match="Did you mean 'philosophy'"):
        hf.scenario("mmlu").where(subject="philosphy")


def test_a_scenario_without_files_is_still_missing(bucket: Bucket) -> None:
    del bucket
    with pytest.raises(SourceMissingError, match="scenario 'mmlu'"):
        hf.scenario("mmlu", data=f"s3://{BUCKET}/nowhere").limit(1).instances()


def test_an_endpoint_without_a_scheme_is_read(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.proxy.endpoint.removeprefix("http://"))
    assert read(bucket.plan("many").limit(1)).height == 1
    monkeypatch.setenv("AWS_ENDPOINT_URL", "ftp://localhost")
    with pytest.raises(ArgumentError, match="AWS_ENDPOINT_URL='ftp://localhost'"):
        bucket.plan("many").limit(1).instances()


def test_the_services_section_of_a_profile_leads_to_the_server(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "aws-config"
    services = f"[services near]\ns3 =\n  endpoint_url = {bucket.proxy.endpoint}\n"
    file.write_text(f"[profile mine]\nservices = near\nregion = us-east-1\n{services}")
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert read(bucket.plan("many").limit(1)).height == 1
