"""Charts show and save themselves without a network, whatever text is in them."""

import io
import json

import altair as alt

import helmframe as hf
from helmframe.views.charts.offline import LayerChart
from tests.views.charts.drawn import HOSTILE, png, scores


def chart() -> LayerChart:
    found = hf.charts.scores(scores({HOSTILE: 0.5, "b": 0.2}))
    assert isinstance(found, LayerChart)
    return found


def html() -> str:
    out = io.StringIO()
    chart().save(out, format="html")
    return out.getvalue()


def test_a_page_carries_its_scripts() -> None:
    page = html()
    assert "<script src" not in page
    assert len(page) > 500_000


def test_no_text_ends_the_script_that_holds_it() -> None:
    for page in (html(), chart().to_html()):
        assert "<script>alert" not in page
        assert "\\u003cscript>alert(1)\\u003c/script>" in page


def test_images_need_no_browser() -> None:
    assert png(chart()).startswith(b"\x89PNG")
    out = io.StringIO()
    chart().save(out, format="svg")
    assert "<svg" in out.getvalue()
    assert "<script" not in out.getvalue()


def test_a_notebook_gets_what_jupyter_draws_itself_and_an_image() -> None:
    bundle, about = chart()._repr_mimebundle_()
    assert bundle["application/vnd.vegalite.v5+json"]["layer"]
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert about["image/png"]["width"] > 100
    assert "text/html" not in bundle


def test_a_renderer_that_the_user_enabled_is_used() -> None:
    with alt.renderers.enable("json"):
        bundle = chart()._repr_mimebundle_()
    assert list(bundle[0] if isinstance(bundle, tuple) else bundle) == ["application/json", "text/plain"]
    with alt.renderers.enable("html"):
        bundle = chart()._repr_mimebundle_()
    assert "<script>alert" not in json.dumps(bundle)
    assert "script>alert(1)" in json.dumps(bundle)


def test_what_altair_makes_of_a_chart_is_still_one_of_ours() -> None:
    assert isinstance(chart().properties(width=100), LayerChart)
    assert isinstance(chart().interactive(), LayerChart)
