"""How comparisons show themselves."""

import polars as pl

import helmframe as hf

HOSTILE = "<img src=x onerror=alert(1)>"


def compared(*perturbations: str, name: str = "bad") -> pl.DataFrame:
    rows = pl.DataFrame({"q": [f"question {place}?" for place in range(40)], "a": ["yes"] * 40})
    plan = hf.scenario(rows, input="q", references="a").metrics("exact_match")
    models = {name: hf.models.noisy(0.4), "good": hf.models.oracle()}
    return plan.perturb(list(perturbations)).generate(models).score().compare("model", base="good")


def test_one_row_is_shown_in_short() -> None:
    head, row, *notes = str(compared()).splitlines()
    assert head.split("  ")[0] == "a"
    assert "p (Holm)" not in head
    assert row.split()[:2] == ["bad", "good"]
    assert notes[-2:] == [
        "test: McNemar mid-p",
        "higher is better for exact_match: a difference above 0 favours a",
    ]


def test_several_rows_have_joint_intervals_and_holms_p() -> None:
    head = str(compared("typos")).splitlines()[0]
    assert head.startswith("perturbation")
    assert "joint interval" in head
    assert "p (Holm)" in head


def test_long_names_are_cut_and_stay_two() -> None:
    instruction = "Answer with one letter, and with nothing else, please."
    plan = hf.scenario("sampler").limit(1).adapt(instructions=[f"{instruction} Now.", f"{instruction} Soon."])
    row = str(plan.generate(hf.models.oracle()).score().compare("setting")).splitlines()[1]
    assert "Soon" not in row
    assert row.split("  ")[0] == "instructions=Answer with one letter, and… (2)"
    assert "and…  " in row


def test_it_is_a_frame_in_all_else() -> None:
    table = compared("typos")
    assert table.filter(perturbation="typos").height == 1
    assert table["joint_low"].to_list() <= table["ci_low"].to_list()


def test_names_are_escaped() -> None:
    html = compared(name=HOSTILE)._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=x" in html
