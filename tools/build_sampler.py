"""Build the Parquet files of the embedded `sampler` scenario from its CSV sources.

The questions are in `tools/sampler/<subject>.csv`, one per row, with the columns
`split,question,right,wrong1,wrong2,wrong3`. `arithmetic.csv` also has a column `check`: an
expression whose value must equal the correct answer.

For every subject and split the script writes
`specs/data/sampler/<subject>/<split>-00000-of-00001.parquet` with the columns of MMLU on the Hugging
Face hub: `question` (string), `subject` (string), `choices` (list of strings) and `answer` (64-bit
integer, the 0-based index of the correct choice). A keyed SHA-256 order sets the index of the
correct answer, so that the letters are balanced within a file. A rebuild with the same version of
polars gives the same bytes.

Usage:
    python tools/build_sampler.py            validate the CSV files and write the Parquet files
    python tools/build_sampler.py --check    validate, and compare the Parquet files with the CSV files

The exit status is 1 if the sources break a rule. With --check it is also 1 if a Parquet file is
missing, unexpected or different from its source.
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import io
import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import polars as pl

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE_DIR: Final = ROOT / "tools" / "sampler"
OUTPUT_DIR: Final = ROOT / "specs" / "data" / "sampler"

SUBJECTS: Final = (
    "philosophy",
    "astronomy",
    "arithmetic",
    "geography",
    "biology",
    "computing",
    "music",
    "english",
)
CHECKED_SUBJECTS: Final = frozenset({"arithmetic"})
MINIMUM_ROWS: Final = {"dev": 6, "validation": 4, "test": 32}
COLUMNS: Final = ("split", "question", "right", "wrong1", "wrong2", "wrong3")
CHECK_COLUMN: Final = "check"
LETTERS: Final = "ABCD"
ORDER_KEY: Final = "sampler-order-1"
# A guesser who always picks the longest option must not do much better than chance.
LONGEST_SHARE_LIMIT: Final = 0.4

SCHEMA: Final = {
    "question": pl.String(),
    "subject": pl.String(),
    "choices": pl.List(pl.String()),
    "answer": pl.Int64(),
}


class CheckError(Exception):
    """A `check` expression, or an option to compare with it, is not plain exact arithmetic."""


@dataclass(frozen=True)
class Row:
    """One question of a CSV file; `options` has the correct answer first."""

    subject: str
    line: int
    split: str
    question: str
    options: tuple[str, ...]
    check: str | None

    @property
    def location(self) -> str:
        """Return the file and line, for messages."""
        return f"{self.subject}.csv:{self.line}"


# --------------------------------------------------------------------------------------------------
# Exact evaluation of the `check` expressions


def _whole(value: Fraction) -> int:
    if value.denominator != 1:
        raise CheckError(f"{value} is not a whole number")
    return value.numerator


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    whole = _whole(exponent)
    if not 0 <= whole <= 64 or abs(base) > 10**6:
        raise CheckError(f"power out of range: {base} ** {exponent}")
    return base**whole


def _sqrt(value: Fraction) -> Fraction:
    if value < 0:
        raise CheckError(f"square root of the negative number {value}")
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root != value:
        raise CheckError(f"{value} is not a perfect square")
    return root


def _factorial(value: Fraction) -> Fraction:
    whole = _whole(value)
    if not 0 <= whole <= 20:
        raise CheckError(f"factorial out of range: {value}")
    return Fraction(math.factorial(whole))


BINARY: Final[dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
}
UNARY_FUNCTIONS: Final[dict[str, Callable[[Fraction], Fraction]]] = {
    "sqrt": _sqrt,
    "factorial": _factorial,
}
BINARY_FUNCTIONS: Final[dict[str, Callable[[Fraction, Fraction], Fraction]]] = {
    "gcd": lambda a, b: Fraction(math.gcd(_whole(a), _whole(b))),
    "lcm": lambda a, b: Fraction(math.lcm(_whole(a), _whole(b))),
}


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=bool()):
            raise CheckError("a truth value is not a number")
        case ast.Constant(value=int() as number):
            return Fraction(number)
        case ast.Constant(value=float() as number):
            return Fraction(repr(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in BINARY:
            return BINARY[type(operator)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in UNARY_FUNCTIONS:
            return UNARY_FUNCTIONS[name](_value(argument))
        case ast.Call(func=ast.Name(id=name), args=[one, two], keywords=[]) if name in BINARY_FUNCTIONS:
            return BINARY_FUNCTIONS[name](_value(one), _value(two))
        case _:
            raise CheckError(f"not allowed in a check: {ast.unparse(node)}")


def evaluate(expression: str) -> Fraction:
    """Return the exact value of an arithmetic expression.

    Raises:
        CheckError: If it is anything but plain arithmetic.
    """
    try:
        return _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError) as error:
        raise CheckError(f"cannot evaluate {expression!r}: {error}") from error


def option_value(option: str) -> Fraction:
    """Return the exact value of an option such as 12, -13, 0.42 or 5/8."""
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+|/[1-9][0-9]*)?", option):
        raise CheckError(f"option {option!r} is not a plain number")
    return Fraction(option)


# --------------------------------------------------------------------------------------------------
# Reading and validating the sources


def normalise(text: str) -> str:
    """Return the text in lower case, without punctuation, symbols and articles, with single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    letters = "".join(char for char in folded if char.isalnum() or char.isspace())
    return " ".join(word for word in letters.split() if word not in {"a", "an", "the"})


def read_subject(subject: str, problems: list[str]) -> list[Row]:
    """Return the rows of a CSV file, and add the errors of its form to `problems`."""
    path = SOURCE_DIR / f"{subject}.csv"
    columns = (*COLUMNS, CHECK_COLUMN) if subject in CHECKED_SUBJECTS else COLUMNS
    rows: list[Row] = []
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.reader(handle, strict=True)
        if tuple(next(reader, ())) != columns:
            problems.append(f"{path.name}:1: the header must be {','.join(columns)}")
            return rows
        for fields in reader:
            location = f"{path.name}:{reader.line_num}"
            if len(fields) != len(columns):
                problems.append(f"{location}: {len(fields)} fields instead of {len(columns)}")
                continue
            if any(not field or field != " ".join(field.split()) for field in fields):
                problems.append(f"{location}: a field is empty or has stray white space")
            if fields[0] not in MINIMUM_ROWS:
                problems.append(f"{location}: unknown split {fields[0]!r}")
                continue
            check = fields[len(COLUMNS)] if len(fields) > len(COLUMNS) else None
            rows.append(Row(subject, reader.line_num, fields[0], fields[1], tuple(fields[2:6]), check))
    return rows


def check_options(row: Row) -> list[str]:
    """Return the errors of the four options of a row."""
    problems: list[str] = []
    normal = [normalise(option) for option in row.options]
    if not all(normal):
        problems.append(f"{row.location}: an option is empty after normalisation")
    if len(set(normal)) != len(normal):
        problems.append(f"{row.location}: two options are equal after normalisation")
    if any(text.startswith(("all of", "none of", "both of")) for text in normal):
        problems.append(f"{row.location}: an option refers to other options")
    return problems


def check_arithmetic(row: Row) -> list[str]:
    """Return errors unless the correct option, and no other, equals the value of the row's expression."""
    if row.check is None:
        return []
    try:
        expected = evaluate(row.check)
        values = [option_value(option) for option in row.options]
    except CheckError as error:
        return [f"{row.location}: {error}"]
    problems: list[str] = []
    if values[0] != expected:
        problems.append(f"{row.location}: the check gives {expected}, the correct option is {row.options[0]}")
    if len(set(values)) != len(values):
        problems.append(f"{row.location}: two options have the same value")
    return problems


def check_questions(rows: Sequence[Row]) -> list[str]:
    """Return duplicates among the questions of all subjects, and leaks from dev into test."""
    problems: list[str] = []
    seen: dict[str, Row] = {}
    for row in rows:
        first = seen.setdefault(normalise(row.question), row)
        if first is not row:
            leak = {first.split, row.split} == {"dev", "test"}
            problem = "dev question is also in test" if leak else "duplicate question"
            problems.append(f"{row.location}: {problem} (see {first.location})")
    return problems


def check_subject(subject: str, rows: Sequence[Row]) -> list[str]:
    """Return errors if a subject has too few rows, or if the longest option is often correct."""
    problems: list[str] = []
    counts = Counter(row.split for row in rows)
    for split, minimum in MINIMUM_ROWS.items():
        if counts[split] < minimum:
            problems.append(f"{subject}: {counts[split]} rows in {split}, must be ≥ {minimum}")
    longest = sum(len(row.options[0]) > max(len(option) for option in row.options[1:]) for row in rows)
    if longest > LONGEST_SHARE_LIMIT * len(rows):
        problems.append(f"{subject}: the right option is the longest in {longest} of {len(rows)} rows")
    return problems


def read_all() -> tuple[list[Row], list[str]]:
    """Return all rows in the order of the files, and all errors in them."""
    stems = {path.stem for path in SOURCE_DIR.glob("*.csv")}
    problems = [f"{name}.csv: {'unexpected' if name in stems else 'missing'}" for name in sorted(stems ^ set(SUBJECTS))]
    rows: list[Row] = []
    for subject in SUBJECTS:
        if subject in stems:
            subject_rows = read_subject(subject, problems)
            problems += check_subject(subject, subject_rows)
            rows += subject_rows
    for row in rows:
        problems += check_options(row)
        problems += check_arithmetic(row)
    problems += check_questions(rows)
    return rows, problems


# --------------------------------------------------------------------------------------------------
# Order of the options


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\x1f".join((ORDER_KEY, *parts)).encode()).digest()


def _is_cycle(indices: Sequence[int]) -> bool:
    """Return whether the letters repeat in order, as in ABCDABCD or DCBADCBA."""
    steps = {(after - before) % len(LETTERS) for before, after in pairwise(indices)}
    return len(steps) == 1


def answer_indices(subject: str, split: str, questions: Sequence[str]) -> list[int]:
    """Return the index of the correct choice per question: balanced, in an order fixed by SHA-256."""
    salt = 0
    while True:
        keys = [_digest("row", str(salt), subject, split, question) for question in questions]
        start = _digest("start", str(salt), subject, split)[0]
        indices = [0] * len(questions)
        for rank, question in enumerate(sorted(range(len(questions)), key=keys.__getitem__)):
            indices[question] = (start + rank) % len(LETTERS)
        if len(indices) < len(LETTERS) or not _is_cycle(indices):
            return indices
        salt += 1


def choices(row: Row, index: int) -> list[str]:
    """Return the four options with the correct one at `index`, the others in an order fixed by SHA-256."""
    wrong = sorted(row.options[1:], key=lambda option: _digest("option", row.subject, row.question, option))
    return [*wrong[:index], row.options[0], *wrong[index:]]


def build_frames(rows: Sequence[Row]) -> dict[tuple[str, str], pl.DataFrame]:
    """Return the table of each (subject, split)."""
    frames: dict[tuple[str, str], pl.DataFrame] = {}
    for subject in SUBJECTS:
        for split in MINIMUM_ROWS:
            split_rows = [row for row in rows if (row.subject, row.split) == (subject, split)]
            indices = answer_indices(subject, split, [row.question for row in split_rows])
            frames[subject, split] = pl.DataFrame(
                {
                    "question": [row.question for row in split_rows],
                    "subject": [subject] * len(split_rows),
                    "choices": [choices(row, index) for row, index in zip(split_rows, indices, strict=True)],
                    "answer": indices,
                },
                schema=SCHEMA,
            )
    return frames


def check_frames(rows: Sequence[Row], frames: dict[tuple[str, str], pl.DataFrame]) -> list[str]:
    """Return errors if an answer index is wrong, or if the letters are not balanced."""
    problems: list[str] = []
    right = {(row.subject, row.split, row.question): row.options[0] for row in rows}
    for (subject, split), frame in frames.items():
        for question, _, options, answer in frame.iter_rows():
            if options.count(options[answer]) != 1 or options[answer] != right[subject, split, question]:
                problems.append(f"{subject}/{split}: wrong answer index for {question!r}")
        counts = letter_counts(frame)
        if max(counts) - min(counts) > 1:
            problems.append(f"{subject}/{split}: the letters are not balanced: {counts}")
    return problems


def letter_counts(frame: pl.DataFrame) -> list[int]:
    """Return how often each of the letters A to D is correct."""
    counts = Counter(frame["answer"].to_list())
    return [counts[index] for index in range(len(LETTERS))]


# --------------------------------------------------------------------------------------------------
# Files


def parquet_path(subject: str, split: str) -> Path:
    """Return the path of the table of a subject and split."""
    return OUTPUT_DIR / subject / f"{split}-00000-of-00001.parquet"


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """Return the table as Parquet; the same table and polars version give the same bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=9, statistics=False, row_group_size=1 << 20)
    return buffer.getvalue()


def write_files(frames: Mapping[Path, pl.DataFrame]) -> int:
    """Write the files whose content differs from that on disk; return how many were written."""
    written = 0
    for path, frame in frames.items():
        content = parquet_bytes(frame)
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            written += 1
    return written


def compare_files(folder: Path, frames: Mapping[Path, pl.DataFrame]) -> list[str]:
    """Return how the Parquet files of `folder` differ from `frames`, by path."""
    unexpected = sorted(set(folder.rglob("*.parquet")) - set(frames))
    problems = [f"{path.relative_to(ROOT)}: unexpected file" for path in unexpected]
    for path, frame in frames.items():
        name = path.relative_to(ROOT)
        if not path.is_file():
            problems.append(f"{name}: missing")
            continue
        try:
            stored = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            problems.append(f"{name}: cannot be read: {error}")
            continue
        if list(stored.schema.items()) != list(frame.schema.items()):
            problems.append(f"{name}: columns {dict(stored.schema)} instead of {dict(frame.schema)}")
        elif not stored.equals(frame):
            problems.append(f"{name}: differs from the CSV source")
    return problems


def summary(frames: dict[tuple[str, str], pl.DataFrame]) -> str:
    """Return counts and letters, one line per table."""
    lines = [f"{'subject':<12}{'split':<12}{'rows':>5}   {'   '.join(LETTERS)}"]
    for (subject, split), frame in frames.items():
        letters = "".join(f"{count:>4}" for count in letter_counts(frame))
        lines.append(f"{subject:<12}{split:<12}{frame.height:>5}{letters}")
    lines.append(f"{'all':<24}{sum(frame.height for frame in frames.values()):>5}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Validate the sources, then write the Parquet files or compare them with the sources."""
    parser = argparse.ArgumentParser(description="Build the data of the `sampler` scenario.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 if different")
    options = parser.parse_args(arguments)
    rows, problems = read_all()
    if not problems:
        frames = build_frames(rows)
        problems = check_frames(rows, frames)
        files = {parquet_path(*key): frame for key, frame in frames.items()}
        if options.check and not problems:
            problems = compare_files(OUTPUT_DIR, files)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    if options.check:
        print(f"{len(frames)} Parquet files agree with the CSV files")
    else:
        written = write_files(files)
        print(summary(frames))
        print(f"{written} of {len(frames)} Parquet files written, the others were up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
