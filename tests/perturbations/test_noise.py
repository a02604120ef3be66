"""Noise in letters, and noise that a reader does not see."""

import unicodedata
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.perturbations.call import call
from helmframe.perturbations.noise import ALPHABETS, KEYS, LEET, OCR
from helmframe.perturbations.parsing import parse
from helmframe.perturbations.perturb import perturb
from tests.frames import instances
from tests.perturbations.texts import changed, each_changed, is_part, near

FOX = "The quick brown fox jumps over 13 lazy dogs."
# An apostrophe and a hyphen in words, accents in one code point and in two, quotes, Hangul, a family in one character.
MIXED = "Müller's well-known 3.14 café — «đây» 한국어 👩‍👩‍👧 ende\u0301!"
LETTERS = ["keyboard", "ocr", "swap_letters", "delete_letters", "insert_letters", "repeat_letters"]
OTHERS = ["leet", "random_case"]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("perturbation", "arguments", "fox", "mixed"),
    [
        (
            "keyboard",
            {"prob": 0.3},
            "Th3 wukci hrown fkx uumpe lver 13 laag fots.",
            "Müolrr's w4ll-knoan 3.14 xzfé — «đây» 한국어 👩‍👩‍👧 ende\u0301!",
        ),
        (
            "keyboard",
            {"prob": 1, "digits": True},
            "5j3 wikxi h4ieh gkc ujnle lb4f 24 psag fpta.",
            "Jüoort'z 34op-impam 2.qr xzcé — «đâu» 한국어 👩‍👩‍👧 dbfe\u0301!",
        ),
        (
            "ocr",
            {"prob": 1},
            "Tbc gvlek 6r0vvn t0x jvrnp5 0ucr l3 Ia2y cl0q5.",
            "MüI1cr'5 vvc11-kn0vvn 3.l4 eaté — «đây» 한국어 👩‍👩‍👧 cncle\u0301!",
        ),
        (
            "swap_letters",
            {"prob": 0.3},
            "Hte quick brwon fox jumps over 13 lazy dogs.",
            "Ümller's well-knonw 3.14 acfé — «đây» 한국어 👩‍👩‍👧 ene\u0301d!",
        ),
        (
            "swap_letters",
            {"prob": 1, "per": "word", "keep_edges": True},
            "The qucik borwn fox jupms oevr 13 lzay dgos.",
            "Müller's well-konwn 3.14 cfaé — «đây» 한국어 👩‍👩‍👧 edne\u0301!",
        ),
        (
            "delete_letters",
            {"prob": 0.2},
            "Te quic brown fox jumps over 13 y dogs.",
            "Mller's ell-known 3.14 afé — «» 국어 👩‍👩‍👧 ede\u0301!",
        ),
        (
            "delete_letters",
            {"prob": 1, "per": "word", "keep_edges": True},
            "Te quik bown fx jups ovr 13 lzy dos.",
            "Mülle's well-knwn 3.14 caé — «đy» 한어 👩‍👩‍👧 ede\u0301!",
        ),
        (
            "insert_letters",
            {"prob": 0.2},
            "The qcuick broown fox jumps ovejr 13 lrazyg dogs.",
            "Müllerr's wéelle-known 3.14 caféo — «đâwy» 한국국어 👩‍👩‍👧 ende\u0301f!",
        ),
        (
            "repeat_letters",
            {"prob": 0.2},
            "The quick brown ffoxx juumps over 13 laazy doggs.",
            "Müller's well-knoownn 3.14 café — «đâyy» 한국어 👩‍👩‍👧 eende\u0301!",
        ),
        (
            "repeat_letters",
            {"prob": 1, "per": "word"},
            "Thee quiick broown ffox jjumps oover 13 llazy doggs.",
            "Müller'ss well-kknown 3.14 ccafé — «đđây» 한한국어 👩‍👩‍👧 endde\u0301!",
        ),
        (
            "leet",
            {"prob": 1},
            "7h3 qu1ck 8r0wn f0x jump5 0v3r 13 142y d095.",
            "Mü113r'5 w311-kn0wn 3.14 c4fé — «đây» 한국어 👩‍👩‍👧 3nde\u0301!",
        ),
    ],
)
def test_noise_stays_the_same_for_good(perturbation: str, arguments: dict[str, Any], fox: str, mixed: str) -> None:
    assert changed(FOX, perturbation, **arguments) == fox
    assert changed(MIXED, perturbation, **arguments) == mixed


@pytest.mark.parametrize("perturbation", [*LETTERS, *OTHERS])
def test_nothing_changes_at_probability_zero(perturbation: str) -> None:
    assert changed(MIXED, perturbation, prob=0) == MIXED


@pytest.mark.parametrize("perturbation", [*LETTERS, *OTHERS])
def test_null_empty_and_no_letters(perturbation: str) -> None:
    texts = [None, "", " ", "\n", "👩‍👩‍👧 — …", None]
    assert each_changed(texts, perturbation, prob=1) == texts


@pytest.mark.parametrize("per", ["letter", "word"])
@pytest.mark.parametrize("perturbation", LETTERS)
def test_a_text_of_a_megabyte(perturbation: str, per: str) -> None:
    out = changed("naïve wording " * 70_000, perturbation, prob=0.1, per=per, keep_edges=True)
    assert 900_000 < len(out) < 1_200_000
    assert out != "naïve wording " * 70_000


@pytest.mark.parametrize("perturbation", LETTERS)
def test_other_texts_beside_it_do_not_matter(perturbation: str) -> None:
    texts = [FOX, MIXED, "", None, "a", "rn", "Ünder"] * 15
    ids = [f"id{place}" for place in range(len(texts))]
    together = each_changed(texts, perturbation, ids=ids, prob=0.4)
    alone = [each_changed([text], perturbation, ids=[each], prob=0.4)[0] for text, each in zip(texts, ids, strict=True)]
    assert together == alone


@pytest.mark.parametrize("perturbation", LETTERS)
def test_edges_are_preserved_on_request(perturbation: str) -> None:
    words = ["misunderstanding", "Reading", "words", "the", "of", "a"]
    for seed in range(20):
        out = changed(" ".join(words), perturbation, seed=seed, prob=1, keep_edges=True).split(" ")
        assert [(each[0], each[-1]) for each in out] == [(each[0], each[-1]) for each in words]
        assert out[4:] == ["of", "a"]


@pytest.mark.parametrize("perturbation", LETTERS)
def test_per_word_hits_each_word_once(perturbation: str) -> None:
    words = ["omnipotent", "clairvoyants", "listeners"]
    for seed in range(20):
        out = changed(" ".join(words), perturbation, seed=seed, prob=1, per="word").split(" ")
        for new, old in zip(out, words, strict=True):
            assert len(new) - len(old) in {
                "delete_letters": (-1,), "insert_letters": (1,), "repeat_letters": (1,), "ocr": (-1, 0, 1)
            }.get(perturbation, (0,))  # fmt: skip
            same_start = next((place for place, (a, b) in enumerate(zip(new, old, strict=False)) if a != b), len(old))
            rest = len(old) - same_start
            assert rest <= 1 or new.endswith(old[same_start + 2 :])


# -- shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("perturbation", ["keyboard", "ocr", "leet", "random_case"])
@pytest.mark.parametrize("prob", [0.05, 0.5])
def test_substitutions_hit_the_share_promised(perturbation: str, prob: float) -> None:
    text = "ozle" * 25_000  # each has a key beside it, a shape like it, a digit like it and a capital
    out = changed(text, perturbation, prob=prob)
    assert near(sum(a != b for a, b in zip(out, text, strict=True)) / len(text), prob, len(text))


@pytest.mark.parametrize(
    ("perturbation", "sign"), [("delete_letters", -1), ("insert_letters", 1), ("repeat_letters", 1)]
)
@pytest.mark.parametrize("prob", [0.05, 0.5])
def test_letters_come_and_go_at_the_share_promised(perturbation: str, sign: int, prob: float) -> None:
    text = "abcd" * 25_000
    assert near(sign * (len(changed(text, perturbation, prob=prob)) - len(text)) / len(text), prob, len(text))


@pytest.mark.parametrize("prob", [0.05, 0.5])
def test_pairs_of_letters_change_places_at_the_share_promised(prob: float) -> None:
    words = ["abc"] * 30_000  # one pair each, from the first or from the second letter on
    out = Counter(changed(" ".join(words), "swap_letters", prob=prob).split(" "))
    assert set(out) == {"abc", "bac", "acb"}
    assert near(1 - out["abc"] / len(words), prob, len(words))
    assert near(out["bac"] / (out["bac"] + out["acb"]), 0.5, out["bac"] + out["acb"])


@pytest.mark.parametrize("perturbation", LETTERS)
def test_words_are_hit_at_the_share_promised(perturbation: str) -> None:
    words = ["zebra"] * 30_000
    out = changed(" ".join(words), perturbation, prob=0.2, per="word").split(" ")
    assert near(sum(each != "zebra" for each in out) / len(words), 0.2, len(words))


def test_each_letter_of_a_word_is_hit_alike() -> None:
    from scipy.stats import chisquare

    out = Counter(changed(" ".join(["abcdef"] * 30_000), "delete_letters", prob=1, per="word").split(" "))
    assert len(out) == 6
    assert chisquare(list(out.values())).pvalue > 0.001


def test_keys_beside_are_drawn_evenly() -> None:
    from scipy.stats import chisquare

    out = Counter(changed("g" * 40_000, "keyboard", prob=1))
    assert sorted(out) == sorted(KEYS["g"].split())
    assert chisquare(list(out.values())).pvalue > 0.001


def test_an_inserted_letter_is_any_of_the_text_of_the_same_script() -> None:
    from scipy.stats import chisquare

    inserted = Counter(changed("xyz" * 10_000 + "а" * 100, "insert_letters", prob=1)[1:60_000:2])
    assert set(inserted) == {"x", "y", "z"}
    assert chisquare(list(inserted.values())).pvalue > 0.001


# -- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("perturbation", ["keyboard", "leet", "random_case"])
def test_a_higher_probability_keeps_the_substitutions_of_a_lower_one(perturbation: str) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 20
    few, many = changed(text, perturbation, prob=0.1), changed(text, perturbation, prob=0.3)
    hit = [place for place in range(len(text)) if few[place] != text[place]]
    assert hit
    assert [many[place] for place in hit] == [few[place] for place in hit]


@pytest.mark.parametrize("per", ["letter", "word"])
def test_a_higher_probability_deletes_what_a_lower_one_does(per: str) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 20
    few, many = (changed(text, "delete_letters", prob=prob, per=per) for prob in (0.1, 0.3))
    assert len(many) < len(few)
    assert is_part(many, few)


@pytest.mark.parametrize("perturbation", ["insert_letters", "repeat_letters"])
def test_a_higher_probability_adds_what_a_lower_one_does(perturbation: str) -> None:
    text = "the quick brown fox jumps over the lazy dog " * 20
    few, many = (changed(text, perturbation, prob=prob) for prob in (0.1, 0.3))
    assert len(many) > len(few)
    assert is_part(few, many)


@given(ANY_TEXT)
def test_the_keyboard_types_a_key_beside(text: str) -> None:
    out = changed(text, "keyboard", prob=0.7, digits=True)
    for new, old in zip(out, text, strict=True):
        assert new == old or new in KEYS[old].split()


@given(ANY_TEXT)
def test_swapping_loses_and_adds_no_letter(text: str) -> None:
    out = changed(text, "swap_letters", prob=0.7)
    assert len(out) == len(text)
    assert sorted(out.swapcase().casefold()) == sorted(text.swapcase().casefold())


@given(ANY_TEXT)
def test_deleting_adds_and_inserting_and_repeating_lose_nothing(text: str) -> None:
    assert is_part(changed(text, "delete_letters", prob=0.4), text)
    assert is_part(text, changed(text, "insert_letters", prob=0.4))
    assert is_part(text, changed(text, "repeat_letters", prob=0.4))


@given(ANY_TEXT)
def test_digits_and_marks_are_no_letters(text: str) -> None:
    def others(characters: str) -> list[str]:
        return [each for each in characters if each.isdigit() or each in " .,;:!?\n-'"]

    for perturbation in ("swap_letters", "delete_letters", "insert_letters", "repeat_letters"):
        assert others(changed(text, perturbation, prob=0.5)) == others(text)


def test_an_accent_stays_with_its_letter() -> None:
    text = "e\u0301a\u0308o\u0302" * 30
    for perturbation in ("swap_letters", "delete_letters", "repeat_letters"):
        out = changed(text, perturbation, prob=0.5)
        assert out != text
        assert all(
            letter + accent in ("e\u0301", "a\u0308", "o\u0302")
            for letter, accent in zip(out[::2], out[1::2], strict=True)
        )


def test_a_letter_with_an_accent_is_on_no_keyboard() -> None:
    assert changed("e\u0301" * 10, "keyboard", prob=1) == "e\u0301" * 10


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("burn", {"6vm", "hvm"}),
        ("clan", {"dan"}),
        ("m", {"rn"}),
        ("rnrn", {"mm"}),
        ("r\u0301n", {"r\u0301n"}),
    ],
)
def test_pairs_of_letters_are_read_as_one(text: str, read: set[str]) -> None:
    assert {changed(text, "ocr", prob=1, seed=seed) for seed in range(40)} == read


def test_a_pair_of_letters_does_not_reach_over_texts() -> None:
    assert each_changed(["r", "n"], "ocr", prob=1) == ["r", "n"]


@pytest.mark.parametrize(("text", "out"), [("Th", "Ht"), ("TH", "HT"), ("th", "ht"), ("iP", "pI"), ("ßA", "Aß")])
def test_a_capital_stays_at_its_place(text: str, out: str) -> None:
    assert changed(text, "swap_letters", prob=1, per="word") == out


@pytest.mark.parametrize("text", ["AB", "I", "NASA", "nasa", "ΑΒ"])
def test_an_inserted_letter_has_the_case_around_it(text: str) -> None:
    out = changed(text, "insert_letters", prob=1)
    assert len(out) == 2 * len(text)
    assert out.isupper() == text.isupper()


@pytest.mark.parametrize(
    ("chain", "out"),
    [
        ("lowercase+swap_letters(prob=0.3)", "it si a fox thta is quick."),
        ("contraction+titlecase+extra_space", "It's  A  Fox  That's  Quick."),
        ("drop_words(prob=0.3)+typos(prob=0.1)+leet(prob=0.5)", "4 Dox tn4t 1s qu1ck."),
        ("keyboard(prob=0.1)+keyboard(prob=0.1)", "I5 is a Fox that ia quick."),
    ],
)
def test_noise_in_chains_with_helms(chain: str, out: str) -> None:
    rows = perturb(instances(["It is a Fox that is quick."]).lazy(), [parse(chain)]).collect()
    assert rows["perturbed_input"].to_list() == ["It is a Fox that is quick.", out]


# -- tables and arguments --------------------------------------------------------------------------------------------


def test_keys_beside_are_mutual() -> None:
    assert len(KEYS) == 62
    assert KEYS["g"] == "t y f h v b"
    assert all(key in KEYS[beside].split() for key in KEYS if not key.isupper() for beside in KEYS[key].split())
    assert all(key not in beside.split() for key, beside in KEYS.items())


def test_no_shape_is_read_as_itself() -> None:
    assert all(shape not in read.split() for table in (OCR, LEET) for shape, read in table.items())


@pytest.mark.parametrize("perturbation", [*LETTERS, *OTHERS])
@pytest.mark.parametrize("prob", [-0.1, 1.1, True, "much", None])
def test_a_probability_lies_between_0_and_1(perturbation: str, prob: object) -> None:
    with pytest.raises(ArgumentError, match=rf"{perturbation}\(prob={prob!r}\): prob must be a number between 0 and 1"):
        changed(FOX, perturbation, prob=prob)


@pytest.mark.parametrize("perturbation", LETTERS)
def test_an_unknown_unit_names_near_ones(perturbation: str) -> None:
    with pytest.raises(ArgumentError, match=rf"{perturbation}\(per='words'\): per must be .*\. Did you mean 'word'"):
        changed(FOX, perturbation, per="words")


VISIBLE_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u200b\u200c\u2060"), max_size=60)


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        ({"prob": 0.3}, "Тhe ԛuіck brоwn foх jumps over 13 lazy dоgs."),
        ({"prob": 1}, "Тһе ԛuісk brоԝn fох јumрѕ оvеr 13 lаzу ԁоgѕ."),
        ({"prob": 1, "alphabet": "greek"}, "Τhe qυιck brοwn fοx jυmρs ονer 13 lazy dοgs."),
    ],
)
def test_homoglyphs_stay_the_same_for_good(arguments: dict[str, Any], out: str) -> None:
    assert changed(FOX, "homoglyphs", **arguments) == out


@given(VISIBLE_TEXT, st.sampled_from(sorted(ALPHABETS)))
def test_only_letters_with_a_look_alike_change(text: str, alphabet: str) -> None:
    out = changed(text, "homoglyphs", prob=0.7, alphabet=alphabet)
    assert all(new == old or new in ALPHABETS[alphabet][old].split() for new, old in zip(out, text, strict=True))


def test_look_alikes_are_letters_of_their_alphabet_in_the_same_case() -> None:
    for alphabet in ("cyrillic", "greek"):
        for latin, other in ALPHABETS[alphabet].items():
            assert unicodedata.name(other).startswith(alphabet.upper())
            assert latin.isupper() == other.isupper()


def test_an_unknown_alphabet_raises() -> None:
    with pytest.raises(
        ArgumentError, match=r"homoglyphs\(alphabet='cyrilic'\): alphabet must be .*\. Did you mean 'cyrillic'"
    ):
        call("homoglyphs", alphabet="cyrilic")


def test_zero_width_stays_the_same_for_good() -> None:
    out = changed("The quick brown fox", "zero_width", prob=0.3)
    assert out == "T\u200bhe qui\u200bc\u200bk b\u200brow\u200bn fo\u200bx"


@given(VISIBLE_TEXT)
def test_without_what_has_no_width_it_is_the_text(text: str) -> None:
    out = changed(text, "zero_width", prob=0.6)
    assert out.translate(dict.fromkeys((0x200B, 0x200C, 0x2060))) == text


def test_zero_width_characters_stand_between_two_letters_alone() -> None:
    assert changed("a b-c 1d ḧ", "zero_width", prob=1) == "a b-c 1d ḧ"
    assert len(changed("ae\u0301b", "zero_width", prob=1)) == 6
    assert changed("e\u0301e\u0301", "zero_width", prob=1)[:2] == "e\u0301"


@pytest.mark.parametrize("prob", [0.05, 0.5])
def test_the_share_promised_is_hit(prob: float) -> None:
    text = "ae" * 25_000
    assert near(
        sum(a != b for a, b in zip(changed(text, "homoglyphs", prob=prob), text, strict=True)) / 50_000, prob, 50_000
    )
    assert near((len(changed(text, "zero_width", prob=prob)) - 50_000) / 49_999, prob, 49_999)


@pytest.mark.parametrize("perturbation", ["homoglyphs", "zero_width"])
def test_null_empty_and_no_look_alikes(perturbation: str) -> None:
    texts = [None, "", " \n", "13 — 👩‍👩‍👧", None]
    assert each_changed(texts, perturbation, prob=1) == texts


@pytest.mark.parametrize("perturbation", ["homoglyphs", "zero_width"])
def test_a_megabyte_of_look_alikes(perturbation: str) -> None:
    text = "naïve wording " * 70_000
    assert len(changed(text, perturbation, prob=0.1)) >= len(text)
