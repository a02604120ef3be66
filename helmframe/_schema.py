"""The tables of helmframe as data: the columns that each stage adds, with type, meaning and unit.

A stage adds columns and rewrites none: its table has the columns of the stage before it, and its own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from helmframe.errors import SourceBrokenError, UnknownNameError

MEDIA = pl.Struct({"name": pl.String, "data": pl.Binary})
CONTENT = pl.List(pl.Struct({"type": pl.String, "text": pl.String, "media": MEDIA}))
BLOCK = pl.Struct({"role": pl.String, "kind": pl.String, "content": CONTENT})
REFERENCE = pl.Struct({"text": pl.String, "correct": pl.Boolean, "tags": pl.List(pl.String)})
# The type of a content part that is filled with the completion of the turn before.
COMPLETION_PART = "completion"
ORIGINAL = "original"
# The choices of a request about a single reference.
YES, NO = "Yes", "No"
# The parsers of answers: HELM's, which is null in tables, and the parser of chat models' sentences.
STRICT, LENIENT = PARSERS = "strict", "lenient"
# Every table has a scenario's own columns under this prefix; no column of helmframe starts with it.
SOURCE_PREFIX = "data_"
TURN, CONVERSATION = "turn", "conversation"


@dataclass(frozen=True)
class Column:
    """A column: `dtype` is its Polars type, `meaning` describes it, `unit` is its unit if it has one."""

    name: str
    dtype: pl.DataType
    meaning: str
    unit: str = ""
    required: bool = True


@dataclass(frozen=True)
class Table:
    """The table of a stage: `grain` describes a row, `key` has the columns that distinguish rows."""

    name: str
    grain: str
    key: tuple[str, ...]
    adds: tuple[Column, ...]
    after: "Table | None" = field(default=None, repr=False)

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns, those of earlier stages first."""
        return (self.after.columns if self.after else ()) + self.adds

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Name → dtype of every column."""
        return {column.name: column.dtype for column in self.columns}


def _column(
    name: str, dtype: pl.DataType | type[pl.DataType], meaning: str, unit: str = "", required: bool = True
) -> Column:
    return Column(name, dtype() if isinstance(dtype, type) else dtype, meaning, unit, required)


INSTANCES = Table(
    "instances",
    "one instance",
    ("scenario", "instance_id"),
    (
        _column("scenario", pl.String, "name of the scenario"),
        _column("scenario_version", pl.String, "version of its rows, from the spec; of a frame, a hash of its content"),
        _column("instance_id", pl.String, "unique in the scenario: the subset, a slash, and the id within the subset"),
        _column("row_index", pl.Int64, "position in the subset over all splits, before filters"),
        _column("subset", pl.String, "one HELM run of the scenario (a subject), a fixed stratum; '' without subsets"),
        _column(
            "cluster", pl.String, "group of instances that were sampled together (a passage); default the instance"
        ),
        _column("split", pl.String, "train, valid or test"),
        _column("sub_split", pl.String, "named part of the split", required=False),
        _column("input", pl.String, "input text"),
        _column(
            "content",
            CONTENT,
            "input in parts (text, media), if it is more than text; an image has its reference as media.name",
            required=False,
        ),
        _column("references", pl.List(REFERENCE), "possible outputs, correct or not"),
    ),
)
TURNS = Table(
    "turns",
    "one turn of a conversation, in a scenario with turns; its later tables have these columns too",
    INSTANCES.key,
    (
        _column(TURN, pl.Int64, "number of the turn in the conversation, from 1"),
        _column(CONVERSATION, pl.String, "id of the conversation; the instance is one of its turns"),
    ),
    INSTANCES,
)
VARIANTS = Table(
    "variants",
    "one instance under one perturbation",
    (*INSTANCES.key, "perturbation", "perturbation_seed"),
    (
        _column("perturbation", pl.String, "name of the perturbation; 'original' for the unperturbed input"),
        _column("perturbation_seed", pl.Int64, "number of the sample of the perturbation; 0 for the original"),
        _column(
            "perturbation_parameters",
            pl.String,
            "all arguments of each link of the chain, defaults included, as canonical JSON; null for the original",
            required=False,
        ),
        _column("perturbed_input", pl.String, "input as it is sent"),
        _column("perturbed_references", pl.List(REFERENCE), "references as they are scored"),
        _column(
            "adapter_change",
            pl.String,
            "adapter fields that this variant replaces, as canonical JSON; null: none",
            required=False,
        ),
        _column(
            "content_change",
            pl.String,
            "perturbations of the images, with arguments and key, as canonical JSON; null: none",
            required=False,
        ),
        _column(
            "changed",
            pl.Boolean,
            "whether input, references or adapter differ from the original, in this or an earlier turn, or HELM counts "
            "the unchanged copy",
        ),
        _column("repeat", pl.Int64, "0; above 0 if the unchanged prompt is requested again (perturbation 'rerun')"),
    ),
    INSTANCES,
)
REQUESTS = Table(
    "requests",
    "one prompt, independent of the model",
    (*VARIANTS.key, "setting", "trial", "reference_index", "request_mode"),
    (
        _column("setting", pl.String, "cell of the plan's grid ('shots=0'); '' without a grid"),
        _column("trial", pl.Int64, "number of the sample of few-shot examples"),
        _column("reference_index", pl.Int64, "index of the option, if each option has its own request", required=False),
        _column(
            "request_mode",
            pl.String,
            "'original' or 'calibration', if options are scored separately",
            required=False,
        ),
        _column("head_id", pl.String, "the blocks before the question (table `heads`), which a subset and trial share"),
        _column(
            "blocks",
            pl.List(BLOCK),
            "the blocks of this request, the question; null in completions of plain text",
        ),
        _column("choices", pl.List(pl.String), "output that stands for each reference ('A', 'B', …); null: free text"),
        _column("answer_pattern", pl.String, "regex whose first group is the output; null: the whole completion"),
        _column("answer_parser", pl.String, "parser of options: 'lenient'; null: HELM's", required=False),
        _column(
            "continuation",
            pl.String,
            "text whose log-probability after the prompt is requested; null: the model generates",
            required=False,
        ),
        _column("substitutions", pl.String, "(regex, replacement) pairs over the prompt, as JSON", required=False),
        _column(
            "scored_outputs",
            pl.String,
            "'helm': one of the n outputs is scored, as in HELM; null: all are scored",
            required=False,
        ),
        _column(
            "truncation",
            pl.String,
            "'right': the prompt is truncated at its end to fit the window; null: never",
            required=False,
        ),
        _column(
            "chat_template",
            pl.Boolean,
            "whether the model's chat template is applied; null: if the model has one",
            required=False,
        ),
        _column("decoding", pl.String, "decoding parameters as canonical JSON"),
        _column("adapter_id", pl.String, "hash of the adapter's fields"),
        _column("shot_ids", pl.List(pl.String), "instance ids of the few-shot examples, in order"),
    ),
    VARIANTS,
)
HEADS = Table(
    "heads",
    "the blocks that the requests of one subset, setting and trial share",
    ("head_id",),
    (
        _column("head_id", pl.String, "hash of the blocks"),
        _column("subset", pl.String, "the subset whose train pool the examples come from"),
        _column("setting", pl.String, "as in `requests`"),
        _column("trial", pl.Int64, "as in `requests`"),
        _column("head", pl.List(BLOCK), "system prompt, instructions and few-shot examples, in order"),
        _column("shot_ids", pl.List(pl.String), "instance ids of the few-shot examples, in order"),
    ),
)
FITTED = Table(
    "fitted",
    "one prompt as one model receives it",
    (*REQUESTS.key, "model", "window_index"),
    (
        _column("model", pl.String, "name of the model"),
        _column("prefix_id", pl.String, "the shared start of the prompt (table `prefixes`)"),
        _column("suffix", pl.String, "the rest of the prompt"),
        _column("shots_used", pl.Int64, "few-shot examples that fit the model's window"),
        _column("prompt_truncated", pl.Boolean, "whether the prompt's text was truncated to fit the window"),
        _column("refused", pl.String, "why this request isn't sent to this model; null if it is", required=False),
        _column(
            "window_index",
            pl.Int64,
            "number of the window, if the text is longer than the model's window",
            required=False,
        ),
        _column(
            "num_conditioning_tokens",
            pl.Int64,
            "tokens of the window before the scored ones, as HELM counts them",
            "tokens",
            required=False,
        ),
    ),
    REQUESTS,
)
PREFIXES = Table(
    "prefixes",
    "one start that several prompts share, as text",
    ("prefix_id",),
    (
        _column("prefix_id", pl.String, "hash of the text"),
        _column("prefix", pl.String, "the text"),
    ),
)
COMPLETIONS = Table(
    "completions",
    "one completion of one request",
    (*FITTED.key, "output_index"),
    (
        _column("output_index", pl.Int64, "number of the output among the n requested"),
        _column("request_id", pl.Binary, "sha256 over model, decoding, output_index and prompt; 16 bytes"),
        _column("completion", pl.String, "raw text, truncated at the first stop sequence; null if the request failed"),
        _column("reasoning", pl.String, "the model's reasoning, which is never scored"),
        _column("logprob", pl.Float64, "log-probability of the completion", "nats"),
        _column("token_logprobs", pl.List(pl.Float64), "log-probability of each token", "nats"),
        _column(
            "is_greedy",
            pl.Boolean,
            "whether greedy decoding generates the continuation; null: unknown, or no continuation was scored",
            required=False,
        ),
        _column("finish_reason", pl.String, "stop, length or null"),
        _column("prompt_tokens", pl.Int64, "tokens of the prompt", "tokens"),
        _column(
            "cached_prompt_tokens",
            pl.Int64,
            "tokens of the prompt that the server read from its own cache; null: unknown",
            "tokens",
            required=False,
        ),
        _column("output_tokens", pl.Int64, "tokens of the completion and its reasoning", "tokens"),
        _column("reasoning_tokens", pl.Int64, "tokens of the reasoning; null if unknown", "tokens", required=False),
        _column("latency", pl.Float64, "duration of the batch that contained the request", "s"),
        _column("cached", pl.Boolean, "whether the completion was read from the store"),
        _column("attempts", pl.Int64, "number of attempts in this run"),
        _column("error", pl.String, "type and message of the exception, if the request failed"),
    ),
    FITTED,
)
READ = Table(
    "read",
    "one completion as a metric sees it",
    COMPLETIONS.key,
    (
        _column("output", pl.String, "parsed and stripped output; null if it isn't parsed"),
        _column("parsed", pl.Boolean, "whether an output was parsed from the completion; null if the request failed"),
        _column("truncated", pl.Boolean, "whether the completion ended at the token limit"),
        _column(
            "starved", pl.Boolean, "whether reasoning used all tokens, so that the completion is empty", required=False
        ),
        _column("correct", pl.List(pl.String), "the texts of the correct references"),
        _column("label_delimiter", pl.String, "separator of the labels in an output; null: one label"),
        _column(
            "gold",
            pl.String,
            "one correct reference: a metric that reads it is computed for each, and the best value counts",
        ),
        _column("score", pl.Float64, "score of the metric `of`, for a metric that joins an instance's outputs"),
        _column("normal_output", pl.String, "lower case, no punctuation or articles, single spaces; also normal_gold"),
        _column("bare_output", pl.String, "normal_output with articles; also bare_gold"),
        _column("words_output", pl.List(pl.UInt64), "hashes of the words of normal_output; also words_gold"),
        _column("stems_output", pl.List(pl.UInt64), "hashes of ROUGE's stemmed words; also stems_gold"),
        _column("terms_output", pl.List(pl.UInt64), "hashes of the words without stemming; also terms_gold"),
        _column("treebank_output", pl.List(pl.UInt64), "hashes of the tokens of BLEU; also treebank_gold"),
    ),
    COMPLETIONS,
)
IMAGES = Table(
    "images",
    "one image of a run, with a thumbnail for reports; of the first images only",
    ("scenario", "sha256"),
    (
        _column("scenario", pl.String, "name of the scenario"),
        _column("sha256", pl.String, "hash of the image's bytes"),
        _column("bytes", pl.Int64, "size of the image", "bytes"),
        _column("width", pl.Int64, "width; null for a damaged image", "pixels"),
        _column("height", pl.Int64, "height; null for a damaged image", "pixels"),
        _column("format", pl.String, "format of the image, such as PNG"),
        _column("thumbnail", pl.Binary, "small PNG, encoded by helmframe; null for a damaged image"),
    ),
)
# The columns that `Results.rows()` has besides the key; each metric is a further column.
ROW_COLUMNS = (
    *("input", "perturbed_input", "prompt", "completion", "reasoning", "output", "parsed", "correct", "choices"),
    *("error", "subset", "split"),
)
# the columns that distinguish the requests of an instance
OF_REQUEST = ("reference_index", "request_mode", "window_index")
SCORES = Table(
    "scores",
    "one metric of one completion (or of one instance, for a metric that joins outputs or options)",
    (*VARIANTS.key, "setting", "trial", "model", "output_index", *OF_REQUEST, "metric"),
    (
        *(
            column
            for column in VARIANTS.columns
            if column.name in ("scenario", "instance_id", "subset", "cluster", "split")
        ),
        *(column for column in VARIANTS.columns if column.name in ("perturbation", "perturbation_seed", "changed")),
        *(column for column in FITTED.columns if column.name in ("setting", "trial", "model")),
        _column("output_index", pl.Int64, "number of the output; null if the metric joins an instance's outputs"),
        _column("output", pl.String, "parsed output; null if it isn't parsed"),
        _column("parsed", pl.Boolean, "whether an output was parsed from the completion; null if the request failed"),
        _column("truncated", pl.Boolean, "whether the completion ended at the token limit"),
        _column(
            "starved", pl.Boolean, "whether reasoning used all tokens, so that the completion is empty", required=False
        ),
        _column("metric", pl.String, "name of the metric"),
        _column(
            "score",
            pl.Float64,
            "value of the metric, null if the request failed; hf.list_metrics() has unit and direction",
        ),
        _column(
            "reason",
            pl.String,
            "why there is no score though the request succeeded; or the metric's reason for a low score",
            required=False,
        ),
        *(column for column in FITTED.columns if column.name in OF_REQUEST),
    ),
)
VERDICTS = Table(
    "verdicts",
    "one verdict of one judge on one completion, or on a pair of completions in one order",
    (*COMPLETIONS.key, "metric", "judge", "order"),
    (
        *(column for column in COMPLETIONS.columns if column.name in COMPLETIONS.key),
        *(column for column in COMPLETIONS.columns if column.name in ("subset", "cluster")),
        _column("metric", pl.String, "name of the judged metric"),
        _column("judge", pl.String, "name of the model that judged"),
        _column("order", pl.Int64, "pairs: 0 if this model's completion came first, 1 if second; else 0"),
        _column("against", pl.String, "pairs: the model of the other completion", required=False),
        _column("prompt", pl.String, "prompt of the judge; null for an empty completion, which isn't judged"),
        _column("reply", pl.String, "last completion of the judge; null if the request failed"),
        _column("reasoning", pl.String, "reasons that the judge gives"),
        _column("verdict", pl.String, "text between the score tags; null without tags"),
        _column(
            "value", pl.Float64, "number on the template's scale; pairs: the value for this model, in either order"
        ),
        _column("attempts", pl.Int64, "requests until a verdict was parsed"),
        _column("request_id", pl.Binary, "as in `completions`, of the last request to the judge"),
        _column("prompt_tokens", pl.Int64, "tokens of the prompts of all attempts", "tokens"),
        _column(
            "cached_prompt_tokens",
            pl.Int64,
            "tokens of these prompts that the server read from its own cache; null: unknown",
            "tokens",
            required=False,
        ),
        _column("output_tokens", pl.Int64, "tokens of the replies of all attempts", "tokens"),
        _column("cached", pl.Boolean, "whether the last reply was read from the store"),
        _column("error", pl.String, "why there is no value: the request failed, or no verdict was parsed"),
    ),
)
STATS = Table(
    "stats",
    "one metric aggregated over the groups of `by`",
    ("metric",),
    (
        _column("metric", pl.String, "name of the metric"),
        _column("value", pl.Float64, "the aggregated score, in the metric's unit"),
        _column("stderr", pl.Float64, "its standard error over clusters within subsets"),
        _column("ci_low", pl.Float64, "lower end of the interval"),
        _column("ci_high", pl.Float64, "upper end of the interval"),
        _column("interval", pl.String, "method of the interval, or why there is none"),
        _column("n", pl.Int64, "instances"),
        _column("n_clusters", pl.Int64, "distinct clusters, the sampling units of the interval"),
        _column("n_completions", pl.Int64, "completions, failed ones included"),
        _column("n_error", pl.Int64, "completions without a score: the request failed, or the metric has no value"),
        _column("n_unparsed", pl.Int64, "completions without a parsed output (they score 0)"),
        _column("n_truncated", pl.Int64, "completions that ended at the token limit"),
        _column("n_starved", pl.Int64, "completions that are empty because reasoning used all tokens"),
    ),
)
HELM_STATS = Table(
    "helm_stats",
    "one statistic that HELM recorded and `scores` lacks: of all instances, or of several requests of one",
    ("scenario", "subset", "model", "setting", "instance_id", "trial", "description", "split", "sub_split", "metric"),
    (
        *(column for column in VARIANTS.columns if column.name in ("scenario", "subset")),
        *(column for column in FITTED.columns if column.name in ("model", "setting")),
        _column("instance_id", pl.String, "the instance; null for a statistic of all instances"),
        _column("trial", pl.Int64, "the trial of the instance; null for a statistic of all instances"),
        _column("description", pl.String, "HELM's description of the perturbation as JSON; null for the original"),
        _column("split", pl.String, "the split"),
        _column("sub_split", pl.String, "HELM's part of the split"),
        _column("metric", pl.String, "HELM's name of the statistic"),
        _column("count", pl.Int64, "number of values"),
        _column("sum", pl.Float64, "sum of the values"),
        _column("sum_squared", pl.Float64, "sum of their squares"),
        _column("min", pl.Float64, "the smallest value; null without values"),
        _column("max", pl.Float64, "the largest value; null without values"),
    ),
)
OVERLAP = Table(
    "overlap",
    "the n-grams that one field of an instance shares with a corpus",
    ("scenario", "instance_id", "field", "n"),
    (
        *(column for column in INSTANCES.columns if column.name in ("scenario", "subset", "instance_id", "split")),
        _column("field", pl.String, "input, references, or intersection: n-grams that are partly in both"),
        _column("n", pl.Int64, "tokens of an n-gram"),
        _column("n_ngrams", pl.Int64, "n-grams of the field"),
        _column("n_overlapping", pl.Int64, "those of them that the corpus has"),
        _column("fraction", pl.Float64, "n_overlapping / n_ngrams; null without n-grams"),
        _column("token_fraction", pl.Float64, "tokens in an overlapping n-gram / tokens; null without n-grams"),
        _column("longest_span", pl.Int64, "longest run of tokens that are in overlapping n-grams", "tokens"),
        _column("example", pl.String, "start of that run, normalised; null without overlap"),
    ),
)
LOGS = Table(
    "logs",
    "one record that a run logged, warned or printed",
    ("run", "time", "number"),
    (
        _column("time", pl.Datetime("us", "UTC"), "time of the record"),
        _column("number", pl.Int64, "position in the order of arrival"),
        _column("level", pl.String, "DEBUG, INFO, WARNING, ERROR or CRITICAL; INFO for printed text"),
        _column("logger", pl.String, "name of the logger; helmframe.model.stdout or .stderr for printed text"),
        _column("run", pl.String, "id of the run"),
        _column("scenario", pl.String, "scenario of the running request; null outside a model"),
        _column("instance_id", pl.String, "its instance; the first one if the call had several prompts"),
        _column("model", pl.String, "the running model"),
        _column("prompts", pl.Int64, "number of the run's prompts in the call"),
        _column("message", pl.String, "the text, without known secrets"),
        _column("traceback", pl.String, "traceback, if the record has one"),
        _column("thread", pl.String, "name of the thread"),
        _column("process", pl.String, "name of the process"),
    ),
)
_BATCH = {
    "id": pl.String,
    "status": pl.String,
    "submitted": pl.Int64,
    "completed": pl.Int64,
    "failed": pl.Int64,
    "age": pl.Float64,
}
PROGRESS = Table(
    "progress",
    "progress of a run with one scenario and model",
    ("scenario", "model"),
    (
        _column("scenario", pl.String, "name of the scenario"),
        _column("model", pl.String, "name of the model"),
        _column("planned", pl.Int64, "planned completions of the rows read so far", "completions"),
        _column("cached", pl.Int64, "completions read from the store", "completions"),
        _column("shared", pl.Int64, "completions shared with another row that has the same prompt", "completions"),
        _column("refused", pl.Int64, "requests that aren't sent to the model", "completions"),
        _column("generated", pl.Int64, "finished requests, failed ones included", "completions"),
        _column("failed", pl.Int64, "failed requests", "completions"),
        _column(
            "rerun", pl.Int64, "completions without text after reasoning, generated again with more room", "completions"
        ),
        _column("prompt_tokens", pl.Int64, "tokens of the generated completions, if the model counts them", "tokens"),
        _column("output_tokens", pl.Int64, "tokens of the generated completions, if the model counts them", "tokens"),
        _column("rate", pl.Float64, "finished requests per second since the first was planned; null before", "1/s"),
        _column("seconds_left", pl.Float64, "estimated time left at that rate; null before", "s"),
        _column(
            "batches",
            pl.List(pl.Struct(_BATCH)),
            "batches of the model in this run; null without a batch API",
        ),
    ),
)
TABLES = (
    *(INSTANCES, TURNS, VARIANTS, REQUESTS, HEADS, FITTED, PREFIXES, COMPLETIONS),
    *(IMAGES, READ, SCORES, VERDICTS, STATS, HELM_STATS, OVERLAP, LOGS, PROGRESS),
)


def schema(table: str | None = None) -> pl.DataFrame:
    """Return every documented column: one row per (table, column) with dtype, meaning, unit and required.

    >>> schema("prefixes")["column"].to_list()
    ['prefix_id', 'prefix']

    Raises:
        UnknownNameError: No table has this name.
    """
    names = [definition.name for definition in TABLES]
    if table is not None and table not in names:
        raise UnknownNameError.among("table", table, names)
    return pl.DataFrame(
        [
            {
                "table": definition.name,
                "column": column.name,
                "dtype": str(column.dtype),
                "meaning": column.meaning,
                "unit": column.unit,
                "required": column.required,
            }
            for definition in TABLES
            for column in definition.columns
            if table in (None, definition.name)
        ]
    )


def source_column(name: str) -> str:
    """Return the table column that holds a scenario's own column `name`.

    >>> source_column("subject")
    'data_subject'
    """
    return SOURCE_PREFIX + name


def source_names(columns: Iterable[str]) -> list[str]:
    """Return the names of a scenario's own columns among a table's columns, without the prefix.

    >>> source_names(["input", "data_subject"])
    ['subject']
    """
    return [name.removeprefix(SOURCE_PREFIX) for name in columns if name.startswith(SOURCE_PREFIX)]


def resolve_column(name: str, columns: Collection[str]) -> str | None:
    """Return the column of a table that a user's `name` refers to, or None if there is no such column.

    A column of helmframe wins over a scenario's own column of the same name; `data_NAME` always means the latter.

    >>> resolve_column("subject", ["input", "data_subject", "data_input"])
    'data_subject'
    >>> resolve_column("input", ["input", "data_subject", "data_input"])
    'input'
    """
    if name in columns and not name.startswith(SOURCE_PREFIX):
        return name
    prefixed = source_column(name)
    if prefixed in columns:
        return prefixed
    return name if name in columns else None


def with_source_columns(frame: pl.LazyFrame, names: Iterable[str]) -> pl.LazyFrame:
    """Add the scenario's own columns among `names` under their bare names, unless a table column has that name."""
    columns = frame.collect_schema()
    added = [name for name in dict.fromkeys(names) if name not in columns and source_column(name) in columns]
    return frame.with_columns(pl.col(source_column(name)).alias(name) for name in added) if added else frame


def conform(frame: pl.DataFrame, table: Table, where: str = "") -> pl.DataFrame:
    """Return the frame with the table's columns first, in the table's types; missing optional ones are null.

    Raises:
        SourceBrokenError: A required column is missing, or the cast fails. The message starts with `where`.
    """
    return frame.select(_conforming(frame.schema, table, where))


def _conforming(schema: Mapping[str, pl.DataType], table: Table, where: str) -> Sequence[pl.Expr]:
    missing = [column.name for column in table.columns if column.required and column.name not in schema]
    if missing:
        raise SourceBrokenError(
            f"{where or table.name}: column {', '.join(missing)} is missing. Columns: {', '.join(schema)}."
        )
    expressions = [
        pl.col(column.name).cast(column.dtype)
        if column.name in schema
        else pl.lit(None, dtype=column.dtype).alias(column.name)
        for column in table.columns
    ]
    names = {column.name for column in table.columns}
    return expressions + [pl.col(name) for name in schema if name not in names]
