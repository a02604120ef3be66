"""The draft of a plan for a run entry, which each expander changes."""

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
    """The draft of one plan.

    Args:
        spec: The scenario.
        where: The parameters of the scenario.
        adapter: The adapter fields that differ from the spec's.
        decoding: The decoding parameters that differ from the spec's.
        outputs: The number of completions per request; None: the spec's.
        models: The names of the models.
        variants: The perturbations.
        instances: The number of instances that HELM samples; None: all.
        split: The only split; "": HELM's evaluation splits, valid and test.
        condition: An SQL condition on the instances, in addition to the parameters.
        metrics: The metrics, instead of the scenario's own.
        sweep: The fields ("adapter.shots", "decoding.temperature", …) that distinguish this plan from
            others of the same entry.
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
        return settings(self.spec, self.adapter, self.decoding, "helm")[0].for_subset(subset)

    def adapt(self, **fields: Any) -> "Draft":
        """Return the draft with these adapter fields."""
        return replace(self, adapter=merged(self.adapter, frozen(fields)))

    def decode(self, **parameters: Any) -> "Draft":
        """Return the draft with these decoding parameters."""
        return replace(self, decoding=merged(self.decoding, frozen(parameters)))

    def plan(self) -> Plan:
        """Return the plan; its builder methods check the values."""
        base = scenario(self.spec.scenario, compat="helm")
        where = {key: thawed(value) for key, value in self.where}
        if self.split or self.instances is None:
            where["split"] = self.split or ["valid", "test"]
        plan = base.where(**where) if where else base
        plan = plan.where(Sql(self.condition, narrows=True)) if self.condition else plan
        if self.instances is not None:
            plan = plan.sample(self.instances, order="helm")
        if self.adapter:
            plan = plan.adapt(**self._field_values("adapter", self.adapter))
        decoding = self._field_values("decoding", self.decoding)
        if self.models:
            models = list(self.models) if len(self.models) > 1 else self.models[0]
            plan = plan.generate(models, n=self.outputs, **decoding)
        elif decoding or self.outputs:
            # the entry names no model: .generate(model) adds it later
            spec = spec_of(plan)
            plan = Plan(replace(spec, decoding=frozen(decoding), outputs=self.outputs or spec.outputs))
        plan = plan.perturb(list(self.variants)) if self.variants else plan
        return plan.metrics(*self.metrics) if self.metrics else plan

    def without_models(self) -> "Draft":
        """Return the draft with no model."""
        return replace(self, models=())

    def missing_rows(self) -> str | None:
        """Return why rows that the draft needs are missing; None if no row is missing."""
        try:
            self.without_models().plan()
        except (NoInstancesError, SourceMissingError) as error:
            return str(error)
        return None

    def _field_values(self, field: str, pairs: Pairs) -> Mapping[str, Any]:
        """Return the values of a field's pairs; a swept value is a list of one, so that its setting has a name."""
        values = {key: thawed(value) for key, value in pairs}
        return {key: [value] if f"{field}.{key}" in self.sweep else value for key, value in values.items()}
