"""Parsing of the answer in a chat model's completion: "B.", "(B)", "The answer is **B**", "… so B." after reasoning.

`answer_parser="lenient"` uses it. HELM uses the completion unchanged (`answer_parser="strict"`).
"""

from typing import Any

import polars as pl

from helmframe._core.expressions import stripped

# Characters around a label: space, quotes, brackets, Markdown, LaTeX.
_BEFORE = r"[\s*_$`\"'“”‘’(\[{]*(?:\\[a-z]+\{[\s({]*)*"
_AFTER = r"[\s*_$`\"'“”‘’)\]}]*"
_LABEL = r"([\p{L}\p{N}]{1,5})"
_EDGE = r"(?:[^\p{L}\p{N}'’-]|$)"
_ANSWER = r"(?i:\b(?:answer|choice|option|response)\b)"
_IS = r"(?:(?i:\b(?:is|be|are)\b)|[:=])"
_ARTICLE = r"(?i:(?:the\s+)?(?:correct\s+|right\s+|best\s+)?(?:option\s+|choice\s+|answer\s+|letter\s+)?)"
# "the answer is B", "Answer: (B)", "correct option would be B", "\boxed{B}"
_CUE = rf"(?:{_ANSWER}[^.\n]{{0,40}}?{_IS}[\s*_:]*{_ARTICLE}|\\boxed\{{){_BEFORE}{_LABEL}{_EDGE}"
# "B is correct", "(B) is the answer"
_SUBJECT = rf"(?:^|[\s*_$`\"'“‘(\[]){_LABEL}{_AFTER}\s+(?i:is|would be)\s+(?i:the\s+)?(?i:correct|right|best|answer)\b"
# B at the very start, or alone on the last line
_FIRST = rf"^{_BEFORE}{_LABEL}(?:[\s*_$`\"'”’]*(?:[)\].:,;}}—–]|\n|$)|\s+-\s)"
_LAST = rf"\n{_BEFORE}{_LABEL}{_AFTER}[.!]*$"
# "I would go for option B"
_OPTION = rf"(?i:\b(?:option|choice)\s+){_BEFORE}{_LABEL}{_EDGE}"
# free text: the text after "answer is" or "Answer:", up to the end of the line
_TEXT = r"(?i:\banswer\b)(?:[^.\n]{0,40}?(?i:\bis\b)|[\s*_]*:)[\s*_:]*([^\n]*\S)"
_BOXED = r"\\boxed\{([^{}\n]*(?:\{[^{}\n]*\}[^{}\n]*)*)\}"


def lenient(completion: pl.Expr, choices: pl.Expr) -> pl.Expr:
    r"""Return the answer that the completion states; if there are choices, one of them, or null.

    With choices, the first of these rules that finds a choice counts:

    - The whole completion is a choice.
    - The last label stated as the answer: "The answer is B", `\boxed{B}`, "B is correct".
    - A label at the start of the completion ("B. Paris"), or alone on its last line.
    - The only label called an option: "I'd take option B".

    Labels are those of the prompt. Without choices, the answer is the text of the last `\boxed{…}`. If there is none,
    it is the text after "answer is …" or "Answer: …" up to the end of the line, without Markdown, quotes and a final
    full stop. Otherwise it is the whole completion.

    >>> frame = pl.DataFrame({"text": ["(B) Rome", "I think the answer is **A**."], "letters": [["A", "B"]] * 2})
    >>> frame.select(lenient(pl.col("text"), pl.col("letters"))).to_series().to_list()
    ['B', 'A']
    """

    def read(columns: list[pl.Series] | Any) -> pl.Series:
        texts, options = columns
        if texts.null_count() == len(texts):
            return pl.Series(texts.name, texts, dtype=pl.String)
        frame = pl.DataFrame({"text": texts, "options": options}).with_row_index("row")
        choice_labels = frame.select("row", label="options").explode("label", empty_as_null=True).drop_nulls()
        label = pl.coalesce(
            _last_choice(frame, choice_labels, pl.concat_list("text")),
            *(_last_choice(frame, choice_labels, _labels(pattern)) for pattern in (_CUE, _SUBJECT, _FIRST, _LAST)),
            _last_choice(frame, choice_labels, _labels(_OPTION), only=True),
        )
        free = pl.when(frame["options"].is_null()).then(_free_text(frame["text"]))
        return pl.select(free.otherwise(label)).to_series()

    return pl.map_batches([stripped(completion), choices], read, return_dtype=pl.String, is_elementwise=True)


def _labels(pattern: str) -> pl.Expr:
    """Return all labels that the pattern finds."""
    return pl.col("text").str.extract_all(pattern).list.eval(pl.element().str.extract(pattern, 1))


def _last_choice(frame: pl.DataFrame, choice_labels: pl.DataFrame, labels: pl.Expr, *, only: bool = False) -> pl.Series:
    """Return, per row, the last of the labels that is a choice of that row.

    With `only`, a row with several different labels has none.
    """
    last_labels = (
        frame.select("row", label=labels)
        .explode("label", empty_as_null=True)
        .join(choice_labels, on=["row", "label"], how="semi", maintain_order="left")
        .group_by("row", maintain_order=True)
        .agg(pl.col("label").last(), different=pl.col("label").n_unique())
        .filter((pl.col("different") == 1) if only else pl.lit(value=True))
    )
    return frame.select("row").join(last_labels, on="row", how="left", maintain_order="left")["label"]


def _free_text(texts: pl.Series) -> pl.Expr:
    text = pl.lit(texts)
    boxed = text.str.extract_all(_BOXED).list.last().str.extract(_BOXED, 1)
    named = text.str.extract(rf"(?s:^.*){_TEXT}", 1)
    bare = named.str.replace(r"^[\s*_`\"'“”‘’]+", "").str.replace(r"[\s*_`\"'“”‘’]*[.]?[\s*_`\"'“”‘’]*$", "")
    return pl.coalesce(boxed, pl.when(bare.str.len_bytes() > 0).then(bare), text)
