"""Charts are drawn from small tables and carry what the table says."""

import helmframe as hf


def results() -> hf.Results:
    plan = hf.scenario("sampler").where(subject="music").perturb("typos")
    return plan.generate({"good": hf.models.oracle(), "bad": hf.models.noisy(0.3)}).score()


def test_scores_shows_each_model_with_its_interval_and_chance() -> None:
    chart = results().plot.scores().to_dict()
    data = next(iter(chart["datasets"].values()))
    assert {row["model"] for row in data} == {"good", "bad"}
    assert [layer["mark"]["type"] for layer in chart["layer"]] == ["rule", "point", "rule"]
    assert any(row.get("chance") == 0.25 for rows in chart["datasets"].values() for row in rows)


def test_a_chart_becomes_an_image_without_a_network() -> None:
    import io

    out = io.BytesIO()
    results().plot.scores().save(out, format="png")
    assert out.getvalue().startswith(b"\x89PNG")


def test_a_hostile_name_stays_text_in_the_chart() -> None:
    name = "</script><script>alert(1)</script>"
    plan = hf.scenario("sampler").where(subject="music").limit(2).generate({name: hf.models.oracle()})
    chart = plan.score().plot.scores().to_dict()
    assert any(row.get("model") == name for rows in chart["datasets"].values() for row in rows)
