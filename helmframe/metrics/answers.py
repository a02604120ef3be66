r"""Parsing of the answer in a chat model's completion: "B.", "(B)", "The answer is **B**", "… so B." after reasoning.

`answer_parser="lenient"` uses it. HELM uses the completion unchanged (`answer_parser="strict"`).
"""

from collections.abc import Callable
from typing import Any

import polars as pl

from helmframe._core.expressions import stripped

# Reasoning in tags, whose opening tag may be in the prompt; without a closing tag it is the rest of the text.
_REASONING = r"(?is)^.*(?:</(?:think|thinking|reasoning)>|\[/think\])|(?:<(?:think|thinking|reasoning)>|\[think\]).*$"
# Characters around a label: space, quotes, brackets, Markdown, LaTeX.
_BEFORE = r"[\s*_$`\"'“”‘’(\[{]*(?:\\[a-z]+\{[\s({]*)*"
_AFTER = r"[\s*_$`\"'“”‘’)\]}]*"
# A Latin label may be followed by a script without spaces: "答案是B因为".
_LABEL = r"([A-Za-z0-9]{1,5}|[\p{L}\p{N}]{1,5})"
_EDGE = r"(?:[^\p{L}\p{N}'’-]|[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]|$)"
# The end of a label that isn't a word of a sentence: punctuation, or the end of the line.
_END = r"[\s*_$`\"'“”‘’]*(?:[)\]}.,;:!?。，；：！？]|\n|$)"
_ANSWER = (
    r"(?:(?i:\b(?:answer|choice|option|response|respuesta|réponse|antwort|resposta|risposta|ответ)\b)"
    r"|答案|答え|정답|الإجابة|الجواب)"
)
_IS = r"(?:(?i:\b(?:is|be|are|es|est|ist)\b|\b[eéè]\s)|[:=：—]|是|为|は|은|هي|هو)"
_ARTICLE = r"(?i:(?:the\s+)?(?:correct\s+|right\s+|best\s+)?(?:option\s+|choice\s+|answer\s+|letter\s+)?)"
_CUED = rf"(?:{_ANSWER}[^.\n]{{0,40}}?{_IS}[\s*_:]*{_ARTICLE}|\\boxed\{{){_BEFORE}{_LABEL}"
# "the answer is B", "Answer: (B)", "correct option would be B", "\boxed{B}"
_CUE = _CUED + _EDGE
# "B is correct", "(B) is the answer"
_SUBJECT = rf"(?:^|[\s*_$`\"'“‘(\[]){_LABEL}{_AFTER}\s+(?i:is|would be)\s+(?i:the\s+)?(?i:correct|right|best|answer)\b"
# B alone
_WHOLE = rf"^{_BEFORE}{_LABEL}{_AFTER}$"
# B at the very start, or alone on the last line
_FIRST = rf"^{_BEFORE}{_LABEL}(?:[\s*_$`\"'”’]*(?:[)\].:,;}}—–]|\n|$)|\s+-\s)"
_LAST = rf"\n{_BEFORE}{_LABEL}{_AFTER}[.!]*$"
# B at the start of any line, as in a list of all options
_LINE = rf"(?m)^{_BEFORE}{_LABEL}[\s*_$`\"'”’]*[)\].:]"
# "I would go for option B"
_OPTION = rf"(?i:\b(?:option|choice)\s+){_BEFORE}{_LABEL}{_EDGE}"
# Labels that are no words, for rules that remove or compare them.
_SHORT = r"(?:[\p{Lu}\p{Lo}\p{N}]{1,2}|[ivx]{1,4})"
_DENIED = r"(?:not|wrong|incorrect|false|unlikely|impossible|out)\b"
# Labels that the text rejects or doesn't decide between: "A is wrong", "not A", "A or B"
_REJECTED = (
    rf"{_SHORT}{_AFTER}\s+(?i:(?:is|are|was|seems|looks)(?:n['’]t\b|\s+{_DENIED})|can(?:not|['’]t)\b)"
    rf"|(?i:\b(?:not|neither|nor|out|eliminates?d?|excludes?d?|instead of|than)\s+){_ARTICLE}{_BEFORE}{_SHORT}\b"
    rf"|\b{_SHORT}{_AFTER}(?:,{_BEFORE}{_SHORT}{_AFTER})*\s*(?:/|,|\s(?i:or|and|vs\.?)\s){_BEFORE}{_SHORT}\b"
)
# "I think it's B because", "I'd go with B.", "So B."
_THINKS = (
    r"(?i:\b(?:it(?:['’]s|\s+(?:is|must be|should be|would be|has to be))"
    r"|(?:i|we)(?:['’](?:d|ll|m|ve))?(?:\s+(?:would|will|have|am))*\s+(?:think|believe|choose|chose|chosen|pick|picked"
    r"|select|selected|say|guess|go\s+(?:for|with)|going\s+with|opt\s+for)(?:\s+that)?(?:\s+it(?:['’]s|\s+is))?"
    r"|so|therefore|thus|hence|leaving|leaves)\b)"
)
_OPINION = (
    rf"{_THINKS}[\s,:*_]*{_ARTICLE}{_BEFORE}{_LABEL}"
    rf"(?:{_END}|\s+(?i:because|since|as|for|based|due|given|here)\b|\s+[—–-]\s)"
)
# A label in brackets or bold anywhere: "(B)", "**B**", "**B. Paris**"
_MARKED = rf"(?:\(|\[|\*\*\(?|__\(?){_LABEL}(?:[)\].:]|\*\*|__)"
# A rule returns row and label of the rows (row, text, labels, options) whose text states a choice. Its other argument
# has row, label and key of each choice; the text contains the key.
Rule = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]

# free text: the text after "answer is" or "Answer:", up to the end of the line
_TEXT = r"(?i:\banswer\b)(?:[^.\n]{0,40}?(?i:\bis\b)|[\s*_]*:)[\s*_:]*([^\n]*\S)"
_BOXED = r"\\boxed\{([^{}\n]*(?:\{[^{}\n]*\}[^{}\n]*)*)\}"


def lenient(completion: pl.Expr, choices: pl.Expr, texts: pl.Expr) -> pl.Expr:
    r"""Return the answer that the completion states; if there are choices, one of them, or null.

    With choices, the first of these rules that finds a choice counts:

    - The whole completion is a choice, or the text of an option. Or an option's text follows "The answer is".
    - The last label stated as the answer: "The answer is B", `\boxed{B}`, "B is correct".
    - A label at the start of the completion ("B. Paris"), unless other lines start with other labels. Or a label alone
      on its last line.
    - The only label called an option: "I'd take option B".
    - The last label stated as an opinion or a conclusion: "I think it's B because A is wrong", "So B."
    - The only label in brackets or bold: "(B)", "**B**".
    - The same rules for labels in the other case, if punctuation or the end of a line follows: "b)".

    The last rules skip labels that the text rejects ("A is wrong") or doesn't decide between ("A or B"). A label is
    never a word of a sentence, such as the article in "A good question". Reasoning in tags (`<think>…</think>`) is
    removed. Labels are those of the prompt, in any script.

    Without choices, the answer is the text of the last `\boxed{…}`. If there is none, it is the text after "answer is
    …" or "Answer: …" up to the end of the line, without Markdown, quotes and a final full stop. Otherwise it is the
    whole completion.

    Args:
        completion: The completion.
        choices: The labels of the options, as a list; null for free text.
        texts: The texts of the options, in the order of the labels.

    >>> frame = pl.DataFrame({"text": ["(B) Rome", "I think the answer is **A**.", "Rome"]})
    >>> frame = frame.with_columns(letters=pl.lit(["A", "B"]), cities=pl.lit(["Paris", "Rome"]))
    >>> frame.select(lenient(pl.col("text"), pl.col("letters"), pl.col("cities"))).to_series().to_list()
    ['B', 'A', 'B']
    """

    def read(columns: list[pl.Series] | Any) -> pl.Series:
        completions, labels, options = columns
        if completions.null_count() == len(completions):
            return pl.Series(completions.name, completions, dtype=pl.String)
        frame = pl.DataFrame({"text": completions, "labels": labels, "options": options}).with_row_index("row")
        frame = frame.with_columns(stripped(pl.col("text").str.replace_all(_REASONING, "")))
        chosen = _choices(frame.filter(pl.col("text").str.len_bytes() > 0, pl.col("labels").is_not_null()))
        joined = frame.join(chosen, on="row", how="left", maintain_order="left")
        return joined.select(pl.when(pl.col("labels").is_null()).then(_free_text()).otherwise("label")).to_series()

    return pl.map_batches([stripped(completion), choices, texts], read, return_dtype=pl.String, is_elementwise=True)


def _choices(rows: pl.DataFrame) -> pl.DataFrame:
    """Return row and label of the rows whose text states a choice; each rule reads the rows that are left."""
    known = rows.select("row", label="labels").explode("label", empty_as_null=True).drop_nulls()
    known = known.with_columns(key="label")
    chosen = [known.select("row", "label").clear()]
    for rule in _RULES:
        if rows.is_empty():
            break
        chosen.append(rule(rows, known))
        rows = rows.join(chosen[-1], on="row", how="anti", maintain_order="left")
    return pl.concat(chosen)


def _labels(pattern: str) -> pl.Expr:
    """Return all labels that the pattern finds."""
    return pl.col("text").str.extract_all(pattern).list.eval(pl.element().str.extract(pattern, 1))


def _matches(
    rows: pl.DataFrame, known: pl.DataFrame, labels: pl.Expr, *, only: bool = False, upper: bool = False
) -> pl.DataFrame:
    """Return row and label: the last of the labels that is a choice of its row.

    Args:
        rows: Rows with their text.
        known: Row, label and key of each choice.
        labels: The labels in the text.
        only: Whether a row with several different labels has none.
        upper: Whether labels are compared with the keys in upper case.
    """
    named = rows.select("row", key=labels).explode("key", empty_as_null=True)
    if upper:
        named = named.with_columns(pl.col("key").str.to_uppercase())
    return (
        named.join(known, on=["row", "key"], how="inner", maintain_order="left")
        .group_by("row", maintain_order=True)
        .agg(pl.col("label").last(), different=pl.col("label").n_unique())
        .filter((pl.col("different") == 1) if only else pl.lit(value=True))
        .drop("different")
    )


def _is_text(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return the label of the only option whose text is the completion, or is stated as the answer."""
    rows = rows.filter(pl.col("options").list.len() == pl.col("labels").list.len())
    options = rows.select("row", "options", label="labels").explode("options", "label", empty_as_null=True)
    options = options.with_columns(key=_bare(pl.col("options"))).filter(pl.col("key").str.len_bytes() > 0)
    labelled = options.with_columns(key=pl.concat_str(_bare(pl.col("label")), pl.lit(" "), "key"))
    by_text = pl.concat([options, labelled]).join(known, on=["row", "label"], how="semi", maintain_order="left")
    stated = pl.concat_list(_bare(pl.col("text")), _bare(pl.col("text").str.extract(rf"(?s:^.*){_TEXT}", 1)))
    return _matches(rows, by_text, stated, only=True)


def _at_start(rows: pl.DataFrame, known: pl.DataFrame, *, upper: bool = False) -> pl.DataFrame:
    """Return the label at the start, unless lines start with different labels, as in a list of all options."""
    lines = rows.select("row", key=_labels(_LINE)).explode("key", empty_as_null=True)
    if upper:
        lines = lines.with_columns(pl.col("key").str.to_uppercase())
    several = lines.join(known, on=["row", "key"], how="semi").group_by("row").agg(pl.col("key").n_unique())
    single = rows.join(several.filter(pl.col("key") > 1), on="row", how="anti", maintain_order="left")
    return _matches(_decided(single), known, _labels(_FIRST), upper=upper)


def _decided(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows without the labels that their text rejects, or doesn't decide between."""
    return rows.with_columns(pl.col("text").str.replace_all(_REJECTED, " … "))


def _rule(pattern: str, *, only: bool = False, decided: bool = False) -> Rule:
    """Return the rule that a choice is the last label that the pattern finds, or the only one."""

    def rule(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
        return _matches(_decided(rows) if decided else rows, known, _labels(pattern), only=only)

    return rule


def _in_other_case(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return the label that the text states in the other case, if punctuation or the end of a line follows."""
    known = known.with_columns(pl.col("key").str.to_uppercase()).filter(pl.struct("row", "key").is_unique())
    chosen = [
        *(_matches(rows, known, _labels(pattern), upper=True) for pattern in (_WHOLE, _CUED + _END)),
        _at_start(rows, known, upper=True),
        _matches(rows, known, _labels(_LAST), upper=True),
        _matches(_decided(rows), known, _labels(_MARKED), only=True, upper=True),
    ]
    return pl.concat(chosen).unique("row", keep="first", maintain_order=True)


# The rules for labels, in their order.
_RULES: tuple[Rule, ...] = (
    lambda rows, known: _matches(rows, known, pl.concat_list("text")),
    _is_text,
    _rule(_CUE),
    _rule(_SUBJECT),
    _at_start,
    _rule(_LAST),
    _rule(_OPTION, only=True),
    _rule(_OPINION, decided=True),
    _rule(_MARKED, only=True, decided=True),
    _in_other_case,
)


def _bare(text: pl.Expr) -> pl.Expr:
    """Return the text for a comparison: lower case, single spaces, without Markdown, quotes and final punctuation."""
    bare = text.str.to_lowercase().str.replace_all(r"[*_`\"“”‘’()\[\]]+", " ").str.replace_all(r"\s+", " ")
    return bare.str.strip_chars(" '.!。:,;")


def _free_text() -> pl.Expr:
    text = pl.col("text")
    boxed = text.str.extract_all(_BOXED).list.last().str.extract(_BOXED, 1)
    named = text.str.extract(rf"(?s:^.*){_TEXT}", 1)
    bare = named.str.replace(r"^[\s*_`\"'“”‘’]+", "").str.replace(r"[\s*_`\"'“”‘’]*[.]?[\s*_`\"'“”‘’]*$", "")
    return pl.coalesce(boxed, pl.when(bare.str.len_bytes() > 0).then(bare), text)
