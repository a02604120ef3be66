"""The perturbations as functions of `hf.perturbations`: their signatures, docstrings and calls."""

import inspect
import pydoc
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import helmframe as hf
from helmframe._plan import spec_of
from helmframe.errors import ArgumentError
from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.factory import Factory, perturbation
from helmframe.perturbations.parsing import parse
from helmframe.perturbations.registry import PERTURBATIONS
from tests.perturbations.every import NAMES

BUILT_IN = [*NAMES, "contrast_sets", "translate"]
PACKAGE = Path(hf.__file__).parent


def factory(name: str) -> Factory:
    return getattr(hf.perturbations, name)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_perturbation_is_a_function_of_hf_with_the_same_arguments(name: str) -> None:
    entry, shown = PERTURBATIONS[name], inspect.signature(factory(name)).parameters
    assert factory(name) is factory(name)
    common = {"fields", "protect", *(() if name == "contrast_sets" else ["compat"]), entry.model_argument}
    assert {argument for argument in shown if argument not in common} == set(entry.parameters)
    for argument, default in entry.defaults.items():
        assert shown[argument].default == default
    assert factory(name).function is entry.function


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_docstring_describes_every_argument_and_none_of_the_frames(name: str) -> None:
    document = str(factory(name).__doc__)
    assert [
        argument for argument in inspect.signature(factory(name)).parameters if f"\n    {argument}: " not in document
    ] == []
    assert [argument for argument in ("text", "key", "frame") if f"\n    {argument}: " in document] == []


def test_help_shows_the_arguments() -> None:
    shown = pydoc.plain(pydoc.render_doc(hf.perturbations.typos))
    assert "typos(*, prob: float" in shown
    assert "    prob: " in shown
    assert "compat: str" in shown


def test_compat_is_shown_where_helm_has_the_perturbation() -> None:
    shown = {name for name in BUILT_IN if "compat" in inspect.signature(factory(name)).parameters}
    assert {"typos", "gender", "contrast_sets"} < shown
    assert {"keyboard", "translate", "option_order"} & shown == set()


def test_no_module_hides_a_perturbation() -> None:
    modules = {file.stem for file in (PACKAGE / "perturbations").glob("*.py")}
    assert modules & set(PERTURBATIONS) == set()


@pytest.mark.parametrize("name", ["rerun", "lowercase", "typos"])
def test_what_is_left_at_its_default_is_not_in_the_name(name: str) -> None:
    assert str(factory(name)()) == name == parse(factory(name)()).name


def test_a_default_that_is_written_is_not_in_the_name() -> None:
    assert str(hf.perturbations.typos(prob=0.05, protect=None, compat=None)) == "typos"
    translated = hf.perturbations.translate(translator="echo()", language="French", fields="both")
    assert str(translated) == "translate(language='French', translator='echo()')"


def test_arguments_are_as_in_a_text() -> None:
    calls = hf.perturbations.typos(prob=0.1, fields="both", protect=["numbers", "code"])
    assert parse(calls) == parse("typos(prob=.1, fields='both', protect=['numbers', 'code'])")


def test_a_list_is_a_grid() -> None:
    assert str(hf.perturbations.typos(prob=[0.05, 0.1])) == "typos(prob=[0.05, 0.1])"


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(ArgumentError, match="an integer"):
        hf.perturbations.extra_space(num_spaces=True)


def test_an_argument_that_is_not_there_raises() -> None:
    with pytest.raises(ArgumentError, match=r"typos\(\) has no argument 'field'. Did you mean 'fields'"):
        hf.perturbations.typos(field="both")


def test_arguments_are_written_by_name() -> None:
    with pytest.raises(TypeError, match=r"^typos\(\) takes 0 positional arguments"):
        hf.perturbations.typos(0.1)  # type: ignore[call-arg]


def test_a_name_that_no_perturbation_has_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'typo'"):
        hf.perturbations.typo  # noqa: B018


def test_a_plan_that_says_them_goes_through_yaml() -> None:
    calls: list[str | PerturbationCall] = [
        hf.perturbations.typos(prob=[0.1, 0.2], protect=["numbers", r"re:\(+'\"\\w"]),
        "lowercase+space(max_spaces=4)",
        hf.perturbations.person_name(source_class={"race": "white_american", "gender": "male"}),
        hf.perturbations.instructions(texts=[['Say: it\'s "A" + (B)'], ["Answer."]]),
    ]
    plans = [hf.scenario("sampler").perturb(calls, seeds=2), hf.scenario("sampler").perturb("contract", compat="helm")]
    assert [hf.Plan.from_yaml(plan.to_yaml()) for plan in plans] == plans
    assert len(spec_of(plans[0]).perturbations) == 6


def test_a_decorated_function_is_the_factory_of_its_perturbation() -> None:
    @perturbation("exclaimed_often")
    def exclaimed_often(text: pl.Expr, marks: int = 1) -> pl.Expr:
        """Add exclamation marks.

        Args:
            text: The text column.
            marks: How many.

        Returns:
            The text with its marks.
        """
        return text + "!" * marks

    assert hf.perturbations.exclaimed_often is exclaimed_often
    assert "exclaimed_often" in dir(hf.perturbations)
    frame = pl.DataFrame({"id": ["a"], "text": ["Oh"]})
    assert frame.select(exclaimed_often(marks=2).on(pl.col("text"), id="id")).item() == "Oh!!"
    assert frame.select(exclaimed_often.function(pl.col("text"))).item() == "Oh!"
    assert str(exclaimed_often.__doc__).startswith(
        "Add exclamation marks.\n\nArgs:\n    marks: How many.\n    fields: "
    )
    assert "The text with its marks" not in str(exclaimed_often.__doc__)


def test_a_perturbation_without_types_and_docstring_has_a_factory() -> None:
    bare = perturbation("bare_text", takes="text")(lambda text, times=1: text * times)
    assert str(inspect.signature(bare.function)) == "(text, times=1)"
    assert list(inspect.signature(bare).parameters) == ["times", "fields", "protect"]


def test_a_new_file_is_all_that_a_new_perturbation_and_a_new_adapter_need(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "helmframe", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "specs").symlink_to(PACKAGE.parent / "specs")
    head = "import polars as pl\n\nfrom helmframe.{package} import {name}\n\n\n"
    (tmp_path / "helmframe" / "perturbations" / "shouts.py").write_text(
        head.format(package="perturbations.factory", name="perturbation")
        + '@perturbation("shouted")\ndef shouted(text: pl.Expr, marks: int = 1) -> pl.Expr:\n'
        '    """Shout."""\n    return text.str.to_uppercase() + "!" * marks\n'
    )
    (tmp_path / "helmframe" / "adapters" / "whispers.py").write_text(
        head.format(package="adapters.adapt", name="adapter")
        + '@adapter("whispered")\ndef whispered(variants: pl.LazyFrame, adapter: object) -> pl.LazyFrame:\n'
        '    """Whisper."""\n    question = "psst: " + pl.col("perturbed_input")\n'
        "    choices = pl.lit(None, dtype=pl.List(pl.String))\n"
        '    return variants.with_columns(question=question, answer=pl.lit("a"), choices=choices)\n'
    )
    script = (
        "import helmframe as hf, sys\n"
        "assert 'helmframe.perturbations.shouts' not in sys.modules\n"
        "plan = hf.scenario('sampler').limit(1).perturb(hf.perturbations.shouted(marks=2))\n"
        "print('shouted' in hf.list_perturbations()['name'], 'shouted' in dir(hf.perturbations))\n"
        "print(plan.adapt(method='whispered', shots=0).requests().collect()['prompt'].to_list())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    names, prompts = done.stdout.strip().splitlines()
    assert names == "True True"
    assert "psst: " in prompts
    assert prompts.endswith("!!']")
