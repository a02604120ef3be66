"""`compat="helm"`: HELM's own unit tests, and what its streams hang on."""

from pathlib import Path

import polars as pl
import pytest

from helmframe.errors import ArgumentError
from helmframe.perturbations.parsing import parse, variants
from helmframe.perturbations.perturb import perturb
from helmframe.perturbations.registry import HELM, PERTURBATIONS
from helmframe.perturbations.tables import Tables
from tests.frames import instances

# Each as HELM's tests have it for instance "id0": the perturbation, the text before and after.
PLAIN = [
    ("lowercase", "Hello World!", "hello world!"),
    ("extra_space(num_spaces=2)", "Hello my name is", "Hello  my  name  is"),
    ("space(max_spaces=3)", "Hello World!\nQuite a day, huh?", "Hello   World!\nQuite a  day,   huh?"),
    (
        "typos(prob=0.1)",
        "After their marriage, she started a close collaboration with Karvelas.",
        "After tjeir marriage, she xrwrted a cloae dollabpration with Iarvwlas.",
    ),
    (
        "filler_words(insert_prob=0.3, speaker_ph=False)",
        "The quick brown fox jumps over the lazy dog.",
        "The quick brown fox jumps over like the lazy probably dog.",
    ),
    ("contraction", "She is a doctor, and I am a student", "She's a doctor, and I'm a student"),
    ("expansion", "She's a doctor, and I'm a student", "She is a doctor, and I am a student"),
    (
        "gender(mode='pronouns', prob=1.0)",
        "Did she mention that he was coming with his parents and their friends?",
        "Did she mention that she was coming with her parents and their friends?",
    ),
    (
        "gender(mode='terms', prob=1.0)",
        "His grandsons looked a lot like their dad.",
        "His granddaughters looked a lot like their mom.",
    ),
]
# With a reference each, which is drawn before the input.
PAIRS = [
    (
        "gender(mode='pronouns', prob=1.0)",
        (
            "Did she mention that he was coming with his parents and their friends?",
            "She didn't, perhaps he didn't tell her!",
        ),
        (
            "Did she mention that she was coming with her parents and their friends?",
            "She didn't, perhaps she didn't tell her!",
        ),
    ),
    (
        "gender(mode='terms', prob=1.0)",
        ("His grandsons looked a lot like their dad.", "How did their father look like?"),
        ("His granddaughters looked a lot like their mom.", "How did their mother look like?"),
    ),
    (
        "person_name(prob=1.0)",
        (
            "I learned that Jack, Peter, and Lauren are siblings! Do you know who is the oldest?",
            "Peter and peter were friends.",
        ),
        (
            "I learned that Lamar, Tyree, and Sharise are siblings! Do you know who is the oldest?",
            "Tyree and tyree were friends.",
        ),
    ),
]
# These need tables that are not shipped.
GOLDEN = [
    *PLAIN,
    (
        "misspellings(prob=1.0)",
        "Already, the new product is not available.",
        "Alreayd, hten new product is nto avaliable.",
    ),
    (
        "dialect(prob=1.0)",
        "I will remember this day to be the best day of my life.",
        "I gon remember dis day to b the best day of mah life.",
    ),
]


def golden(spec: str, text: str, name: str = "id0", seed: int = 0) -> str:
    """The text as HELM's perturbation leaves it."""
    (call,) = parse(spec.replace("(", "(compat='helm', ") if "(" in spec else f"{spec}(compat='helm')").chain
    out = pl.DataFrame({"id": [name], "text": [text]}).select(call.on(pl.col("text"), id="id", seed=seed)).item()
    assert isinstance(out, str)
    return out


def golden_pair(spec: str, text: str, reference: str) -> tuple[str, str]:
    """Input and reference of instance "id0" as HELM's perturbation leaves them."""
    frame = instances([text], [[(reference, True)]])
    rows = perturb(frame.lazy(), variants(spec, compat="helm")).filter("changed").collect()
    ((changed, references),) = rows.select("perturbed_input", "perturbed_references").iter_rows()
    return changed, references[0]["text"]


@pytest.mark.parametrize(("spec", "before", "after"), PLAIN)
def test_helms_unit_tests_hold(spec: str, before: str, after: str) -> None:
    assert golden(spec, before) == after


@pytest.mark.parametrize(("spec", "before", "after"), PAIRS)
def test_helms_unit_tests_with_references_hold(spec: str, before: tuple[str, str], after: tuple[str, str]) -> None:
    assert golden_pair(spec, *before) == after


def test_a_seed_is_written_before_the_id() -> None:
    text = "the quick brown fox jumps over the lazy dog"
    assert golden("typos(prob=0.5)", text, "id7", seed=1) == golden("typos(prob=0.5)", text, "1id7")
    assert golden("typos(prob=0.5)", text, "id7", seed=1) != golden("typos(prob=0.5)", text, "id7")


def test_names_do_not_heed_the_seed() -> None:
    text = "Adam met Harry."
    assert golden("person_name", text, seed=1) == golden("person_name", text) != text


def test_both_neighbours_of_a_hit_are_used_up() -> None:
    spec = "gender(mode='terms', prob=1.0)"
    assert golden(spec, "man man man and man.") == "man woman man and woman."


def test_helms_slip_in_the_plural_of_grandfather_is_reproduced() -> None:
    spec = "gender(mode='terms', prob=1.0)"
    assert golden(spec, "My grandfather and grandfathers and") == "My grandmother and grandfathers and"


def test_a_letter_that_lower_case_makes_another_is_left_alone() -> None:
    # HELM fails here: its pattern ignores case, its table does not know the long s
    assert golden("expansion", "\u017fhe's here") == "\u017fhe's here"


def test_letters_whose_lower_case_is_longer_come_back_as_helm_has_them() -> None:
    assert golden("typos(prob=0)", "İ ß") == "İ ß".replace("İ", "i\u0307".upper())


def test_what_helm_has_not_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "SAE_to_AAVE_mapping.json").write_text('{"the": ["da"]}')
    monkeypatch.setenv("HELMFRAME_DATA", str(tmp_path))
    with pytest.raises(ArgumentError, match="HELM doesn't filter slurs"):
        parse("dialect(filter_slurs=True, compat='helm')")
    with pytest.raises(ArgumentError, match="HELM has no such perturbation"):
        parse("uppercase(compat='helm')")


def test_helms_take_the_arguments_that_ours_take() -> None:
    import inspect

    for name in HELM:
        if name in PERTURBATIONS:
            parameters = inspect.signature(HELM[name].make).parameters.values()
            taken = [parameter.name for parameter in parameters if parameter.annotation is not Tables]
            assert taken == list(PERTURBATIONS[name].parameters), name
