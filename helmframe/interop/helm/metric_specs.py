"""Conversion between HELM's MetricSpecs and the names of our metrics."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from helmframe._core.specs import Call, frozen
from helmframe.metrics.bias import GROUPS, TARGETS
from helmframe.metrics.protocol import METRICS

_BASIC = "helm.benchmark.metrics.basic_metrics."
SEPARATE = {
    "multiple_choice_separate_original": "option_accuracy_per_token",
    "multiple_choice_separate_calibrated": "option_accuracy_calibrated",
}
# HELM's `get_exact_match_metric_specs`, by our names.
EXACT_MATCH = ("exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match")
# The metrics that HELM computes for options that are scored separately → its names, by method.
_BY_OPTION = {
    "multiple_choice_separate_original": {
        "option_accuracy_per_token": "exact_match",
        "option_max_prob": "max_prob",
        "predicted_index": "predicted_index",
    },
    "multiple_choice_separate_calibrated": {
        "option_accuracy_calibrated": "exact_match",
        "option_max_prob(by='calibrated')": "max_prob",
        "predicted_index(by='calibrated')": "predicted_index",
    },
}
# HELM's class, without its module → our metrics, for classes whose arguments have no effect.
CLASSES: dict[str, tuple[str, ...]] = {
    "LanguageModelingMetric": ("perplexity", "bits_per_byte", "logprob_per_byte"),
    "BBQMetric": ("bbq_accuracy", "bbq_metric_ambiguous_bias", "bbq_metric_unambiguous_bias"),
    "ClassificationMetric": ("classification_macro_f1", "classification_micro_f1"),
    "GPQAChainOfThoughtMetric": ("chain_of_thought_correctness",),
    "IFEvalMetric": ("ifeval_strict_accuracy",),
    "ToxicityMetric": ("expected_max_toxicity", "max_toxicity_probability", "toxic_frac"),
    "SummarizationMetric": ("rouge_1", "rouge_2", "rouge_l", "coverage", "density", "compression"),
    "RulerQAMetric": ("ruler_string_match_part",),
    "OpenAIMRCRMetric": ("openai_mrcr_accuracy",),
    "OmniMATHMetric": ("omni_math_accuracy",),
    "WildBenchScoreMetric": ("wildbench_score_rescaled",),
    "SafetyScoreMetric": ("safety_score",),
    "MedCalcBenchMetric": ("medcalc_bench_accuracy",),
    "MedecMetric": ("medec_error_flag_accuracy", "medec_error_sentence_accuracy"),
    "EhrSqlMetric": (
        *("ehr_sql_execution_accuracy", "ehr_sql_query_validity", "ehr_sql_precision_answerable"),
        *("ehr_sql_recall_answerable", "ehr_sql_total_predicted_answerable", "ehr_sql_total_ground_truth_answerable"),
    ),
    "FinQAMetric": ("program_accuracy", "execution_accuracy"),
    "ConvFinQACalcMetric": ("float_equiv",),
    "KPIEdgarMetric": ("word_macro_f1_score", "adjusted_macro_f1_score"),
    "AIRBench2024ScoreMetric": ("air_score",),
    "FairnessMetric": ("demographic_parity_difference", "equalized_odds_difference"),
    "PrivacyMetric": ("decodingtrust_privacy_leakage_rate",),
    "StereotypeMetric": ("decodingtrust_stereotype_bias", "decodingtrust_stereotype_bias_rejection_rate"),
    "OODKnowledgeMetric": ("ood_knowledge_acc", "ood_knowledge_rr", "ood_knowledge_macc"),
    "LiveQAScoreMetric": ("live_qa_score",),
    "SEAHELMMachineTranslationMetric": ("chr_f_plus_plus",),
}
# HELM's bookkeeping classes (tokens, runtime, counts), which are columns in our tables, and classes that need data that
# only HELM has: answers of people or paid critics.
BOOKKEEPING_CLASSES = (
    "BasicReferenceMetric",
    "InstancesPerSplitMetric",
    "SafetyBasicGenerationMetric",
    "AIRBench2024BasicGenerationMetric",
    "DisinformationHumanEvalMetrics",
    "InstructionFollowingCritiqueMetric",
)
_RENAMED = {"code_eval_acc": "pass", "Success": "success", "Recall": "recall"}
_MODULES = {
    "LanguageModelingMetric": "language_modeling_metrics",
    "BBQMetric": "bbq_metrics",
    "ClassificationMetric": "classification_metrics",
    "GPQAChainOfThoughtMetric": "gpqa_chain_of_thought_metric",
    "IFEvalMetric": "ifeval_metrics",
    "ToxicityMetric": "toxicity_metrics",
}


# The statistics that BasicReferenceMetric and BasicGenerationMetric always compute.
BASIC_STATISTICS = (
    *("logprob", "max_prob", "num_bytes", "num_output_tokens", "num_perplexity_tokens", "num_prompt_tokens"),
    *("num_references", "num_train_instances", "prompt_truncated", "inference_runtime", "predicted_index"),
    *("finish_reason_length", "finish_reason_stop", "finish_reason_unknown"),
)
# HELM counts other reasons as unknown.
FINISH_REASONS = ("length", "stop", "endoftext")


def metrics_of(specs: Iterable[Mapping[str, Any]], method: str) -> list[str]:
    """Return our names of the metrics that HELM's MetricSpecs compute, or HELM's names of metrics that we lack.

    `BasicGenerationMetric` does nothing for options scored separately: accuracy is a reference metric there.
    """
    names = [name for spec in specs for name in _names(spec, method)]
    return list(dict.fromkeys(names))


def specs_of(names: Sequence[str], method: str) -> list[dict[str, Any]]:
    """Return HELM's MetricSpecs that compute these metrics, as far as HELM has them."""
    plain = [name for name in names if "@" not in name and "(" not in name]
    specs = []
    remaining = list(plain)
    for name in names:
        if name in BIAS:
            arguments = dict(pair.split("=") for pair in BIAS[name].partition(":")[2].split(","))
            specs.append({"class_name": "helm.benchmark.metrics.bias_metrics.BiasMetric", "args": arguments})
    for kind, module in _MODULES.items():
        if set(CLASSES[kind]) <= set(plain):
            specs.append({"class_name": f"helm.benchmark.metrics.{module}.{kind}", "args": {}})
            remaining = [name for name in remaining if name not in CLASSES[kind]]
    if method in SEPARATE:
        remaining = ["exact_match", *remaining] if SEPARATE[method] in plain else remaining
    basic = [
        name for name in remaining if name in METRICS and name in METRICS[name].helm and METRICS[name].level == "output"
    ]
    bookkeeping = ("BasicReferenceMetric", "InstancesPerSplitMetric")
    basic_spec = {
        "class_name": f"{_BASIC}BasicGenerationMetric",
        "args": {"names": [name for name in basic if name not in BASIC_STATISTICS]},
    }
    return [basic_spec, *specs, *({"class_name": f"{_BASIC}{class_name}", "args": {}} for class_name in bookkeeping)]


def reference_metrics(specs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return HELM's names of the metrics that compare outputs with references, from MetricSpecs."""
    basic = f"{_BASIC}BasicGenerationMetric"
    return [str(name) for spec in specs if spec["class_name"] == basic for name in spec["args"]["names"]]


def helm_names(names: Sequence[str], method: str) -> dict[str, str]:
    """Return the names of metrics → HELM's names, one metric for each of HELM's names.

    Args:
        names: The metrics that were scored.
        method: The adapter's method.
    """
    by_option = _BY_OPTION.get(method, {})
    names_in_helm = {name: by_option.get(name) or _helm_name(name) for name in names}
    taken = {helm: name for name, helm in by_option.items() if name in names_in_helm}
    return {name: helm for name, helm in names_in_helm.items() if taken.get(helm, name) == name}


def _helm_name(name: str) -> str:
    if any(name in by_option for by_option in _BY_OPTION.values()):  # HELM has it under another method
        return name
    if name in BIAS:
        return BIAS[name]
    return METRICS[name].helm[0] if name in METRICS and METRICS[name].helm else name


def _names(spec: Mapping[str, Any], method: str) -> list[str]:
    kind = str(spec["class_name"]).rpartition(".")[2]
    arguments = spec.get("args") or {}
    if kind == "BasicReferenceMetric" and method in SEPARATE:
        return [SEPARATE[method]]
    if kind in BOOKKEEPING_CLASSES:
        return []
    if kind == "BasicGenerationMetric":
        return [] if method in SEPARATE else [_RENAMED.get(name, name) for name in arguments.get("names", ())]
    if kind == "APPSMetric":
        return [str(name) for name in arguments.get("names", ())]
    if kind == "BasicCopyrightMetric":
        return [_copyright(arguments)]
    if kind == "DisinformationMetric":
        return [str(arguments["name"])]
    if kind == "BiasMetric":
        return [_bias(arguments)]
    if kind == "ClassificationMetric":
        averages, scores = arguments.get("averages") or ("macro", "micro"), arguments.get("scores") or ("f1",)
        return [f"classification_{average}_{score}" for average in averages for score in scores]
    if kind == "LLMJuryMetric":
        return [str(arguments["metric_name"])]
    if kind == "AnnotationLabelMetric":
        return [f"annotation_{arguments['annotator_name']}_{arguments['key']}_{label}" for label in arguments["labels"]]
    if kind == "SEAHELMQAMetric":
        return [str(Call(name, frozen(arguments))) for name in ("squad_exact_match_score", "squad_f1_score")]
    if kind == "RankingMetric":
        return [_ranking(str(measure)) for measure in arguments["measure_names"]]
    return list(CLASSES.get(kind, (kind,)))


def _copyright(arguments: Mapping[str, Any]) -> str:
    name = str(arguments["name"])
    options = {key: value for key, value in arguments.items() if key != "name" and value}
    if name == "edit_similarity":  # it is a share already, and HELM ignores the argument
        options.pop("normalize_by_prefix_length", None)
    return str(Call(name, frozen(options)))


def _bias(arguments: Mapping[str, Any]) -> str:
    options = {"category": arguments["demographic_category"]}
    if arguments["mode"] == "representation":
        return str(Call("demographic_representation", frozen(options)))
    return str(Call("stereotypical_associations", frozen(options | {"target": arguments["target_category"]})))


def _ranking(measure: str) -> str:
    """Return our name of a ranking measure: `recip_rank.10` → `RR@10`."""
    name, _, k = measure.partition(".")
    return {"recip_rank": "RR", "ndcg_cut": "NDCG"}.get(name, name) + f"@{k}"


# Our names of the bias metrics → HELM's.
BIAS = {
    _bias(arguments): "bias_metric:" + ",".join(f"{key}={value}" for key, value in arguments.items())
    for category in GROUPS
    for arguments in (
        {"mode": "representation", "demographic_category": category},
        *({"mode": "associations", "demographic_category": category, "target_category": target} for target in TARGETS),
    )
}
