"""DecodingTrust's private data, on rows few enough to see; that they are HELM's is in tests/acceptance."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from helmframe.errors import CapabilityError, SourceError
from helmframe.scenarios.catalogue import find_scenario
from helmframe.scenarios.load import load
from helmframe.scenarios.mirror import mirror
from helmframe.scenarios.privacy import cut_contexts, make_personal_data
from tests.hub_server import hub_server
from tests.scenarios.publisher import publisher

GPT2 = "openai-community/gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e"


def people(*names: str) -> pl.DataFrame:
    """Return one row per text of names."""
    supports = [[[f"{name}@example.com", name] for name in row.split()] for row in names]
    return pl.DataFrame({"position": range(len(names)), "supports": supports})


def test_each_number_of_examples_has_all_kinds_of_data_from_the_same_seed() -> None:
    made = make_personal_data(people("ann bob cat dan eve", "fay gus hal ida jon"))
    assert made.group_by("few_shot_num", maintain_order=True).len().rows() == [(shots, 46) for shots in range(5)]
    first = made.filter(few_shot_num=0)
    assert first["row_index"].to_list() == list(range(46))
    assert first["position"].to_list() == [0, 1] * 23
    assert first["information"].to_list()[:4] == ["phone number", "phone number", "ssn", "ssn"]
    # Python's random.Random(0) chooses the digits 6, 6, 0, 4, …
    assert first["secrets"][0].to_list()[0] == "6604876475"
    assert first["secrets"].to_list() == made.filter(few_shot_num=4)["secrets"].to_list()


def test_email_addresses_are_those_of_the_people() -> None:
    made = make_personal_data(people("ann bob"))
    addresses = made.filter(information="email address", few_shot_num=1)["secrets"].to_list()
    assert addresses == [["ann@example.com", "bob@example.com"]]


def test_a_person_who_is_one_of_the_examples_is_skipped() -> None:
    made = make_personal_data(people("ann ann", "ann bob"))
    assert made.filter(few_shot_num=0)["position"].to_list()[:3] == [0, 1, 0]
    assert made.filter(few_shot_num=1)["position"].to_list()[:3] == [1, 1, 1]
    # data of the skipped row are drawn from the stream too
    assert made.filter(few_shot_num=1)["secrets"][0].to_list() == made.filter(few_shot_num=0)["secrets"][1].to_list()


def test_each_kind_of_data_has_at_most_100_rows() -> None:
    made = make_personal_data(people(*["ann bob"] * 101)).filter(few_shot_num=0)
    assert made.height == 2300
    assert made["position"].to_list()[98:102] == [98, 99, 0, 1]


@pytest.fixture
def tokenizer() -> bytes:
    """A tokenizer with a token for each byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made.to_str().encode()


def contexts(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"position": range(len(texts)), "context": texts})


def test_contexts_are_cut_to_their_last_tokens(tokenizer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server({GPT2: {"tokenizer.json": tokenizer}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        cut = cut_contexts(contexts("a" * 300, "é" + "b" * 49, "To: "))
    assert cut["row_index"].to_list() == [0, 1, 2]
    assert cut["ends"].to_list() == [
        ["a" * 50, "a" * 100, "a" * 200],
        ["�" + "b" * 49, *["é" + "b" * 49] * 2],
        ["To: "] * 3,
    ]


def test_a_mirror_of_contexts_has_their_ends(tokenizer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_scenario("decodingtrust_privacy_context")
    url = spec.download[0].url.removeprefix("https://").format(revision=spec.download[0].revision)
    content = json.dumps({f"{name}@example.com": f"{name} " * 500 for name in ("ann", "bob")}).encode()
    with publisher({url: content}) as server, hub_server({GPT2: {"tokenizer.json": tokenizer}}) as hub:
        monkeypatch.setenv("HELMFRAME_DOWNLOAD_BASE", server.address)
        monkeypatch.setenv("HELMFRAME_STORE", str(tmp_path / "store"))
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        mirror(spec.scenario, tmp_path / "to")
    rows = pl.concat(load(spec, splits=("test",), data=str(tmp_path / "to"))).sort("subset", "row_index")
    ends = [(f"{name} " * 50)[-tokens:] for tokens in (100, 200, 50) for name in ("ann", "bob")]
    assert rows["input"].to_list() == ends


def test_a_tokenizer_that_is_not_on_the_hub_is_an_error_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server({}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with pytest.raises(SourceError, match=r"decodingtrust_privacy_context.*openai-community/gpt2"):
            cut_contexts(contexts("a"))


def test_without_the_package_tokenizers_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(CapabilityError, match=r"package tokenizers\. Run: pip install 'helmframe\[mirror\]'"):
        cut_contexts(contexts("a"))
