"""What a run entry has said so far: the words of a sentence, which each expander changes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from helmframe._core.specs import Pairs, ScenarioSpec, Sql, frozen, merged, thawed
from helmframe._plan import Plan, scenario, spec_of
from helmframe.adapters.adapt import Setting, settings
from helmframe.errors import NoInstancesError, SourceMissingError
from helmframe.perturbations.call import PerturbationCall


@dataclass(frozen=True)
class Draft:
    """The words of one plan.

    Args:
        spec: the scenario.
        where: its parameters.
        adapter: fields of the adapter that differ from the spec's.
        decoding: decoding parameters that differ from the spec's.
        outputs: completions of each request; None: as the spec says.
        models: who answers.
        variants: the perturbations.
        instances: how many HELM draws; None: all.
        split: the only split; "": HELM's evaluation splits, valid and test.
        condition: SQL that says which instances, beside the parameters.
        metrics: The metrics, instead of the scenario's own.
        sweep: "adapter.shots", "decoding.temperature", …: words that tell this plan from others of the same entry.
    """

    spec: ScenarioSpec
    where: Pairs = ()
    adapter: Pairs = ()
    decoding: Pairs = ()
    outputs: int | None = None
    models: tuple[str, ...] = ()
    variants: tuple[PerturbationCall, ...] = ()
    instances: int | None = None
    split: str = ""
    condition: str = ""
    metrics: tuple[str, ...] = ()
    sweep: frozenset[str] = frozenset()

    @property
    def setting(self) -> Setting:
        """Return the setting of this draft's subset: the adapter filled up with defaults, and decoding parameters."""
        parameters = dict(self.where)
        subset = "/".join(str(parameters.get(column, "")) for column in self.spec.subsets)
        return settings(self.spec, self.adapter, self.decoding)[0].for_subset(subset)

    def adapt(self, **fields: Any) -> "Draft":
        """With these fields of the adapter."""
        return replace(self, adapter=merged(self.adapter, frozen(fields)))

    def decode(self, **parameters: Any) -> "Draft":
        """With these decoding parameters."""
        return replace(self, decoding=merged(self.decoding, frozen(parameters)))

    def plan(self) -> Plan:
        """The sentence, as the verbs check it."""
        base = scenario(self.spec.scenario, compat="helm")
        where = {key: thawed(value) for key, value in self.where}
        if self.split or self.instances is None:
            where["split"] = self.split or ["valid", "test"]
        plan = base.where(**where) if where else base
        plan = plan.where(Sql(self.condition, narrows=True)) if self.condition else plan
        if self.instances is not None:
            plan = plan.sample(self.instances, order="helm")
        if self.adapter:
            plan = plan.adapt(**self._words("adapter", self.adapter))
        decoding = self._words("decoding", self.decoding)
        if self.models:
            models = list(self.models) if len(self.models) > 1 else self.models[0]
            plan = plan.generate(models, n=self.outputs, **decoding)
        elif decoding or self.outputs:
            # said without a model: who answers is added later, by .generate(model)
            spec = spec_of(plan)
            plan = Plan(replace(spec, decoding=frozen(decoding), outputs=self.outputs or spec.outputs))
        plan = plan.perturb(list(self.variants)) if self.variants else plan
        return plan.metrics(*self.metrics) if self.metrics else plan

    def without_models(self) -> "Draft":
        """Return the draft with no model."""
        return replace(self, models=())

    def missing_rows(self) -> str | None:
        """Return why rows that the draft needs are missing; None if they are there."""
        try:
            self.without_models().plan()
        except (NoInstancesError, SourceMissingError) as error:
            return str(error)
        return None

    def _words(self, field: str, pairs: Pairs) -> Mapping[str, Any]:
        """A grid of one where the entry sweeps, so that its setting has a name."""
        values = {key: thawed(value) for key, value in pairs}
        return {key: [value] if f"{field}.{key}" in self.sweep else value for key, value in values.items()}
