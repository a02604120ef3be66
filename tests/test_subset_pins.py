"""Ids, draws and order of instances are as they were when the column `subset` was called `part`."""

import hashlib
import json

import polars as pl

import helmframe as hf
from helmframe._core.specs import Sample
from helmframe.scenarios.load import draw_sample


def digest(frame: pl.DataFrame, *columns: str) -> str:
    """Return a short hash of these columns, in the order of the rows."""
    rows = [
        [value.hex() if isinstance(value, bytes) else value for value in row] for row in frame.select(*columns).rows()
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


PLAN = hf.scenario("sampler").where(subject=["biology", "music"]).sample(3, seed=7).perturb("typos", seeds=2)


def test_sampled_instances_have_the_same_ids_and_order() -> None:
    assert PLAN.instances().collect().select("subset", "row_index", "instance_id").rows() == [
        ("biology", 20, "biology/id20"),
        ("biology", 26, "biology/id26"),
        ("biology", 28, "biology/id28"),
        ("music", 18, "music/id18"),
        ("music", 34, "music/id34"),
        ("music", 41, "music/id41"),
    ]


def test_perturbations_draw_the_same_texts() -> None:
    key = ("subset", "instance_id", "perturbation", "perturbation_seed")
    assert digest(PLAN.variants().collect(), *key, "perturbed_input") == "30f8b0b5f0cebd88"
    assert digest(PLAN.requests().collect(), *key, "head_id") == "f4aa5b124e1c5fef"


def test_cache_keys_are_the_same() -> None:
    completions = PLAN.generate(hf.models.echo()).completions().collect()
    assert completions["request_id"][0].hex() == "0113a80a5bf19b3dfe84cf39cf326071"
    assert digest(completions, "subset", "instance_id", "request_id", "prefix_id") == "cdb8084d80a0c06d"


def test_a_frame_has_the_same_name_version_and_draw() -> None:
    texts, topics = ["a b", "c d", "e f", "g h"] * 3, ["t", "u", "v"] * 4
    frame = pl.DataFrame({"input": texts, "references": ["x"] * 12, "topic": topics})
    instances = hf.scenario(frame, subset="topic").sample(2).instances().collect()
    assert instances.select("scenario", "scenario_version").unique().rows() == [("frame_886e9067", "886e90673130aadd")]
    assert instances["instance_id"].to_list() == ["t/id0", "t/id3", "u/id1", "u/id2", "v/id0", "v/id2"]


def test_samples_of_every_order_are_the_same() -> None:
    keys = pl.DataFrame({"subset": ["x"] * 40 + ["y"] * 30, "row_index": [*range(40), *range(30)]})
    keys = keys.with_columns(instance_id=pl.format("{}/id{}", "subset", "row_index"))
    assert {
        order: digest(draw_sample(keys, Sample(5, 3, order), "s"), "subset", "row_index") for order in ORDERS
    } == ORDERS


ORDERS = {"helm": "494c52b8cb1429aa", "keyed": "4f9b0ead1cddafa4", "first": "34a39f7d3e7d9057"}


def test_a_rerun_is_requested_under_the_same_ids_as_when_it_was_called_again() -> None:
    plan = hf.scenario("sampler").where(subject="music").limit(2).perturb("rerun", seeds=2)
    ids = plan.generate(hf.models.echo()).completions().collect()["request_id"]
    assert hashlib.sha256(b"".join(ids)).hexdigest()[:16] == "433261fbf71df897"
