"""Stop strings, as they are said and as they cut a text."""

import random
from typing import Any

import pytest

from helmframe.models.tokenizing import StopDetector, before_stop, ending_tokens, stops_of, text_of
from tests.models import tiny


@pytest.mark.parametrize(
    ("said", "stops"), [(None, []), ("a", ["a"]), (["a", ""], ["a"]), ("", []), ([], []), (("a", "b"), ["a", "b"])]
)
def test_stops_are_one_string_or_several(said: object, stops: list[str]) -> None:
    assert stops_of({"stop": said}) == stops


@pytest.mark.parametrize(
    ("stops", "text"), [([], "a.\nb."), (["\n"], "a."), (["b", "."], "a"), (["a"], ""), (["x"], "a.\nb.")]
)
def test_a_text_ends_before_the_first_of_them(stops: list[str], text: str) -> None:
    assert before_stop("a.\nb.", stops) == text


ALPHABET = "ab \n.é€😀"


def of_bytes() -> Any:
    """As GPT-2's: a token is some bytes, perhaps a part of a character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    single = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "a"), ("a", "b"), (".", "Ċ"), ("Ċ", "Ã")]  # the last is a line's end and half of an é
    vocabulary = {each: place for place, each in enumerate(["<end>", *single, *(a + b for a, b in merges)])}
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")  # type: ignore[no-untyped-call]


def of_words() -> Any:
    """As Llama's: a word's token has its space, which the first word of a text loses; rare characters are bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<end>", "▁", "a", "b", "\n", ".", "▁a", "ab", "▁ab", ".\n", *(f"<0x{byte:02X}>" for byte in range(256))]
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b"), (".", "\n")]
    inner = Tokenizer(models.BPE({piece: place for place, piece in enumerate(pieces)}, merges, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module", params=[of_bytes, of_words], ids=["bytes", "words"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return request.param()


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def ended(tokenizer: Any, prompt: list[int], outputs: list[int], stops: list[str]) -> int | None:
    """How many tokens there were when a stop string was found."""
    watch = StopDetector(tokenizer, prompt, stops)
    return next((count for count, token in enumerate(outputs, 1) if watch.ends(token)), None)


def test_a_stop_is_found_with_the_token_that_completes_it(tokenizer: Any) -> None:
    draw = random.Random(0)
    found = 0
    for _ in range(150):
        prompt, text = ("".join(draw.choices(ALPHABET, k=12)) for _ in range(2))
        stops = ["".join(draw.choices(ALPHABET, k=draw.randint(1, 4))) for _ in range(2)]
        before, both = ids(tokenizer, prompt), ids(tokenizer, prompt + text)
        outputs = both[len(before) :]
        before = both[: len(before)]
        texts = [text_of(tokenizer, before, outputs[:count]) for count in range(1, len(outputs) + 1)]
        expected = next((count for count, each in enumerate(texts, 1) if any(stop in each for stop in stops)), None)
        assert ended(tokenizer, before, outputs, stops) == expected
        found += expected is not None
    assert found > 30


def test_a_stop_of_several_tokens_is_found(tokenizer: Any) -> None:
    outputs = ids(tokenizer, "a. b\n\nab.")
    assert len(outputs) > len(ids(tokenizer, "a. b")) + 1
    count = ended(tokenizer, ids(tokenizer, "ab"), outputs, ["\n\na"])
    assert text_of(tokenizer, ids(tokenizer, "ab"), outputs[:count]).rstrip("b").endswith("\n\na")


def test_a_stop_in_a_token_that_ends_amid_a_character_is_found() -> None:
    tokenizer = of_bytes()
    outputs = ids(tokenizer, "ab\né")
    assert len(outputs) == 3  # ab, the line's end with half of the é, its other half
    assert ended(tokenizer, ids(tokenizer, "a"), outputs, ["\n"]) == 2


def test_a_character_of_several_tokens_is_a_stop_once_it_is_complete() -> None:
    tokenizer = of_bytes()
    outputs = ids(tokenizer, "a😀b")
    assert (len(outputs), ended(tokenizer, [], outputs, ["😀"])) == (6, 5)


def test_broken_characters_hide_no_stop_after_them() -> None:
    tokenizer = of_bytes()
    broken = ids(tokenizer, "😀")[:1] * 9
    assert ended(tokenizer, [], [*broken, *ids(tokenizer, "b.")], ["."]) == 11


def test_a_stop_within_the_prompt_or_across_its_end_is_none(tokenizer: Any) -> None:
    prompt, outputs = ids(tokenizer, "a.\n"), ids(tokenizer, "aba")[-1:] * 3
    assert ended(tokenizer, prompt, outputs, [".\n", "\na"]) is None


def test_the_space_before_a_first_word_is_of_the_text() -> None:
    tokenizer = of_words()
    whole = ids(tokenizer, "a ab")
    assert text_of(tokenizer, whole[:1], whole[1:]) == " ab"
    assert ended(tokenizer, whole[:1], whole[1:], [" a"]) == 1


def test_special_tokens_are_no_part_of_a_text_and_hide_nothing(tokenizer: Any) -> None:
    prompt, outputs = ids(tokenizer, "a"), [*ids(tokenizer, "ab ab")[-1:], 0, *ids(tokenizer, "ab ab")[-1:]]
    text = text_of(tokenizer, prompt, outputs)
    assert "<end>" not in text
    assert ended(tokenizer, prompt, outputs, [text]) == 3


class Silent:
    """A model that says nothing about how answers end."""

    class config:  # noqa: N801
        eos_token_id = None


def test_a_stop_that_is_a_special_token_ends_an_answer() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    assert ending_tokens(Silent(), tokenizer, ["<turn>", "a"]) == [0, turn]
    assert ending_tokens(Silent(), tokenizer, []) == [0]
