"""Our tables as HELM's run directories, for helm-summarize and helm-server: `results.to_helm(folder)`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.registry import view
from helmframe._core.specs import AdapterSpec, adapter_spec, frozen
from helmframe._schema import ORIGINAL, SCORES, source_column
from helmframe.errors import StoreError
from helmframe.interop.helm.fields import ADAPTER, SCORED, to_helm
from helmframe.interop.helm.metric_specs import BIAS, FINISH_REASONS, SEPARATE, helm_names, reference_metrics, specs_of
from helmframe.interop.helm.run_dirs import INSTANCE_STATS, RUN_SPEC, SCENARIO, STATE, STATS
from helmframe.interop.helm.runs import RUN, helm_model, our_model
from helmframe.interop.helm.state_writer import REQUEST, VARIANT, states_of, without_none
from helmframe.interop.helm.statistics import OF_ALL, stat, statistic_of, stats_of
from helmframe.interop.helm.variants import OURS, describe_variant
from helmframe.metrics.helm_outputs import helm_scores
from helmframe.metrics.protocol import resolve_metrics
from helmframe.metrics.score import prepare_set_metric
from helmframe.results import Results
from helmframe.store import Address, address_of, below, listing, write_text

_TOKENS = pl.when(pl.col("output_tokens").is_not_null().all()).then(pl.col("output_tokens").sum())
# A scored text is a prompt that HELM's server echoes: all its tokens count as completion, and none as output.
_SCORED = pl.col("continuation").first().is_not_null()
_ECHOED = pl.col("prompt_tokens").first() + _TOKENS
# HELM's bookkeeping of one request, from our rows of its outputs.
_BOOKKEEPING: dict[str, pl.Expr] = {
    "num_references": pl.col("perturbed_references").first().list.len(),
    "num_train_trials": pl.col("num_train_trials").first(),
    "num_train_instances": pl.col("shots_used").first(),
    "prompt_truncated": pl.col("prompt_truncated").first(),
    "num_prompt_tokens": pl.when(_SCORED).then(_ECHOED).otherwise(pl.col("prompt_tokens").first()),
    "num_completion_tokens": pl.when(_SCORED).then(_ECHOED).otherwise(_TOKENS),
    "num_output_tokens": pl.when(_SCORED).then(0).otherwise(_TOKENS),
    "inference_runtime": pl.col("latency").first(),
    "logprob": pl.when(pl.col("reference_index").first().is_null()).then(pl.col("logprob").first()),
    **{f"finish_reason_{reason}": pl.col("finish_reason").first().eq_missing(reason) for reason in FINISH_REASONS},
    "finish_reason_unknown": ~pl.col("finish_reason").first().is_in(FINISH_REASONS).fill_null(value=False),
}
# HELM sums this metric over the outputs of a request.
_SUMMED = "num_output_tokens"
# HELM computes BBQ's metrics over all requests of a split and perturbation, without empty completions. Without a
# request, as with options that are scored separately, the accuracy has count 0 and each bias is 0.
_BBQ_ACCURACY = "bbq_accuracy"
_BBQ_BIASES = ("bbq_metric_ambiguous_bias", "bbq_metric_unambiguous_bias")
# The key of the elements of per_instance_stats.json: HELM has one per window.
_ELEMENT = [*VARIANT, "window_index"]
_SETS = {
    "trial": pl.Int64,
    "description": pl.String,
    "split": pl.String,
    "sub_split": pl.String,
    "name": pl.String,
    "score": pl.Float64,
}


@view("Results.helm")
def write_helm(results: Results, folder: str | Path) -> Address:
    """Write one run directory with HELM's five files for each scenario, subset, model and setting.

    Args:
        results: The results of a run, or results read from HELM.
        folder: The folder of a suite: `benchmark_output/runs/NAME`; a path or `s3://…`. HELM reads models from its
            registry only, so the folder prod_env in it registers them:
            `helm-summarize --suite NAME --local-path …/runs/NAME/prod_env`.

    Returns:
        The folder.

    Raises:
        StoreError: The folder isn't empty, or isn't writable.
    """
    target = address_of(folder)
    if isinstance(target, Path) and target.is_file():
        raise StoreError(f"{target} is a file. Write the path of a folder.")
    if listing(target):
        raise StoreError(f"{target} isn't empty. Choose another folder.")
    models: list[str] = []
    for keys in results.completions.select(RUN).unique().sort(RUN).collect().iter_rows():
        chosen = pl.all_horizontal(pl.col(name) == value for name, value in zip(RUN, keys, strict=True))
        run = _RunWriter(
            results, dict(zip(RUN, keys, strict=True)), _drop_unchanged(results.completions.filter(chosen))
        )
        scores = run.scores(_helm_outputs(results.scores.filter(chosen), run.completions))
        run_folder = below(target, _folder_name(run.spec["name"]))
        for name, text in run.files(scores):
            write_text(text, below(run_folder, name))
        models.append(run.model)
    for name, text in _registry_files(models):
        write_text(text, below(target, "prod_env", name))
    return target


def _registry_files(models: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of the files of a `--local-path` that register these models; HELM can't run them."""
    names = sorted(set(models))
    client = {"class_name": "helm.clients.simple_client.SimpleClient"}
    deployments = [
        {
            "name": name,
            "model_name": name,
            "tokenizer_name": "simple/tokenizer1",
            "max_sequence_length": 2048,
            "client_spec": client,
        }
        for name in names
    ]
    yield "model_deployments.yaml", _yaml({"model_deployments": deployments})
    metadata = [
        {
            "name": name,
            "display_name": our_model(name),
            "description": "Results written by helmframe.",
            "creator_organization_name": name.partition("/")[0],
            "access": "open",
            "release_date": "1970-01-01",
            "tags": ["TEXT_MODEL_TAG"],
        }
        for name in names
    ]
    yield "model_metadata.yaml", _yaml({"models": metadata})


def _yaml(content: object) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).replace("'1970-01-01'", "1970-01-01")


def _drop_unchanged(completions: pl.LazyFrame) -> pl.DataFrame:
    """Return the rows without unchanged variants, which HELM omits."""
    return completions.filter(pl.col("changed") | (pl.col("perturbation") == ORIGINAL)).collect()


def _helm_outputs(scores: pl.LazyFrame, completions: pl.DataFrame) -> pl.DataFrame:
    """Return the scores with the output that HELM counts as output 0 of its request."""
    names = scores.select(pl.col("metric").unique()).collect()["metric"].to_list()
    request = [name for name in SCORES.key if name != "output_index"]
    index = pl.col("output_index").rank("dense").over(request).cast(pl.Int64) - 1
    return helm_scores(scores, completions.lazy(), names).with_columns(output_index=index).collect()


class _RunWriter:
    """A writer of one run; `spec` is the content of its run_spec.json."""

    def __init__(self, results: Results, keys: Mapping[str, str], completions: pl.DataFrame) -> None:
        self.completions = completions
        self.subset = keys["subset"]
        self.metadata = results.manifest["scenarios"].get(keys["scenario"], {})
        read = [run for run in results.manifest.get("runs", ()) if all(run[name] == keys[name] for name in RUN)]
        self.is_from_helm = bool(read)
        self.name = keys["scenario"]
        metrics = results.manifest["metrics"].items()
        self.set_metrics = resolve_metrics(
            [name for name, metric in metrics if metric["level"] == "set" or name == _BBQ_ACCURACY]
        )
        chosen_run = pl.all_horizontal(pl.col(name) == value for name, value in keys.items())
        self.helm_stats = results.helm_stats.filter(chosen_run).collect()
        self.prefixes = results.prefixes.unique("prefix_id").collect()
        self.spec: dict[str, Any] = read[0]["run_spec"] if read else self._spec(results, keys)
        self.adapter: dict[str, Any] = self.spec["adapter_spec"]
        self.method = str(self.adapter.get("method", ""))
        self.model = str(self.adapter.get("model") or keys["model"])
        if not read and self.method == SCORED[0]:  # HELM counts examples that no prompt has
            self.completions = self.completions.with_columns(shots_used=pl.lit(self.adapter["max_train_instances"]))

    def files(self, scores: pl.DataFrame) -> Iterator[tuple[str, str]]:
        """Yield name and text of each file; the run spec last, so that an unfinished run lacks it."""
        scenario = {
            "name": self.name,
            "description": self.metadata.get("description", ""),
            "tags": [],
            "definition_path": "",
        }
        yield SCENARIO, _json(scenario)
        completions = self.completions.with_columns(instance_id=self._id())
        written = states_of(completions, self.prefixes, self.adapter, self.model, is_from_helm=self.is_from_helm)
        states = ",\n".join(map(_json, written))
        yield STATE, f'{{"adapter_spec": {_json(self.adapter)},\n"request_states": [\n{states}\n]}}'
        yield STATS, _json(self._stats(scores))
        yield INSTANCE_STATS, "[\n" + ",\n".join(_json(element) for element in self._per_instance(scores)) + "\n]"
        yield RUN_SPEC, _json(self.spec)

    def scores(self, scores: pl.DataFrame) -> pl.DataFrame:
        """Return the scores of single instances as `stats_of` takes them, under HELM's names."""
        names_in_helm = helm_names(scores["metric"].unique().to_list(), self.method)
        names_in_helm.pop(_BBQ_ACCURACY, None)
        request = [name for name in SCORES.key if name != "output_index"]
        total = pl.when(pl.col("score").is_not_null()).then(pl.col("score").sum().over(request))
        scores = scores.with_columns(pl.when(pl.col("metric") == _SUMMED).then(total).otherwise("score").alias("score"))
        first = scores.filter(pl.col("output_index").fill_null(0) == 0, pl.col("metric").is_in(list(names_in_helm)))
        rows = first.select(*_ELEMENT, "split", "score", name=pl.col("metric").replace(names_in_helm))
        rows = rows.unique([*_ELEMENT, "name"], keep="last", maintain_order=True)
        variants = self.completions.unique(_ELEMENT, keep="first", maintain_order=True).with_columns(
            description=self._descriptions(), variant_index=pl.int_range(pl.len())
        )
        if not self.is_from_helm:
            rows = pl.concat([rows, self._best_outputs(rows)])
            bookkeeping = self._bookkeeping().join(rows, on=[*_ELEMENT, "name"], how="anti", nulls_equal=True)
            rows = pl.concat([bookkeeping, rows], how="diagonal_relaxed")
        columns = variants.select(*_ELEMENT, "sub_split", "description", "variant_index")
        return (
            rows.join(columns, on=_ELEMENT, how="inner", nulls_equal=True, maintain_order="left")
            .sort("variant_index", maintain_order=True)
            .with_columns(
                robustness=pl.col("description")
                .str.contains('"robustness": true', literal=True)
                .fill_null(value=False),
                fairness=pl.col("description").str.contains('"fairness": true', literal=True).fill_null(value=False),
            )
        )

    def _best_outputs(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return HELM's scores of the best of several outputs for joint options, which have one output only."""
        outputs = self.adapter["num_outputs"]
        if not self.method.startswith("multiple_choice_joint") or outputs == 1:
            return rows.clear()
        best = rows.filter(pl.col("name").is_in(reference_metrics(self.spec["metric_specs"])))
        return best.with_columns(name=pl.col("name") + f"@{outputs}")

    def _stats(self, scores: pl.DataFrame) -> list[dict[str, Any]]:
        """Return stats.json: the statistics that HELM recorded, and ours of metrics that HELM didn't compute."""
        recorded = self.helm_stats.filter(pl.col("instance_id").is_null())
        worst = self.method != SCORED[0]
        if recorded.is_empty():
            return stats_of(scores, self._sets(), worst=worst)
        others = scores.filter(~pl.col("name").is_in(recorded["metric"].unique().to_list()))
        names = set(others["name"])
        computed = stats_of(others, pl.DataFrame(schema=_SETS), worst=worst)
        return [
            *map(statistic_of, recorded.iter_rows(named=True)),
            *(statistic for statistic in computed if statistic["name"]["name"] in names),
        ]

    def _sets(self) -> pl.DataFrame:
        """Return the metrics of whole sets as `stats_of` takes them."""
        keys = ["trial", "perturbation", "perturbation_seed", "perturbation_parameters", "split", "sub_split"]
        names_in_helm = helm_names([metric.name for metric in self.set_metrics], self.method)
        frames = [pl.DataFrame(schema=_SETS)]
        generated = self.completions.filter(pl.col("error").is_null()).lazy()
        for metric in self.set_metrics:
            rows, value = prepare_set_metric(generated, metric, helm=True)
            if metric.name in (_BBQ_ACCURACY, *_BBQ_BIASES):
                value = self._bbq_value(metric.name, value)
            groups = rows.group_by(keys, maintain_order=True).agg(score=value.cast(pl.Float64)).collect()
            described = groups.with_columns(description=self._descriptions(), name=pl.lit(names_in_helm[metric.name]))
            frames.append(described.select(list(_SETS)))
        # HELM's statistics of these have count 0 if no output counts
        empty = pl.col("name").is_in([_BBQ_ACCURACY, *BIAS.values()])
        return pl.concat(frames).filter(pl.col("score").is_not_null() | empty)

    def _bbq_value(self, name: str, value: pl.Expr) -> pl.Expr:
        """Return HELM's value of one of BBQ's metrics over a group of rows."""
        if name == _BBQ_ACCURACY:
            value = value.filter(pl.col("completion") != "").mean()
            return pl.lit(None, dtype=pl.Float64).first() if self.method in SEPARATE else value
        return pl.lit(0.0).first() if self.method in SEPARATE else value.fill_null(0.0)

    def _per_instance(self, scores: pl.DataFrame) -> Iterator[dict[str, Any]]:
        columns = ["variant_index", "instance_id", "description", "trial", "split", "sub_split"]
        single = scores.filter(~pl.col("name").is_in(OF_ALL))
        named = single.group_by(*columns, "name", maintain_order=True).agg("score")
        gathered = named.group_by(columns, maintain_order=True).agg("name", "score")
        recorded = {_statistic_key(row): row for row in self.helm_stats.drop_nulls("instance_id").iter_rows(named=True)}
        prefix = f"{self.subset}/" if self.subset else ""
        for _, instance, described, trial, split, sub_split, names, values in gathered.iter_rows():
            key = (instance, trial, _canonical(described))
            yield without_none(
                {
                    "instance_id": instance.removeprefix(prefix),
                    "perturbation": None if described is None else json.loads(described),
                    "train_trial_index": trial,
                    "stats": [
                        statistic_of(recorded[*key, name])
                        if (*key, name) in recorded
                        else stat(name, split, sub_split, described, request_values)
                        for name, request_values in zip(names, values, strict=True)
                    ],
                }
            )

    def _bookkeeping(self) -> pl.DataFrame:
        """Return HELM's bookkeeping, one row per request and statistic; none if an output of the variant failed."""
        rows = self.completions.filter(pl.col("error").is_null().all().over(_ELEMENT))
        # in HELM a completion without tokens has log-probability 0
        empty = pl.when(pl.col("logprob").is_not_null().any() & (pl.col("output_tokens") == 0)).then(0.0)
        rows = rows.with_columns(
            pl.coalesce("logprob", empty), num_train_trials=pl.lit(self.adapter["num_train_trials"])
        )
        requests = rows.group_by(REQUEST, maintain_order=True).agg(pl.col("split").first(), **_BOOKKEEPING)
        wide = requests.select(*_ELEMENT, "split", *(pl.col(name).cast(pl.Float64) for name in _BOOKKEEPING))
        long = wide.unpivot(index=[*_ELEMENT, "split"], variable_name="name", value_name="score")
        return long.drop_nulls("score")

    def _descriptions(self) -> pl.Expr:
        """Return the column of HELM's descriptions of the perturbations, as JSON."""
        columns = ["perturbation", "perturbation_seed", "perturbation_parameters"]
        distinct = self.completions.select(columns).unique()
        texts = [_described(*row) for row in distinct.iter_rows()]
        keys = [_key(*row) for row in distinct.iter_rows()]
        key = pl.concat_str(
            pl.col("perturbation"), pl.col("perturbation_seed").cast(pl.String),
            pl.col("perturbation_parameters").fill_null(""), separator="\x1f",
        )  # fmt: skip
        return key.replace_strict(keys, texts, return_dtype=pl.String)

    def _id(self) -> pl.Expr:
        return pl.col("instance_id").str.strip_prefix(f"{self.subset}/") if self.subset else pl.col("instance_id")

    def _spec(self, results: Results, keys: Mapping[str, str]) -> dict[str, Any]:
        """Return a run spec for a run of ours."""
        adapter, decoding = self._adapter(results), json.loads(self.completions["decoding"][0] or "{}")
        row = self.completions.row(0, named=True)
        subset_values = {name: row.get(source_column(name)) for name in self.metadata.get("subsets", ())}
        values = {name: str(value) for name, value in subset_values.items() if value is not None}
        outputs = int(self.completions["output_index"].max() or 0) + 1  # type: ignore[arg-type]
        columns = {name: value.replace("_", " ") for name, value in values.items()}
        fields = to_helm(adapter, frozen(decoding), outputs, columns)
        model = helm_model(keys["model"])
        arguments = [*(f"{key}={value}" for key, value in values.items()), f"model={model}"]
        arguments += [keys["setting"]] if keys["setting"] else []
        variants = self.completions.filter(pl.col("perturbation") != ORIGINAL).unique(
            "perturbation", maintain_order=True
        )
        return {
            "name": f"{keys['scenario']}:{','.join(arguments)}".replace("/", "_"),
            "scenario_spec": {"class_name": f"{OURS}scenarios.{keys['scenario']}", "args": values},
            "adapter_spec": fields | {"model": model, "model_deployment": model},
            "metric_specs": specs_of(results.metric_names, adapter.method),
            "data_augmenter_spec": _augmenter(variants),
            "groups": [keys["scenario"]],
        }

    def _adapter(self, results: Results) -> AdapterSpec:
        """Return the adapter in the manifest; older manifests have none, so it is inferred from the requests."""
        stored = results.manifest.get("adapters", {}).get(self.completions["adapter_id"][0])
        if stored is not None:
            return adapter_spec(frozen({key: value for key, value in stored.items() if key in ADAPTER.values()}))
        row = self.completions.row(0, named=True)
        trials = int(self.completions["trial"].max() or 0) + 1  # type: ignore[arg-type]
        if row["choices"]:
            return AdapterSpec(method="multiple_choice_joint", trials=trials)
        if row["continuation"] is None:
            return AdapterSpec(trials=trials)
        method = SCORED[0] if row["reference_index"] is None else "multiple_choice_separate_original"
        return AdapterSpec(method=method, trials=trials)


def _described(perturbation: str, seed: int, parameters: str | None) -> str | None:
    described = describe_variant(perturbation, seed, parameters)
    return None if described is None else _json(described)


def _key(perturbation: str, seed: int, parameters: str | None) -> str:
    return "\x1f".join((perturbation, str(seed), parameters or ""))


def _statistic_key(row: Mapping[str, Any]) -> tuple[str, int, str | None, str]:
    return row["instance_id"], row["trial"], _canonical(row["description"]), row["metric"]


def _canonical(description: str | None) -> str | None:
    return None if description is None else json.dumps(json.loads(description), sort_keys=True)


def _augmenter(variants: pl.DataFrame) -> dict[str, Any]:
    columns = ("perturbation", "perturbation_seed", "perturbation_parameters")
    specs = [
        {"class_name": f"{OURS}perturbations", "args": dict(zip(columns, row, strict=True))}
        for row in variants.select(columns).iter_rows()
    ]
    some = bool(specs)
    return {
        "perturbation_specs": specs,
        "should_augment_train_instances": False,
        "should_include_original_train": some,
        "should_skip_unchanged_train": some,
        "should_augment_eval_instances": some,
        "should_include_original_eval": some,
        "should_skip_unchanged_eval": some,
        "seeds_per_instance": 1,
    }


def _folder_name(name: str) -> str:
    return name.replace("/", "_")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
