"""The plan: builder methods return a new plan and run nothing; terminal methods execute it.

A plan has a `PlanSpec`, which the functions of `_pipeline.py` and the engines read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import polars as pl

from helmframe._core.checks import is_integer
from helmframe._core.registry import render
from helmframe._core.safe_text import show_invisible
from helmframe._core.specs import (
    MOST_REPEATS,
    UNSET,
    AdapterFields,
    Between,
    Condition,
    Equals,
    Expression,
    Integers,
    NamedValues,
    Numbers,
    Reasoning,
    Sample,
    Sql,
    Stops,
    credential_error,
    decoding_pairs,
    frozen,
    merged,
    set_values,
)
from helmframe._core.yaml import reading
from helmframe._pipeline import (
    PlanSpec,
    adapt_variants,
    check_capabilities,
    corpus_overlap,
    load_instances,
    perturb_instances,
    plan_tasks,
    selects_split,
    train_pool,
)
from helmframe._plan_yaml import dump_plan, load_steps
from helmframe._run import Run, load_results, start_run
from helmframe._schema import COMPLETIONS, VARIANTS
from helmframe.config import check_address, find_credential, redacted
from helmframe.early_stopping.rules import Until
from helmframe.engines import Engine, local, resolve_engine
from helmframe.errors import ArgumentError, NotAModelError, SpecError
from helmframe.judging.judge import refuse_pairs, with_judges
from helmframe.judging.query import query_function, with_models
from helmframe.metrics.protocol import resolve_metrics
from helmframe.models.budget import Budget, Prices
from helmframe.models.fit import fit
from helmframe.models.generate import NUMBERS, check_decoding
from helmframe.models.model import Model, Prompt, Response
from helmframe.models.prompts import requests_by_turn, with_unknown_completions
from helmframe.models.protocol import check_spelling, models_of
from helmframe.perturbations.call import PerturbationCall
from helmframe.perturbations.parsing import variants
from helmframe.scenarios import check_where, find_scenarios, frame_scenario, is_rows_file

if TYPE_CHECKING:
    from helmframe.results import Results

# The decoding parameters for which a dict is a grid with names.
_GRIDS = (*NUMBERS, "stop", "reasoning")


@dataclass(frozen=True, repr=False)
class Plan:
    """One evaluation: its instances, perturbations, prompts, models and metrics.

    `hf.scenario(…)` returns a plan. Builder methods (`where`, `sample`, `limit`, `perturb`, `adapt`, `generate`,
    `metrics`) return a new plan and run nothing. Their order does not matter, and a list is a grid. Terminal methods
    (`explain`, `instances`, `overlap`, `variants`, `requests`, `completions`, `score`, `results`, `submit`, `to_yaml`)
    execute what they need. `print(plan)` shows the plan as YAML, which `Plan.from_yaml` reads.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(2).perturb("lowercase").generate(hf.models.oracle())
    >>> plan.score().value("exact_match")
    1.0
    """

    _spec: PlanSpec

    # -- builder methods ---------------------------------------------------------------------------------------------

    def where(self, /, *conditions: str | pl.Expr | Sql, **equals: Any) -> "Plan":
        """Return the plan over the instances that meet all conditions, also those of earlier calls.

        Args:
            *conditions: DuckDB SQL over the columns of `instances`, which is pushed into the scan, or a Polars
                expression, which is applied after the scan.
            **equals: The value of a column, a list of allowed values, or `hf.between(low, high)`. They are pushed into
                file paths and row groups.

        Raises:
            ArgumentError: A column or value is unknown, or the SQL is invalid. The message lists near matches.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where("length(input) < 60", subject=["music", "biology"])
        >>> plan.instances().collect()["subset"].unique().sort().to_list()
        ['biology', 'music']
        """
        filters: list[Condition] = []
        for condition in conditions:
            if isinstance(condition, str):
                filters.append(Sql(condition))
            elif isinstance(condition, Sql):
                filters.append(condition)
            elif isinstance(condition, pl.Expr):
                filters.append(Expression.of(condition))
            else:
                raise ArgumentError(f"where({condition!r}): write column=value, SQL as text, or a Polars expression.")
        filters += [_equality(column, value) for column, value in equals.items()]
        row_conditions = tuple(condition for condition in filters if not selects_split(condition))
        for spec in self._spec.scenarios if row_conditions else ():
            check_where(spec, row_conditions, self._spec.data)
        return self._with(filters=self._spec.filters + tuple(filters))

    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        order: str | None = None,
        like: "Results | Mapping[str, Sequence[str]] | None" = None,
    ) -> "Plan":
        """Return the plan over a random sample of instances, n per subset; or over n that predict the full score.

        With `like`, n instances of each scenario are chosen that predict the score on all instances best, from the
        scores of the models of an earlier run. `results.full_scores(like=earlier)` then returns the prediction with its
        interval, and `earlier.subset_errors(n)` its cross-validated error. Scores of the subset itself, as in `table`,
        are not those of a random sample.

        Args:
            n: The number of instances of each subset; with `like`, of each scenario.
            seed: The seed of the sample.
            order: "keyed" hashes each instance id with the seed, so that the sample doesn't depend on the other
                instances. "helm" samples as HELM does, over its evaluation splits (valid and test together). Default
                "keyed", and "helm" in a plan with `compat="helm"`.
            like: Results of at least 5 models on all instances, or {scenario: ids} of chosen instances.

        Raises:
            ArgumentError: `n` isn't an integer ≥ 1, `order` is unknown, or `like` is invalid.
            NotComparableError: Fewer than 5 models of `like` have scores of nearly all instances.

        >>> import helmframe as hf
        >>> hf.scenario("sampler").where(subject=["music", "biology"]).sample(3, seed=1).instances().collect().height
        6
        """
        if like is not None:
            if order is not None:
                raise ArgumentError(f"sample(order={order!r}, like=…): chosen instances have no order. Remove order.")
            return self._with(sampling=Sample(_count("sample", n), 0, "chosen", _chosen(like, n)))
        order = order or ("helm" if self._spec.compat == "helm" else "keyed")
        if not is_integer(seed):
            raise ArgumentError(f"sample(seed={seed!r}): seed must be an integer.")
        if order not in ("keyed", "helm"):
            raise ArgumentError.unknown_value(f"sample(order={order!r})", order, ["keyed", "helm"])
        return self._with(sampling=Sample(_count("sample", n), seed, order))

    def limit(self, n: int) -> "Plan":
        """Return the plan over the first n instances of each subset, by `row_index`.

        >>> import helmframe as hf
        >>> hf.scenario("sampler").where(subject="music").limit(2).instances().collect().height
        2
        """
        return self._with(sampling=Sample(_count("limit", n), 0, "first"))

    def perturb(
        self,
        perturbations: str | PerturbationCall | Sequence[str | PerturbationCall],
        *,
        seeds: int = 1,
        compat: str | None = None,
    ) -> "Plan":
        """Return the plan with perturbed variants of each instance, in addition to the original.

        They replace the perturbations of earlier calls.

        Args:
            perturbations: A name (`"typos"`), a call (`hf.perturbations.typos(prob=.1)`, `"typos(prob=.1)"`), a grid
                (`"typos(prob=[.1, .2])"`), a chain (`"lowercase+typos"`), a preset (`"canonical"`), or a list of
                these. `"rerun"` is the placebo: it requests the original prompt again.
                `hf.list_perturbations()` lists all.
            seeds: The number of samples of each random perturbation.
            compat: "helm" applies HELM's rules and random numbers, so that texts are identical to HELM's. In a plan
                with compat="helm", it is the default for the perturbations that HELM has.

        Raises:
            UnknownNameError: No perturbation has that name. The message lists near matches.
            ArgumentError: The perturbation has no such argument, or doesn't support these scenarios.
            SourceError: The data root has no table that the perturbation reads.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(1).perturb(["lowercase", "typos(prob=.2)"])
        >>> plan.variants().collect()["perturbation"].to_list()
        ['original', 'lowercase', 'typos(prob=0.2)']
        """
        if not is_integer(seeds) or seeds < 1:
            raise ArgumentError(f"perturb(seeds={seeds!r}): seeds must be an integer ≥ 1.")
        if seeds > MOST_REPEATS:
            raise ArgumentError(f"perturb(seeds={seeds!r}): seeds must be at most {MOST_REPEATS:,}.")
        calls: list[Any] = list(perturbations) if isinstance(perturbations, list | tuple) else [perturbations]
        spec = self._spec
        parsed = [
            variant
            for call in calls
            if call != "original"
            for variant in variants(call, seeds, compat, spec.compat, spec.data)
        ]
        for variant in parsed:
            variant.check([scenario.scenario for scenario in spec.scenarios], spec.data)
        return self._with(perturbations=with_models(parsed))

    def adapt(self, /, **fields: Unpack[AdapterFields]) -> "Plan":
        """Return the plan with these fields of the adapter, which turns an instance into a prompt.

        They are merged by key into the fields of earlier calls and of the scenario.

        Args:
            **fields: method, shots, trials, instructions, system, global_prefix, global_suffix, input_prefix,
                input_suffix, reference_prefix, reference_suffix, output_prefix, output_suffix, instance_prefix,
                sample_train, answer_pattern, chat_template, shot_order, cue_space, instructions_suffix,
                reference_prefix_characters, chain_of_thought_prefix, chain_of_thought_suffix, substitutions,
                multi_label, repeats, balance, shots_as, answer_parser, format_instructions, truncation,
                scored_outputs. `hf.adapters.AdapterSpec` documents them. A list is a grid: `shots=[0, 5]`. A dict is
                a grid with names, which tables show: `instructions={"plain": "Answer.", "letter": "Answer A or B."}`.

        Raises:
            ArgumentError: A field is unknown, or a value is invalid.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(1).adapt(shots=0, instructions="Answer briefly.")
        >>> plan.requests().collect()["prompt"][0].splitlines()[0]
        'Answer briefly.'
        """
        for key, value in fields.items():
            if key in NUMBERS or key == "stop":
                raise ArgumentError(
                    f"adapt({key}={value!r}): {key} is a decoding parameter. Write .generate(model, {key}={value!r})."
                )
        values: dict[str, Any] = {
            key: NamedValues(value) if isinstance(value, Mapping) else value for key, value in fields.items()
        }
        return self._checked(adapter=merged(self._spec.adapter, frozen(values)))

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
    ) -> "Plan":
        """Return the plan with these models, which replace earlier ones; decoding parameters are merged by key.

        A list of values of a decoding parameter is a grid (`temperature=[0, .7]`), and a dict is a grid with names
        (`temperature={"greedy": 0, "warm": .7}`). None removes the parameter.

        A failed request is a row with `error`. A model stops if its first 50 requests fail with one permanent error,
        such as HTTP 404 or an exception of its function. Its other requests become rows with the same error, and other
        models continue. Transient errors don't count.

        Args:
            model: Anything that generates text (see `hf.model`), a list of them, or {name: model}.
            n: The number of completions per request.
            max_tokens: The highest number of tokens of a completion.
            temperature: The temperature of sampling; 0 is greedy.
            top_p: The probability mass to sample from.
            top_k: The number of tokens to sample from.
            stop: A text that ends a completion, or a list of such texts.
            seed: The seed of sampling.
            presence_penalty: The penalty of tokens that are in the text.
            frequency_penalty: The penalty of tokens by their number in the text.
            reasoning: The effort of a model that reasons before its answer: "low", "medium" or "high" with 2,048, 8,192
                or 24,576 tokens of head-room, or a number of tokens. They are added to `max_tokens`, so that the answer
                has room after the reasoning. False switches reasoning off. By default a model that is known to reason
                has 2,048 tokens, except with compat="helm".
            json_schema: The JSON schema that completions must match: a dict, JSON text, or a Pydantic model class.
                Servers, vLLM and local models are constrained to it. A function receives it as a dict, if it has a
                parameter `json_schema`. The metric `json_schema_valid` checks completions.
            **options: Further decoding parameters, passed to the model by name.

        Raises:
            NotAModelError: The value isn't a model.
            ArgumentError: A decoding parameter is unknown, or its value is invalid.
            CapabilityError: A model does not support a decoding parameter, or something else that the plan specifies.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(2)
        >>> plan.generate(hf.models.oracle(), temperature=0.0, max_tokens=1).score().value("exact_match")
        1.0
        """
        if isinstance(model, Plan):  # it has a method generate, as models do
            raise NotAModelError.of(model, "it is a plan, which runs models")
        models = models_of(model)
        decoding = set_values(
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
        )
        for key, value in decoding.items():
            path = None if key == "json_schema" else find_credential(key, value)
            if path is not None:
                raise credential_error("generate()", path)
        decoding = {
            key: NamedValues(value) if isinstance(value, Mapping) and key in _GRIDS else value
            for key, value in decoding.items()
        }
        check_spelling(decoding, models)
        for target in models:
            check_decoding(target, decoding)
        if n is not None and (not is_integer(n) or n < 1):
            raise ArgumentError(f"generate(n={n!r}): n must be an integer ≥ 1.")
        if n is not None and n > MOST_REPEATS:
            raise ArgumentError(f"generate(n={n!r}): n must be at most {MOST_REPEATS:,}.")
        merged_decoding = merged(self._spec.decoding, decoding_pairs(decoding, "generate(json_schema=…)"))
        return self._checked(models=models, decoding=merged_decoding, outputs=n or self._spec.outputs)

    def metrics(self, *metrics: Any) -> "Plan":
        """Return the plan with these metrics instead of the scenario's own.

        Args:
            *metrics: Names (`exact_match@5` is the best of five outputs), calls (`"iou_set_match(separator=',')"`),
                judges (`hf.judge(model, "safety")`), Polars expressions with a name over `hf.schema("read")`,
                functions whose parameters are columns, or lists of these.

        Raises:
            UnknownNameError: No metric has that name. The message lists near matches.
            ArgumentError: The value isn't a metric, or the metric has no such argument.
            CapabilityError: The metric needs values that a model does not return.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle())
        >>> plan.metrics("exact_match", "f1_score").score().value("f1_score")
        1.0
        """
        flat = with_judges(metrics)
        counts = Counter(metric.name for metric in resolve_metrics(flat))
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated:
            raise ArgumentError(f"metrics(): {repeated[0]!r} is repeated.")
        refuse_pairs(flat)
        return self._checked(metrics=flat)

    # -- YAML --------------------------------------------------------------------------------------------------------

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the plan as YAML, which `Plan.from_yaml` reads; also write it to `path`.

        Raises:
            PlanError: The plan has an object that YAML can't contain: a frame, a function or an expression.

        >>> import helmframe as hf
        >>> print(hf.scenario("sampler").where(subject="music").limit(2).to_yaml())
        scenario: sampler
        where:
        - {subject: music}
        limit: 2
        <BLANKLINE>
        """
        text = dump_plan(self._spec)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_yaml(cls, source: str | Path, *, trusted: bool = False) -> "Plan":
        """Return the plan in a YAML text or file (a `Path`, or a name that ends in .yaml).

        Args:
            source: The text or file.
            trusted: Whether the file may run Python code (`trust_remote_code`), and send environment variables to the
                servers of its choice as keys (`key_env`). Pass True for files that you wrote or read.

        Raises:
            SpecError: The text isn't YAML, or a key, type or value is invalid. The message has file and key.
            PlanError: The file needs `trusted=True`. The message lists what it would do.
            UnknownNameError: No scenario, perturbation, metric or method has that name.

        >>> Plan.from_yaml("{scenario: sampler, limit: 1}").instances().collect()["scenario"].unique().to_list()
        ['sampler']
        """
        text: object = source  # the types of arguments aren't checked at run time
        if not isinstance(text, str | Path):
            kind = type(text).__name__
            raise SpecError.at("plan", "", f"must be a text in YAML or the path of a file, not {kind}.")
        return plan_of(source, trusted=trusted)

    def __repr__(self) -> str:
        return show_invisible(redacted(dump_plan(self._spec, objects=True)))

    # -- terminal methods --------------------------------------------------------------------------------------------

    def instances(self) -> pl.LazyFrame:
        """Return `INSTANCES` of all scenarios, one row per instance. No request is sent.

        >>> import helmframe as hf
        >>> hf.scenario("sampler").where(subject="music").limit(2).instances().collect().height
        2
        """
        frames = [shard for spec in self._spec.scenarios for shard in load_instances(self._spec, spec)]
        return pl.concat(frames, how="diagonal_relaxed").lazy()

    def overlap(
        self,
        corpus: str | Path | Sequence[str | Path],
        n: int | Sequence[int] = 13,
        *,
        text: str = "text",
        tokens: str = "full",
    ) -> pl.DataFrame:
        """Return the n-grams that each instance shares with a corpus, by field. No request is sent.

        The corpus is streamed once: memory grows with the instances, not with the corpus. Texts are compared exactly.
        An instance is contaminated in HELM's sense if an n-gram of its input or its references is in the corpus.
        `results.table(by="overlap", overlap=…)` compares the scores of clean and contaminated instances.

        >>> import tempfile
        >>> from pathlib import Path
        >>> import polars as pl
        >>> import helmframe as hf
        >>> corpus = Path(tempfile.mkdtemp()) / "corpus.parquet"
        >>> pl.DataFrame({"text": ["So, what is the capital of France? It is Paris."]}).write_parquet(corpus)
        >>> questions = ["What is the capital of France?", "What is 2 + 2?"]
        >>> faq = pl.DataFrame({"input": questions, "references": ["Paris", "4"]})
        >>> overlap = hf.scenario(faq).overlap(corpus, n=5).filter(field="input")
        >>> overlap.select("instance_id", "n_ngrams", "n_overlapping", "example").rows()
        [('id0', 3, 2, 'what is the capital of france'), ('id1', 1, 0, None)]

        Args:
            corpus: A file or glob pattern of Parquet or JSON Lines files, on disk, in a bucket or on the Hub, such as
                "s3://corpus/*.parquet"; or a list of them.
            n: The number of tokens of an n-gram; HELM's numbers are [5, 9, 13].
            text: The column of the corpus with the text.
            tokens: "full" lower-cases texts and splits them at white space and punctuation, as HELM does by default;
                "light" only splits them at white space, as HELM's light tokenizer does.

        Returns:
            `hf.schema("overlap")`, one row per instance, field (input, references, intersection) and n.

        Raises:
            ArgumentError: `n` or `tokens` is invalid, the corpus has another format, or no text in this column.
            SourceError: The corpus is missing or damaged.
        """
        return corpus_overlap([self._spec], corpus, n, text=text, tokens=tokens)

    def variants(self) -> pl.LazyFrame:
        """Return `VARIANTS`, one row per instance, perturbation and seed. No request is sent.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(1).perturb("typos", seeds=2)
        >>> plan.variants().collect().select("perturbation", "perturbation_seed").rows()
        [('original', 0), ('typos', 0), ('typos', 1)]
        """
        return perturb_instances(self._spec, self.instances(), query_function(send=False)).select(
            pl.col(list(VARIANTS.schema)), pl.all().exclude(list(VARIANTS.schema))
        )

    def requests(self) -> pl.LazyFrame:
        """Return `REQUESTS` with `prompt`, one row per prompt as the model receives it. No request is sent.

        Without a model, prompts are neither truncated nor rendered with a chat template. `continuation` is the text
        whose log-probability is requested. In conversations, "{completion of turn 1}" stands for a completion that a
        later prompt will contain; `results.requests` has the prompts as sent.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(1).adapt(shots=0)
        >>> plan.requests().collect()["prompt"][0].splitlines()[-1]
        'Answer:'
        """
        frames = []
        for task in plan_tasks(self._spec, self._spec.models or [_any_model()], scored=False):
            train = train_pool(self._spec, task)
            for shard in load_instances(self._spec, task.spec):
                variants = perturb_instances(self._spec, shard.lazy(), query_function(send=False)).collect()
                for setting in task.settings:
                    requests, heads = adapt_variants(self._spec, variants.lazy(), train, setting, task.spec)
                    first, *later = requests_by_turn(requests.collect())
                    for model in task.models:
                        fitted, prefixes = fit(first, heads, model, default_room=task.default_room)
                        frames.append(fitted.join(prefixes, on="prefix_id", maintain_order="left"))
                        for turn in later:
                            unknown = with_unknown_completions(turn, fitted)
                            fitted, prefixes = fit(unknown, heads, model, default_room=task.default_room)
                            frames.append(fitted.join(prefixes, on="prefix_id", maintain_order="left"))
        prompt = (pl.col("prefix") + pl.col("suffix")).alias("prompt")
        return pl.concat(frames, how="diagonal_relaxed").lazy().with_columns(prompt).drop("prefix")

    def explain(self, *, prices: Prices | None = None) -> str:
        """Return a description of the run: rows per stage, pushed-down filters, cached and remaining requests, cost.

        No request is sent. The cost is an estimate, from no output to `max_tokens` for every remaining request.

        Args:
            prices: The prices of models, as in `score`.

        >>> import helmframe as hf
        >>> print(hf.scenario("sampler").where(subject="music").limit(2).explain())  # doctest: +ELLIPSIS
        scenario sampler ...
        """
        return str(render(self._spec, "explain", prices=prices))

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
        """Run the plan: generate the completions that aren't cached, score all, store the results.

        Args:
            fresh: Whether to ignore cached completions and generate all again.
            max_requests: The highest number of requests to send. The run then stops; rerun the plan to resume.
            max_cost: The cost of completions in US dollars at which the run stops. Every model then needs a price.
            prices: The prices by model name, or a YAML file with them. A price is (prompt, output), or (prompt, output,
                cached_prompt): US dollars per million tokens. By default the file of `hf.configure(prices=…)`, and the
                price list of the package litellm for models of providers.
            until: A stopping rule, to end before all requests are sent: `hf.precise(.03)`, `hf.decided("a", "b")`.
            engine: "local", or "ray" for a Ray cluster; `hf.engines.Ray(…)` has its options.
            priority: The priority in the queue of the model: higher numbers first; equal ones take turns.
            resume: The run whose completions are reused for models without a version: its id, or "last" for the run
                of the same plan with the most stored completions. Requests match by content.

        Returns:
            The results, which are also stored as a run. `hf.runs()` lists the runs.

        Raises:
            UnknownNameError: `resume` isn't the id of a run in the store. The message lists the newest ids.
            ArgumentError: `resume` is combined with `fresh`, or the run has no completions of these models.
            PlanError: The plan has no model, the metric of `until` has no bounds, or Ray's workers can't receive an
                object.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle())
        >>> plan.score().value("exact_match")
        1.0
        """
        budget = Budget(max_requests, max_cost, prices, priority)
        folder = resolve_engine(engine)([self._spec], fresh=fresh, resume=resume, until=until, budget=budget)
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
        """Run the plan in the background and return a live `Run` at once. The arguments are those of `score`.

        Several runs share the queue of their model. `resume="last"` chooses the run of the same plan with the most
        stored completions, as in `score`.

        >>> import helmframe as hf
        >>> run = hf.scenario("sampler").where(subject="music").limit(2).generate(hf.models.oracle()).submit()
        >>> run.wait().value("exact_match")
        1.0
        """
        budget = Budget(max_requests, max_cost, prices, priority)
        return start_run([self._spec], budget=budget, fresh=fresh, resume=resume, until=until, engine=engine)

    def results(self, *, until: Until | None = None, resume: str | None = None) -> "Results":
        """Return the results of the cached completions. No request is sent.

        Args:
            until: The stopping rule of the run. The results then have the complete looks of that rule.
            resume: The run whose completions are used for models without a version, as in `score`.

        >>> import helmframe as hf
        >>> model = hf.model(lambda prompt: "A", name="always-a", version="1")
        >>> plan = hf.scenario("sampler").where(subject="music").limit(2).generate(model)
        >>> plan.score().value("exact_match") == plan.results().value("exact_match")
        True
        """
        return load_results(local.run([self._spec], send=False, resume=resume, until=until).path)

    def completions(self) -> pl.LazyFrame:
        """Run the plan as `score()` does, and return `COMPLETIONS`, one row per completion.

        >>> import helmframe as hf
        >>> plan = hf.scenario("sampler").where(subject="music").limit(2).generate(lambda prompt: "A")
        >>> plan.completions().collect()["completion"].to_list()
        ['A', 'A']
        """
        return self.score().completions.select(
            pl.col(list(COMPLETIONS.schema)), pl.all().exclude(list(COMPLETIONS.schema))
        )

    # -- private -----------------------------------------------------------------------------------------------------

    def _with(self, **changes: Any) -> "Plan":
        """Return the plan with other values of its spec."""
        return Plan(replace(self._spec, **changes))

    def _checked(self, **changes: Any) -> "Plan":
        """Return the plan with other values of its spec; raise if a model doesn't support them."""
        spec = replace(self._spec, **changes)
        check_capabilities(spec)
        return Plan(spec)


def scenario(
    source: Any,
    *,
    data: str | Path | None = None,
    compat: str | None = None,
    input: str | None = None,
    references: str | None = None,
    choices: str | None = None,
    answer: str | None = None,
    turns: str | None = None,
    id: str | None = None,
    subset: str | Sequence[str] | None = None,
    cluster: str | None = None,
    split: str | None = None,
    images: str | Sequence[str] | None = None,
    name: str | None = None,
    method: str | None = None,
    adapter: Mapping[str, Any] | None = None,
    decoding: Mapping[str, Any] | None = None,
    metrics: str | Sequence[str] | None = None,
    main: str | None = None,
    trust_remote_code: bool = False,
) -> Plan:
    """Return a plan over the instances of a scenario: by name, from a spec file, or from rows.

    The parameters from `input` on apply to rows. Other columns of the rows are the scenario's own: conditions
    and metrics use their names, and tables store them as `data_NAME`. Columns `split`, `content` (a list of {type,
    text, media}) and `sub_split` (text) have the meaning in `hf.schema("instances")`.

    >>> import polars as pl
    >>> import helmframe as hf
    >>> hf.scenario("sampler").where(subject="music").limit(3).instances().collect().height
    3

    >>> faq = pl.DataFrame({"q": ["Capital of France?", "2 + 2?"], "a": ["Paris", "4"]})
    >>> plan = hf.scenario(faq, input="q", references="a")
    >>> plan.generate(lambda prompt: "Paris").score().value("quasi_exact_match")
    0.5

    >>> talks = pl.DataFrame({"messages": [["Capital of France?", "And of Spain?"]], "answers": [["Paris", "Madrid"]]})
    >>> plan = hf.scenario(talks, turns="messages", references="answers")
    >>> plan.generate(lambda prompt: "Paris").score().table(by="turn", metrics="exact_match")["value"].to_list()
    [1.0, 0.0]

    Args:
        source: The name of a scenario, the path of a spec file, or a list of these. Or rows: a data frame (Polars,
            pandas, pyarrow, DuckDB), a data set of the package datasets or a dict of its splits, a list of dicts, a
            dict of columns, or the path of a CSV, TSV, JSON, JSON Lines or Parquet file on disk, in a bucket (`s3://`)
            or on the Hub (`hf://`).
        data: The folder or `s3://bucket/prefix` with the rows; default `hf.configure(data=…)`, then HELMFRAME_DATA,
            then the Hub.
        compat: "helm" applies HELM's rules to the whole plan, as run entries do. Instance ids count the instances of
            HELM's run. HELM's parameters (`where(task=15)`) select the few-shot examples too. References, perturbations
            and samples are HELM's. Prompts that are too long without examples are cut at their end. Only the output of
            highest log-probability is scored; helmframe averages all n outputs.
        input: The column with the text of the question; default "input".
        references: The column with correct outputs: a text, a list of texts (each correct), or a list of {text,
            correct}; default "references", unless `choices` is specified.
        choices: The column with the options of a multiple-choice question, a list of texts; needs `answer`.
        answer: The column with the correct option: its index (from 0), its letter, or its text.
        turns: The column with the user's messages of a conversation, a list of texts. Each turn is an instance, and the
            model's own completions are part of the next prompt. `references` then has a list with one value per turn.
        id: The column with unique instance ids; default the row's index, train first, then valid, then test.
        subset: The column or columns of fixed strata, such as a subject. Few-shot examples come from the same subset.
        cluster: The column that groups instances that were sampled together, such as the questions of one passage.
        split: The column with train, valid or test; default `split` if the frame has it, else all rows are test.
        images: The column or columns with images: bytes, {bytes, path} as on the Hub, paths below the data root, or
            lists of these. The n-th image replaces `<image n>` in the question; other images come before the question.
        name: The name of the scenario; default the file's name, or a hash of the content.
        method: The adapter method; default multiple_choice_joint with `choices`, chat with `turns`, else generation.
        adapter: Further fields of the adapter.
        decoding: Decoding parameters; default max_tokens and stop for the method.
        metrics: The metrics; default the exact-match family.
        main: The main metric; default exact_match with `choices`, else quasi_exact_match.
        trust_remote_code: Whether Python code next to a task file of another tool may run, and the file may include
            files outside of its folder.

    Raises:
        UnknownNameError: No scenario has that name. The message lists near matches.
        SpecError: The spec file is invalid.
        ArgumentError: `source` has another type, or a column is missing or has an unsupported type. The message lists
            near columns.
        SourceError: The file of rows is missing or damaged.
    """
    columns: dict[str, Any] = {
        "input": input, "references": references, "choices": choices, "answer": answer, "turns": turns, "id": id,
        "subset": subset, "cluster": cluster, "split": split, "images": images, "name": name, "method": method,
        "adapter": adapter,
        "decoding": decoding, "metrics": metrics, "main": main,
    }  # fmt: skip
    columns = {key: value for key, value in columns.items() if value is not None}
    if compat not in (None, "helm"):
        raise ArgumentError.unknown_value(f"scenario(compat={compat!r})", compat, ["helm"])
    root = None if data is None else str(data)
    check_address("scenario(data=…)", root)
    names = list(source) if isinstance(source, list | tuple) else [source]
    named = bool(names) and all(isinstance(item, str | Path) for item in names)
    if not named or is_rows_file(source):
        return Plan(PlanSpec((frame_scenario(source, **columns),), data=root, compat=compat))
    for key in columns:
        raise ArgumentError(
            f"scenario({source!r}, {key}=…): {key} applies to rows only. Remove it, or write hf.scenario(frame, "
            f"{key}=…)."
        )
    resolved = [find_scenarios(str(item), root, trust_remote_code=trust_remote_code) for item in names]
    return Plan(PlanSpec(tuple(spec for specs in resolved for spec in specs), data=root, compat=compat))


def plan_of(source: str | Path | Mapping[str, Any], *, trusted: bool = False) -> Plan:
    """Return the plan of a YAML text or file, or of its content; the errors are those of `Plan.from_yaml`."""
    plan: Plan | None = None
    with reading("the plan", "valid", SpecError):
        for step in load_steps(source, trusted=trusted):
            method = scenario if plan is None else getattr(plan, step.verb)
            try:
                plan = method(*step.arguments, **step.options)
            except ArgumentError as error:
                raise SpecError.at(step.file, step.verb, str(error)) from error
    assert plan is not None  # load_steps() starts with the scenario
    return plan


def spec_of(plan: Plan) -> PlanSpec:
    """Return the spec of a plan, for the pipeline and the engines."""
    return plan._spec  # noqa: SLF001 - the only reader of the private attribute


def between(low: Any, high: Any) -> Between:
    """Return a condition for `where`: the column is from `low` to `high`, both included.

    >>> import helmframe as hf
    >>> hf.scenario("sampler").where(subject=hf.between("m", "n")).instances().collect()["subset"].unique().to_list()
    ['music']
    """
    return Between("", low, high)


def _any_model() -> Model:
    """Return a stand-in for plans without a model. It accepts every request but never receives any."""

    def generate(prompts: Sequence[Prompt], decoding: Mapping[str, Any]) -> list[Response]:  # noqa: ARG001
        return [str(prompt) for prompt in prompts]

    return Model("any", "any", generate, str, durable=False, takes=None, media=True, loglikelihood=generate)


def _chosen(like: "Results | Mapping[str, Sequence[str]]", n: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the ids of the chosen instances of each scenario, sorted."""
    from helmframe.results import Results  # late: with NumPy
    from helmframe.results._boards import chosen_instances

    if not isinstance(like, Results | Mapping):
        raise ArgumentError(
            f"sample(like={like!r:.80}): like must be results of an earlier run, or {{scenario: [instance_id, …]}}."
        )
    ids = chosen_instances(like, n) if isinstance(like, Results) else like
    for scenario, names in ids.items():
        if isinstance(names, str) or not all(isinstance(name, str) for name in names) or not 0 < len(names) <= n:
            raise ArgumentError(
                f"sample({n}, like=…): scenario {scenario!r} must have a list of 1 to {n:,} instance ids."
            )
    return tuple((str(scenario), tuple(sorted(names))) for scenario, names in sorted(ids.items()))


def _equality(column: str, value: Any) -> Condition:
    if isinstance(value, Between):
        low, high = value.low, value.high
        numbers = isinstance(low, int | float) and isinstance(high, int | float) and low > high
        if numbers or (isinstance(low, str) and isinstance(high, str) and low > high):
            raise ArgumentError(f"where({column}=between({low!r}, {high!r})): low must be at most high.")
        return replace(value, column=column)
    values = tuple(value) if isinstance(value, list | tuple | set) else (value,)
    if not values:
        raise ArgumentError(f"where({column}={value!r}): the list must have at least one value.")
    for element in values:
        if element is not None and not isinstance(element, str | int | float | bool):
            raise ArgumentError(
                f"where({column}={value!r}): must be text, a number, a list of these, or hf.between(low, high)."
            )
    return Equals(column, values)


def _count(verb: str, n: int) -> int:
    if not is_integer(n) or n < 1:
        raise ArgumentError(f"{verb}({n!r}): n must be an integer ≥ 1.")
    return n
