"""Suites: several plans that share one queue per model."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import polars as pl

from helmframe._core.specs import UNSET, AdapterFields, Integers, Numbers, Reasoning, Sql, Stops
from helmframe._core.yaml import read_yaml, specs_root
from helmframe._pipeline import PlanSpec, Skipped, corpus_overlap
from helmframe._plan import Plan, plan_of, spec_of
from helmframe._plan_yaml import dump_suite, foreign_effects, read_plan, refuse_effects
from helmframe._run import Run, load_results, start_run
from helmframe._schema import COMPLETIONS
from helmframe.config import from_home
from helmframe.early_stopping.rules import Until
from helmframe.engines import Engine, local, resolve_engine
from helmframe.errors import MISSING_PARTS, HelmframeError, SpecError, UnknownNameError
from helmframe.models.budget import Budget, Prices
from helmframe.perturbations.call import PerturbationCall

if TYPE_CHECKING:
    from helmframe.results import Results


@dataclass(frozen=True)
class Suite:
    """Plans that run together: requests to the same model share its queue and fill the same batches.

    A suite has the methods of `Plan`. Builder methods change every plan; terminal methods return one table, or one
    `Results`, over all plans. `hf.suite(…)` returns a suite.

    >>> import helmframe as hf
    >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
    >>> suite = hf.suite(*plans).perturb("lowercase").generate(hf.models.oracle())
    >>> suite.variants().collect().height
    8
    >>> suite.score().completions.collect().height
    8
    """

    plans: tuple[Plan, ...]
    skipped: tuple[Skipped, ...] = ()  # plans of a file that lack a part, such as a word table

    # -- builder methods ---------------------------------------------------------------------------------------------

    def where(self, /, *conditions: str | pl.Expr | Sql, **equals: Any) -> "Suite":
        """Return the suite over the instances that meet all conditions. See `Plan.where`.

        >>> import helmframe as hf
        >>> suite = hf.suite(hf.scenario("sampler"), hf.scenario("everyday")).where("length(input) < 20")
        >>> suite.instances().collect()["scenario"].unique().sort().to_list()
        ['everyday', 'sampler']
        """
        return map_plans(self, lambda plan: plan.where(*conditions, **equals))

    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        order: str | None = None,
        like: "Results | Mapping[str, Sequence[str]] | None" = None,
    ) -> "Suite":
        """Return the suite over a random sample of instances, n per subset. See `Plan.sample`.

        >>> import helmframe as hf
        >>> suite = hf.suite(hf.scenario("sampler").where(subject="music"), hf.scenario("everyday")).sample(2)
        >>> suite.instances().collect().height  # of one subset and of eight
        18
        """
        return map_plans(self, lambda plan: plan.sample(n, seed, order=order, like=like))

    def limit(self, n: int) -> "Suite":
        """Return the suite over the first n instances of each subset. See `Plan.limit`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject) for subject in ("music", "biology")]
        >>> hf.suite(*plans).limit(3).instances().collect().height
        6
        """
        return map_plans(self, lambda plan: plan.limit(n))

    def perturb(
        self,
        perturbations: str | PerturbationCall | Sequence[str | PerturbationCall],
        *,
        seeds: int = 1,
        compat: str | None = None,
    ) -> "Suite":
        """Return the suite with perturbed variants of each instance. See `Plan.perturb`.

        >>> import helmframe as hf
        >>> suite = hf.suite(hf.scenario("sampler"), hf.scenario("everyday")).limit(1).perturb("lowercase")
        >>> suite.variants().collect()["perturbation"].unique().sort().to_list()
        ['lowercase', 'original']
        """
        return map_plans(self, lambda plan: plan.perturb(perturbations, seeds=seeds, compat=compat))

    def adapt(self, /, **fields: Unpack[AdapterFields]) -> "Suite":
        """Return the suite with these fields of the adapter in every plan. See `Plan.adapt`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(1) for subject in ("music", "biology")]
        >>> prompts = hf.suite(*plans).adapt(shots=0, instructions="Answer briefly.").requests().collect()["prompt"]
        >>> [prompt.splitlines()[0] for prompt in prompts]
        ['Answer briefly.', 'Answer briefly.']
        """
        return map_plans(self, lambda plan: plan.adapt(**fields))

    def generate(
        self,
        model: Any,
        *,
        n: int | None = None,
        max_tokens: Integers = UNSET,
        temperature: Numbers = UNSET,
        top_p: Numbers = UNSET,
        top_k: Integers = UNSET,
        stop: Stops = UNSET,
        seed: Integers = UNSET,
        presence_penalty: Numbers = UNSET,
        frequency_penalty: Numbers = UNSET,
        reasoning: Reasoning = UNSET,
        json_schema: Any = UNSET,
        **options: Any,
    ) -> "Suite":
        """Return the suite with these models in every plan. See `Plan.generate`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
        >>> models = {"best": hf.models.oracle(), "guess": hf.models.noisy(0.25)}
        >>> hf.suite(*plans).generate(models).score().completions.collect().height
        8
        """
        return map_plans(
            self,
            lambda plan: plan.generate(
                model,
                n=n,
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                stop=stop,
                seed=seed,
                presence_penalty=presence_penalty,
                frequency_penalty=frequency_penalty,
                reasoning=reasoning,
                json_schema=json_schema,
                **options,
            ),
        )

    def metrics(self, *metrics: Any) -> "Suite":
        """Return the suite with these metrics in every plan. See `Plan.metrics`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
        >>> suite = hf.suite(*plans, models=hf.models.oracle()).metrics("exact_match", "f1_score")
        >>> suite.score().metric_names
        ['exact_match', 'f1_score']
        """
        return map_plans(self, lambda plan: plan.metrics(*metrics))

    # -- YAML --------------------------------------------------------------------------------------------------------

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the suite as YAML, which `Suite.from_yaml` reads; also write it to `path`.

        Raises:
            PlanError: A plan has an object that YAML can't contain: a frame, a function or an expression.

        >>> import helmframe as hf
        >>> suite = hf.suite(hf.scenario("sampler").limit(1))
        >>> Suite.from_yaml(suite.to_yaml()) == suite
        True
        """
        text = dump_suite([spec_of(plan) for plan in self.plans])
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_yaml(cls, source: str | Path, *, trusted: bool = False) -> "Suite":
        """Return the suite in a YAML text or file (a `Path`, or a name that ends in .yaml).

        Args:
            source: The text or file.
            trusted: Whether the file may run Python code and send environment variables, as in `Plan.from_yaml`.

        Raises:
            SpecError: The text isn't YAML, or a key, type or value is invalid. The message has file and plan.
            PlanError: The file needs `trusted=True`. The message lists what it would do.
            UnknownNameError: No scenario, perturbation, metric or method has that name.

        >>> suite = Suite.from_yaml("plans: [{scenario: sampler, limit: 1}, {scenario: boolq, limit: 1}]")
        >>> len(suite.plans)
        2
        """
        file, mapping = read_plan(source)
        return suite_of(plans_of(mapping, file, trusted=trusted))

    # -- terminal methods --------------------------------------------------------------------------------------------

    def instances(self) -> pl.LazyFrame:
        """Return `INSTANCES` of all plans. See `Plan.instances`.

        >>> import helmframe as hf
        >>> suite = hf.suite(hf.scenario("sampler"), hf.scenario("everyday")).limit(1)
        >>> suite.instances().collect()["scenario"].unique().sort().to_list()
        ['everyday', 'sampler']
        """
        return pl.concat([plan.instances() for plan in self.plans], how="diagonal_relaxed")

    def overlap(
        self,
        corpus: str | Path | Sequence[str | Path],
        n: int | Sequence[int] = 13,
        *,
        text: str = "text",
        tokens: str = "full",
    ) -> pl.DataFrame:
        """Return the n-grams that the instances of all plans share with a corpus, in one pass. See `Plan.overlap`.

        >>> import tempfile
        >>> from pathlib import Path
        >>> import polars as pl
        >>> import helmframe as hf
        >>> corpus = Path(tempfile.mkdtemp()) / "corpus.parquet"
        >>> pl.DataFrame({"text": ["So, what is the capital of France? It is Paris."]}).write_parquet(corpus)
        >>> faq = pl.DataFrame({"input": ["What is the capital of France?"], "references": ["Paris"]})
        >>> hf.suite(hf.scenario(faq)).overlap(corpus, n=5)["n_overlapping"].to_list()
        [2, 0, 0]
        """
        return corpus_overlap(self._specs(), corpus, n, text=text, tokens=tokens)

    def variants(self) -> pl.LazyFrame:
        """Return `VARIANTS` of all plans. See `Plan.variants`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(1) for subject in ("music", "biology")]
        >>> hf.suite(*plans).perturb("lowercase").variants().collect().select("subset", "perturbation").rows()
        [('music', 'original'), ('music', 'lowercase'), ('biology', 'original'), ('biology', 'lowercase')]
        """
        return pl.concat([plan.variants() for plan in self.plans], how="diagonal_relaxed")

    def requests(self) -> pl.LazyFrame:
        """Return `REQUESTS` of all plans, with `prompt`. See `Plan.requests`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(1) for subject in ("music", "biology")]
        >>> hf.suite(*plans).adapt(shots=0).requests().collect()["prompt"].str.count_matches("Question:").to_list()
        [1, 1]
        """
        return pl.concat([plan.requests() for plan in self.plans], how="diagonal_relaxed")

    def explain(self, *, prices: Prices | None = None) -> str:
        """Return a description of the run of each plan, and the plans that lack a part. See `Plan.explain`.

        Raises:
            HelmframeError: Each plan lacks a part. It is the first error.

        >>> import helmframe as hf
        >>> suite = hf.suite(hf.scenario("sampler"), hf.scenario("everyday")).limit(1)
        >>> suite.explain().count("scenario")
        2
        """
        errors: list[HelmframeError] = []

        def text(plan: Plan) -> str:
            try:
                return plan.explain(prices=prices)
            except MISSING_PARTS as error:
                errors.append(error)
                return _skip_text(Skipped(_scenario_names(plan), str(error)))

        texts = list(map(text, self.plans))
        if errors and len(errors) == len(texts):
            raise errors[0]
        return "\n\n".join([*texts, *map(_skip_text, self.skipped)])

    def score(
        self,
        *,
        fresh: bool = False,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        until: Until | None = None,
        engine: Engine = "local",
        priority: int = 0,
        resume: str | None = None,
    ) -> "Results":
        """Run all plans together and return one `Results`. The arguments are those of `Plan.score`.

        A plan that lacks a part is skipped, and the other plans run: rows, a subset, a word table, a classifier, a
        sandbox, or a capability of a model. The notes below the results list the skipped plans and how to provide the
        parts; so does `results.manifest["skipped"]`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
        >>> hf.suite(*plans, models=hf.models.oracle()).score().completions.collect().height
        4
        """
        budget = Budget(max_requests, max_cost, prices, priority)
        options: dict[str, Any] = {"fresh": fresh, "resume": resume, "until": until, "budget": budget}
        folder = resolve_engine(engine)(self._specs(), **options, skipped=self.skipped)
        return load_results(folder.path)

    def submit(
        self,
        *,
        fresh: bool = False,
        max_requests: int | None = None,
        max_cost: float | None = None,
        prices: Prices | None = None,
        until: Until | None = None,
        engine: Engine = "local",
        priority: int = 0,
        resume: str | None = None,
    ) -> Run:
        """Run all plans in the background and return a live `Run` at once. See `Plan.submit`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
        >>> hf.suite(*plans, models=hf.models.oracle()).submit().wait().completions.collect().height
        4
        """
        budget = Budget(max_requests, max_cost, prices, priority)
        options: dict[str, Any] = {"fresh": fresh, "resume": resume, "until": until, "engine": engine}
        return start_run(self._specs(), budget=budget, **options, skipped=self.skipped)

    def results(self, *, until: Until | None = None, resume: str | None = None) -> "Results":
        """Return the results of the cached completions. See `Plan.results`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
        >>> suite = hf.suite(*plans, models=hf.model(lambda prompt: "A", name="suite-a", version="1"))
        >>> _ = suite.score()
        >>> suite.results().completions.collect()["completion"].null_count()
        0
        """
        return load_results(local.run(self._specs(), send=False, resume=resume, until=until, skipped=self.skipped).path)

    def completions(self) -> pl.LazyFrame:
        """Run all plans as `score()` does, and return `COMPLETIONS`. See `Plan.completions`.

        >>> import helmframe as hf
        >>> plans = [hf.scenario("sampler").where(subject=subject).limit(2) for subject in ("music", "biology")]
        >>> completions = hf.suite(*plans, models=hf.models.oracle()).completions().collect()
        >>> completions["subset"].sort().to_list()
        ['biology', 'biology', 'music', 'music']
        """
        return self.score().completions.select(
            pl.col(list(COMPLETIONS.schema)), pl.all().exclude(list(COMPLETIONS.schema))
        )

    def _specs(self) -> list[PlanSpec]:
        return [spec_of(plan) for plan in self.plans]


_MOST_PLANS = 2_000  # of a file


class Missing(NamedTuple):
    """A plan that lacks a part: its scenario, and the error, which is one of `MISSING_PARTS`."""

    scenario: str
    error: HelmframeError


def suite_of(plans: Iterable[Plan | Missing], skipped: Sequence[Skipped] = ()) -> Suite:
    """Return the suite of the plans; it skips those that lack a part.

    Raises:
        HelmframeError: Each plan lacks a part. It is the first error.
    """
    usable: dict[Plan, None] = {}
    missing: list[Missing] = []
    for plan in plans:
        if isinstance(plan, Missing):
            missing.append(plan)
        else:
            usable[plan] = None
    if missing and not usable:
        raise missing[0].error
    return Suite(tuple(usable), (*skipped, *(Skipped(scenario, str(error)) for scenario, error in missing)))


def map_plans(suite: Suite, change: Callable[[Plan], Plan]) -> Suite:
    """Return the suite with every plan changed; plans that then lack a part are skipped, unless all do."""
    return suite_of((_changed(plan, change) for plan in suite.plans), suite.skipped)


def _changed(plan: Plan, change: Callable[[Plan], Plan]) -> Plan | Missing:
    try:
        return change(plan)
    except MISSING_PARTS as error:
        return Missing(_scenario_names(plan), error)


def _scenario_names(plan: Plan) -> str:
    return ", ".join(spec.scenario for spec in spec_of(plan).scenarios)


def _skip_text(skipped: Skipped) -> str:
    return f"skipped: {skipped.scenario}: {skipped.reason}"


def plans_of(mapping: object, file: str, *, trusted: bool = False) -> Iterator[Plan | Missing]:
    """Yield the plans of a suite's YAML: those of `plans`, with defaults from `each`; null removes a default.

    Without `plans`, `suite` is the name or path of another suite, and the other keys replace those of its plans.

    Raises:
        SpecError: A key, type or value is invalid. The message has file and plan.
        PlanError: The file isn't trusted, and would run code or send environment variables.
    """
    name, content, over = suite_content(mapping, file)
    if not trusted:
        refuse_effects(file, foreign_effects([content, over]), "hf.suite(path, trusted=True)")
    yield from _plans(content, name, over, trusted)


def suite_content(mapping: object, file: str) -> tuple[str, object, dict[str, Any]]:
    """Return the name and content of the file with a suite's plans, and the keys that replace those of the plans."""
    if isinstance(mapping, Mapping) and isinstance(mapping.get("suite"), str) and "plans" not in mapping:
        path = suite_path(mapping["suite"], near=Path(file).parent)
        over = {key: value for key, value in mapping.items() if key not in ("suite", "description")}
        return path.name, read_yaml(path), over
    return Path(file).name, mapping, {}


def _plans(mapping: object, file: str, over: dict[str, Any], trusted: bool) -> Iterator[Plan | Missing]:
    if not isinstance(mapping, Mapping) or not isinstance(mapping.get("plans"), list):
        raise SpecError.at(file, "plans", "must be a list of plans, each {scenario: NAME, …}.")
    if len(mapping["plans"]) > _MOST_PLANS:
        raise SpecError.at(file, "plans", f"has {len(mapping['plans']):,} plans; at most {_MOST_PLANS:,} are allowed.")
    for key in mapping:
        if key not in ("suite", "description", "each", "plans"):
            raise SpecError.unknown_key(file, str(key), ("suite", "description", "each", "plans"))
    shared = mapping.get("each") or {}
    if not isinstance(shared, Mapping):
        raise SpecError.at(file, "each", f"must be {{generate: MODEL, …}}, not {shared!r}.")
    for index, plan in enumerate(mapping["plans"]):
        if not isinstance(plan, dict):
            raise SpecError.at(file, f"plans[{index}]", f"must be {{scenario: NAME, …}}, not {plan!r}.")
        merged = {verb: value for verb, value in ({**shared, **plan, **over}).items() if value is not None}
        for verb, other in (("sample", "limit"), ("limit", "sample")):  # one replaces the other
            if verb in over:
                merged.pop(other, None)
        try:
            yield plan_of(merged, trusted=trusted)
        except HelmframeError as error:
            # an invalid value of a plan is a SpecError, whose cause may be a missing part
            cause = error if isinstance(error, MISSING_PARTS) else error.__cause__
            if not isinstance(cause, MISSING_PARTS):
                raise SpecError.at(file, f"plans[{index}]", str(error)) from error
            yield Missing(str(merged.get("scenario")), cause)


def suite_names() -> list[str]:
    """Return the names of all suites, sorted."""
    return sorted(file.stem for file in (specs_root() / "suites").glob("*.yaml"))


def suite_path(source: str, near: Path | None = None) -> Path:
    """Return the file of a suite: a name of `suite_names`, or a path, which may be relative to the folder `near`.

    Raises:
        SpecError: The file doesn't exist.
        UnknownNameError: No suite has that name.
    """
    if source.endswith((".yaml", ".yml")) or "/" in source:
        path = from_home(source)
        if near is not None and not path.exists():
            path = near / source
        if not path.is_file():
            raise SpecError.at(source, "", "file not found.")
        return path
    if source not in suite_names():
        hint = "Or write plans, or the path of a YAML file with plans: hf.suite(plan, …)."
        raise UnknownNameError.among("suite", source, suite_names(), hint=hint)
    return specs_root() / "suites" / f"{source}.yaml"
