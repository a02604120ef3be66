"""Charts of results, as Altair charts over aggregated tables."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe.results import Results

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class Plot:
    """The charts of some results; each is an Altair chart over a table that is small already."""

    results: Results

    def scores(self, metric: str | None = None) -> "alt.LayerChart":
        """Score with its interval, by whatever the run varied, one colour per model; chance as a line.

        Args:
            metric: default the main one.
        """
        name = metric or self.results.main_metrics[0]
        return scores(self.results.table(metrics=name), title=name)


def scores(table: pl.DataFrame, title: str = "score") -> "alt.LayerChart":
    """A table of `results.table()` as points with intervals.

    Args:
        table: columns model, value, ci_low, ci_high and what tells the rows apart; `chance` where there is one.
        title: the axis title: the metric.
    """
    import altair as alt

    rows = [name for name in ("scenario", "setting", "perturbation") if name in table.columns]
    varied = [pl.col(name) for name in rows if table[name].n_unique() > 1]
    data = table.with_columns(label=pl.concat_str(varied or [pl.lit(title)], separator=" · "))
    order = data["label"].unique(maintain_order=True).to_list()
    place = alt.Y("label:N", title=None, sort=order)
    colour = alt.Color("model:N", title="model", scale=alt.Scale(scheme="tableau10"))
    base = alt.Chart(data)
    shift = alt.YOffset("model:N")
    top = table.select(pl.max_horizontal(pl.coalesce("ci_high", "value").max(), 1.0)).item()
    value = alt.X("value:Q", title=title, scale=alt.Scale(domain=[0, top]))
    details: list[Any] = [alt.Tooltip(f"{name}:N") for name in (*rows, "model")]
    details += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "ci_low", "ci_high")]
    whiskers = base.mark_rule().encode(
        y=place, yOffset=shift, x=alt.X("ci_low:Q", title=title), x2="ci_high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=place, yOffset=shift, x=value, color=colour, tooltip=details
    )
    layers = [whiskers, points]
    if table["chance"].is_not_null().any():
        chance = alt.Chart(data.select("chance").drop_nulls().unique())
        layers.append(chance.mark_rule(strokeDash=[4, 4], color="gray").encode(x="chance:Q"))
    chart: alt.LayerChart = alt.LayerChart(layer=layers).properties(width=360)
    return chart
