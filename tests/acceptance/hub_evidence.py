"""Evidence for the Hub addresses of scenarios: the paths, configurations, splits and columns that other tools name.

The sources are the wheels of six tools. They are read as data: Python by its syntax tree, YAML and JSON as they are.
`python -m tests.acceptance.hub_evidence --write` updates `tools/reference/hub_evidence.json` for the reference.
"""

import ast
import gzip
import json
import re
import subprocess
import sys
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from helmframe._core.specs import ScenarioSpec, placeholders
from helmframe.scenarios.catalogue import all_scenarios
from helmframe.scenarios.remote import HubPath
from tests.demo import ROOT

WHEELS = {
    "lm-eval": "lm_eval==0.4.13",
    "Inspect evals": "inspect_evals==0.28.0",
    "lighteval": "lighteval==0.13.0",
    "olmes": "ai2_olmo_eval==0.9.0",
    "crfm-helm": "crfm_helm==0.5.16",
    "evalscope": "evalscope==1.14.1",
}
EVIDENCE = ROOT / "tools" / "reference" / "hub_evidence.json"
# Names that the Hub had before it moved these data sets to their owners; it redirects them.
MOVED = {
    "CohereForAI/Global-MMLU": "CohereLabs/Global-MMLU",
    "ai2_arc": "allenai/ai2_arc",
    "billsum": "FiscalNote/billsum",
    "boolq": "google/boolq",
    "cnn_dailymail": "abisee/cnn_dailymail",
    "commonsense_qa": "tau/commonsense_qa",
    "gsm8k": "openai/gsm8k",
    "hellaswag": "Rowan/hellaswag",
    "imdb": "stanfordnlp/imdb",
    "joelito/lextreme": "joelniklaus/lextreme",
    "lex_glue": "coastalcph/lex_glue",
    "nq_open": "google-research-datasets/nq_open",
    "openai_humaneval": "openai/openai_humaneval",
    "openbookqa": "allenai/openbookqa",
    "piqa": "ybisk/piqa",
    "social_i_qa": "allenai/social_i_qa",
    "trivia_qa": "mandarjoshi/trivia_qa",
    "winogrande": "allenai/winogrande",
    "wmt14": "wmt/wmt14",
    "xsum": "EdinburghNLP/xsum",
}
# Facts of other public sources, read by hand: configurations, splits and columns.
CATALOGUE = "TFDS catalogue"
PUBLIC = "public code"
NOTED: dict[str, tuple[str, str, str, str]] = {
    "PolyAI/banking77": (PUBLIC, "", "train test", "text label"),
    "Salesforce/wikitext": (CATALOGUE, "wikitext-103-raw-v1 wikitext-2-raw-v1", "train validation test", "text"),
    "codeparrot/apps": (PUBLIC, "", "train test", ""),
    "google-research-datasets/mbpp": (PUBLIC, "full", "train test validation prompt", "code"),
    "CohereLabs/Global-MMLU": (PUBLIC, "", "dev test", "sample_id subject subject_category question answer"),
    "livecodebench/code_generation_lite": (
        PUBLIC,
        "",
        "",
        (
            "contest_date difficulty metadata platform private_test_cases public_test_cases starter_code "
            "question_content question_id question_title"
        ),
    ),
    "lmarena-ai/arena-hard-auto": (PUBLIC, "", "", ""),
    "m-a-p/SuperGPQA": (PUBLIC, "default", "train", "question options answer_letter discipline field difficulty"),
    "shlomihod/civil-comments-wilds": (PUBLIC, "", "", ""),
    "Bertievidgen/SimpleSafetyTests": (PUBLIC, "", "", "category harm_area prompt"),
    "EdinburghNLP/xsum": (CATALOGUE, "", "train validation test", "document summary"),
    "FiscalNote/billsum": (CATALOGUE, "", "train test", "text summary"),
    "GBaker/MedQA-USMLE-4-options": (PUBLIC, "default", "train test", "question options answer_idx"),
    "KbsdJames/Omni-MATH": (PUBLIC, "", "test", "answer difficulty problem solution"),
    "Muennighoff/babi": (PUBLIC, "", "train validation test", "passage question answer task"),
    "abisee/cnn_dailymail": (CATALOGUE, "3.0.0", "train validation test", "article highlights"),
    "allenai/WildBench": (PUBLIC, "v2", "test", "checklist conversation_input primary_tag"),
    "allenai/quac": (
        CATALOGUE,
        "plain_text",
        "train validation",
        "answers background context dialogue_id orig_answers questions section_title wikipedia_page_title",
    ),
    "coastalcph/lex_glue": (
        CATALOGUE,
        "ecthr_a ecthr_b eurlex scotus ledgar unfair_tos case_hold",
        "train validation test",
        "text labels",
    ),
    "deepmind/narrativeqa": (CATALOGUE, "", "train validation test", "answers document question"),
    "dennlinger/eur-lex-sum": (PUBLIC, "english", "train validation test", "reference summary"),
    "hotpotqa/hotpot_qa": (CATALOGUE, "distractor fullwiki", "train validation", "context answer question"),
    "nyu-mll/blimp": (CATALOGUE, "adjunct_island", "train", "linguistics_term sentence_bad sentence_good"),
    "rajpurkar/squad": (CATALOGUE, "plain_text", "train validation", "answers context question title"),
    "cambridgeltl/xcopa": (CATALOGUE, "", "validation test", "premise choice1 choice2 question label idx changed"),
    "stanfordnlp/coqa": (CATALOGUE, "", "train validation", "answers questions source story"),
    "stanfordnlp/imdb": (CATALOGUE, "plain_text", "train test", "text label"),
    "truthfulqa/truthful_qa": (
        CATALOGUE,
        "generation multiple_choice",
        "validation",
        "best_answer category incorrect_answers question",
    ),
    "walledai/XSTest": (PUBLIC, "", "test", "focus label prompt"),
}
_LOADERS = ("load_dataset", "hf_dataset", "LightevalTaskConfig", "BenchmarkMeta", "load_hf", "read_dataset", "_dataset")
_PATHS = (
    "path",
    "repo_id",
    "hf_repo",
    "hf_dataset_id",
    "dataset_id",
    "dataset_path",
    "hf_name",
    "dataset_name_or_path",
)
_CONFIGS = ("name", "subset", "data_dir", "dataset_name", "config_name")
_CONFIGS_OF_TASKS = ("hf_subset", "subset_list", "default_subset")  # `name` is that of the task
_SPLITS = ("split", "hf_avail_splits", "evaluation_splits", "few_shots_split", "train_split", "eval_split", "splits")
_REVISIONS = ("revision", "hf_revision")
_REQUESTS = "requests.jsonl.gz"
_MODULES_OF_A_TASK = 12
_SPLIT_NAMES = frozenset(("train", "validation", "test", "dev"))
_YAML_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


@dataclass(frozen=True)
class Naming:
    """What one file of a tool names of a data set.

    `words` are all short texts of the file, which include the columns. A common word is weak evidence for a column.
    """

    tool: str
    file: str
    path: str
    configs: frozenset[str] = frozenset()
    splits: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    revisions: frozenset[str] = frozenset()


@dataclass
class Row:
    """The evidence of one tool for one scenario.

    Attributes:
        configs: The configurations that the tool names; empty for the default.
        config: "equal", "column" (ours is a column in the path), "unnamed" (the tool names none), or "other".
        splits: Our names of splits that the tool names too.
        columns: Our columns that the tool names too.
    """

    tool: str
    files: list[str]
    configs: list[str]
    config: str
    splits: list[str]
    columns: list[str]
    revisions: list[str] = field(default_factory=list)


class Address(NamedTuple):
    """The parts of a scenario's address that tools name."""

    path: str
    config: str
    splits: Sequence[str]
    columns: Sequence[str]


Found: TypeAlias = Sequence[tuple[Address, Sequence["Row"]]]


def addresses(spec: ScenarioSpec) -> list[Address]:
    """Return the Hub's data sets of a spec."""
    hub = dict(spec.hub)
    # SQL and draws make other columns of the source's
    made = "select" in hub or spec.draw.startswith("ruler")
    splits = [name for name, _ in spec.splits]
    sources = [(str(hub[key]), splits, made) for key in ("rows", "whole") if key in hub]
    for download in spec.download:
        if download.url.startswith("hf://datasets/"):
            names: Any = dict(download.values).get("split", splits)
            names = [
                name if isinstance(name, str) else name[0] for name in ([names] if isinstance(names, str) else names)
            ]
            made = bool(download.select or download.files or download.format in ("lines", "text", "objects"))
            sources.append((download.url.replace("@{revision}", ""), names, made))
    path_columns = {*placeholders(str(dict(spec.source).get("rows"))), "split"}
    found: dict[str, Address] = {}
    for text, names, is_made in sources:
        parts = HubPath.parse(text)
        folders = parts.path.split("/")[:-1][: 1 if parts.revision == "refs/convert/parquet" else None]
        config = folders[0] if folders and folders[0] != "data" else "default"
        # without a column `split` in the path, its file or folder has the name of a split
        in_path = names if "{split}" in text else re.findall(r"\b(?:train|validation|test)\b", parts.path)
        columns = [] if is_made else [name for name, _ in spec.columns]
        columns = [name for name in columns if name not in path_columns | set(placeholders(text))]
        found.setdefault(parts.repository, Address(parts.repository, config, in_path, columns))
    return list(found.values())


def namings(folder: Path) -> list[Naming]:
    """Return what the tools name; their wheels are downloaded into the folder, once."""
    namings_: list[Naming] = []
    for tool, requirement in WHEELS.items():
        with zipfile.ZipFile(_wheel(folder, requirement)) as archive:
            namings_ += _of_archive(tool, {name: archive.read(name) for name in archive.namelist() if _is_read(name)})
    for path, (source, configs, splits, columns) in NOTED.items():
        texts = (frozenset(text.split()) for text in (configs, splits, columns))
        namings_.append(Naming(source, "", path, *texts))
    return namings_


def _wheel(folder: Path, requirement: str) -> Path:
    name, version = requirement.split("==")
    pattern = f"{name}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
        subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob(pattern))


def _is_read(name: str) -> bool:
    return name.endswith((".py", ".yaml", ".yml", "config.json", "dataset_info.json", "_yaml", _REQUESTS))


def _of_archive(tool: str, files: Mapping[str, bytes]) -> list[Naming]:
    found: list[Naming] = []
    known = {address.path for spec in all_scenarios() for address in addresses(spec)}
    known |= {old for old, new in MOVED.items() if new in known}
    mention = re.compile("|".join(map(re.escape, known)).encode())
    read = {name.rpartition("/")[0] for name, content in files.items() if mention.search(content)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escape sequences
        trees = {
            name: ast.parse(content)
            for name, content in files.items()
            if name.endswith(".py") and name.rpartition("/")[0] in read
        }
    words = {name: _texts(tree) for name, tree in trees.items()}
    folders: dict[str, list[str]] = defaultdict(list)
    for name in trees:
        folders[name.rpartition("/")[0]].append(name)
    # a task may have a folder with modules of its own; other folders have the tasks of many data sets
    shared = {
        folder: set().union(*(words[name] for name in names)) if len(names) <= _MODULES_OF_A_TASK else set()
        for folder, names in folders.items()
    }
    for name, tree in trees.items():
        constants = _constants(tree, {**_constants_of_folder(name, trees)})
        found += _of_python(tool, name, tree, constants, known, words[name] | shared[name.rpartition("/")[0]])
    for name, content in files.items():
        if name.endswith((".yaml", ".yml", "_yaml")):
            found += _of_yaml(tool, name, files, known, shared.get(name.rpartition("/")[0], set()))
        elif name.endswith("dataset_info.json"):
            found += _of_info(tool, name, json.loads(content), known)
        elif name.endswith("config.json"):
            found += _of_config(
                tool, name, json.loads(content), known, files.get(name.replace("config.json", _REQUESTS))
            )
    return found


def _constants_of_folder(name: str, trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Return the constants of `constants.py` beside a module."""
    tree = trees.get(f"{name.rpartition('/')[0]}/constants.py")
    return _constants(tree, {}) if tree is not None and not name.endswith("/constants.py") else {}


def _constants(tree: ast.Module, known: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the texts that a module assigns to names, at any depth."""
    constants = dict(known)
    for node in ast.walk(tree):
        targets: Sequence[ast.expr] = []
        match node:
            case ast.Assign(targets=list(targets), value=value):
                pass
            case ast.AnnAssign(target=ast.Name() as name, value=ast.expr() as value):
                targets = [name]
            case _:
                continue
        texts = _values(value, constants)
        for target in targets:
            if isinstance(target, ast.Name) and texts:
                constants[target.id] = [*constants.get(target.id, []), *texts]
    return constants


def _values(node: ast.expr | None, constants: Mapping[str, list[str]]) -> list[str]:
    """Return the texts of an expression: a text, a list or a mapping of texts, or a constant."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.List(elts=nodes) | ast.Tuple(elts=nodes) | ast.Set(elts=nodes):
            return [text for element in nodes for text in _values(element, constants)]
        case ast.Dict(values=nodes):
            return [text for element in nodes for text in _values(element, constants)]
        case ast.Name(id=name):
            return list(constants.get(name, []))
        case ast.IfExp(body=first, orelse=second):
            return [*_values(first, constants), *_values(second, constants)]
    return []


def _texts(tree: ast.AST) -> set[str]:
    """Return the short texts of a module, and the names in its templates."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    # the names of splits in `datasets`: Split.TRAIN
    splits = {node.attr.lower() for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.isupper()}
    return {text for text in texts if len(text) <= 40} | (splits & _SPLIT_NAMES)


def _of_python(
    tool: str, name: str, tree: ast.Module, constants: Mapping[str, list[str]], known: set[str], words: set[str]
) -> Iterator[Naming]:
    """Yield what the calls of a module that load data sets name."""
    called: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {keyword.arg: _values(keyword.value, constants) for keyword in node.keywords if keyword.arg}
        first = [text for argument in node.args[:1] for text in _values(argument, constants)]
        paths = {text for key in _PATHS for text in named.get(key, [])} | set(first)
        second = [text for argument in node.args[1:2] for text in _values(argument, constants)]
        for path in sorted(paths & known):
            if "/" not in path and not function.endswith(_LOADERS):
                continue
            called.add(path)
            splits = frozenset(_plain(text) for key in _SPLITS for text in named.get(key, []))
            keys = _CONFIGS_OF_TASKS if function in ("LightevalTaskConfig", "BenchmarkMeta") else _CONFIGS
            configs = {*second, *(text for key in keys for text in named.get(key, []))} or {"default"}
            revisions = frozenset(text for key in _REVISIONS for text in named.get(key, []))
            # without a literal, the splits are named elsewhere in the module
            splits = splits or _SPLIT_NAMES & words
            yield Naming(tool, name, MOVED.get(path, path), frozenset(configs), splits, frozenset(words), revisions)
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    # named elsewhere than in the call that loads it: a constant, or the address of a file
    others = {text for text in texts if "/" in text} | {
        name for text in texts for name in re.findall(r"huggingface\.co/datasets/([\w.\-]+/[\w.\-]+)", text)
    }
    for path in sorted(others & known - called):
        yield Naming(tool, name, MOVED.get(path, path), frozenset(), _SPLIT_NAMES & words, frozenset(words))


def _of_yaml(tool: str, name: str, files: Mapping[str, bytes], known: set[str], words: set[str]) -> Iterator[Naming]:
    """Yield what a task of lm-eval names, with the files that it includes."""
    task = _task(name, files)
    path = str(task.get("dataset_path") or "")
    if path not in known or ("/" not in path and path not in MOVED):
        return
    arguments = task.get("dataset_kwargs") if isinstance(task.get("dataset_kwargs"), dict) else {}
    config = task.get("dataset_name")
    templates = [
        str(task.get(key)) for key in ("doc_to_text", "doc_to_target", "doc_to_choice", "doc_to_decontamination_query")
    ]
    names = {word for template in templates for word in re.findall(r"\w+", template)}
    revision = (arguments or {}).get("revision")
    yield Naming(
        tool, name, MOVED.get(path, path),
        frozenset([str(config or "default")]),
        frozenset(_plain(str(task[key])) for key in _YAML_SPLITS if task.get(key)),
        frozenset(words | names),
        frozenset([str(revision)] if revision else []),
    )  # fmt: skip


class _Loader(yaml.SafeLoader):
    """A loader that reads functions of tasks as null."""


_Loader.add_multi_constructor("!", lambda *_: None)


def _task(name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        task = yaml.load(files[name], _Loader)
    except yaml.YAMLError:
        return {}  # templates of other tools
    if not isinstance(task, dict):
        return {}
    includes = task.get("include") or []
    merged: dict[str, Any] = {}
    for include in [includes] if isinstance(includes, str) else includes:
        base = f"{name.rpartition('/')[0]}/{include}"
        merged |= _task(base, files) if base in files else {}
    return {**merged, **task}


def _of_info(tool: str, name: str, info: Mapping[str, Any], known: set[str]) -> Iterator[Naming]:
    """Yield what the metadata of a stored data set name: its configuration, splits and columns."""
    folders = name.split("/hf_datasets/")[1].split("/")[:-2]
    repository = "/".join(folders[:-1])
    if repository in known:
        configs = frozenset({str(info["config_name"])} - {"default"})
        features = frozenset(info["features"])
        yield Naming(tool, name, MOVED.get(repository, repository), configs, frozenset(info["splits"]), features)


def _of_config(
    tool: str, name: str, config: Mapping[str, Any], known: set[str], requests: bytes | None
) -> Iterator[Naming]:
    """Yield what the configuration of a stored task names, and the columns of the row in its first request."""
    task = config.get("task_config") or {}
    path = str(task.get("dataset_path") or "")
    if path in known:
        configs = frozenset([str(task["dataset_name"])] if task.get("dataset_name") else [])
        row = json.loads(gzip.decompress(requests).partition(b"\n")[0])["doc"] if requests else {}
        yield Naming(tool, name, MOVED.get(path, path), configs, frozenset([str(task.get("split"))]), frozenset(row))


def _plain(split: str) -> str:
    """Return a split without its slice: `train[:10]` → train."""
    return split.partition("[")[0]


def evidence(found: Sequence[Address], named: Sequence[Naming]) -> Found:
    """Return the evidence for addresses, one row for each tool that names the path."""
    return [(address, _rows(address, named)) for address in found]


def _rows(address: Address, named: Sequence[Naming]) -> list[Row]:
    rows = []
    for tool in (*WHEELS, CATALOGUE, PUBLIC):
        fitting = [naming for naming in named if naming.tool == tool and naming.path == address.path]
        if not fitting:
            continue
        configs = sorted({config for naming in fitting for config in naming.configs})
        if "{" in address.config:
            config = "column"
        elif address.config in configs or (address.config == "default" and not configs):
            config = "equal"
        else:
            config = "other" if {*configs} - {"default"} else "unnamed"
        splits = {split for naming in fitting for split in naming.splits}
        words = {word for naming in fitting for word in naming.words}
        rows.append(
            Row(
                tool,
                sorted({naming.file for naming in fitting}),
                configs,
                config,
                [split for split in address.splits if split in splits],
                # tools build names with numbers: `image_{number}`
                [column for column in address.columns if {column, re.sub(r"\d+$", "", column)} & words],
                sorted({revision for naming in fitting for revision in naming.revisions if _is_commit(revision)}),
            )
        )
    return rows


def _is_commit(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", text) is not None


def mismatches(scenario: str, found: Found) -> list[str]:
    """Return what no tool names, and configurations that all tools name in another way."""
    problems = []
    for address, rows in found:
        if not rows:
            problems.append(f"{scenario}: no tool names {address.path}")
            continue
        if all(row.config == "other" for row in rows):
            names = sorted({config for row in rows for config in row.configs})
            problems.append(f"{scenario}: configuration {address.config}, not {', '.join(names[:4])}")
        splits = {split for row in rows for split in row.splits}
        columns = {column for row in rows for column in row.columns}
        problems += [f"{scenario}: split {split}" for split in address.splits if split not in splits]
        problems += [f"{scenario}: column {column}" for column in address.columns if column not in columns]
    return problems


def on_the_hub() -> list[ScenarioSpec]:
    """Return the specs whose rows come from the Hub."""
    return [spec for spec in all_scenarios() if addresses(spec)]


@cache
def named_by_tools() -> tuple[Naming, ...]:
    """Return what the tools name, from wheels that are stored beside the packages of this environment."""
    return tuple(namings(Path(sys.prefix) / ".peers-wheels"))


def main() -> int:
    """Print the evidence, and write it if `--write` is an argument."""
    today = datetime.now(UTC).date().isoformat()
    content = {}
    for spec in on_the_hub():
        found = evidence(addresses(spec), named_by_tools())
        rows = [row for _, tools in found for row in tools]
        tools = [tool for tool in (*WHEELS, CATALOGUE, PUBLIC) if tool in {row.tool for row in rows}]
        content[spec.scenario] = {
            "checked": today,
            "by": [f"{tool} {WHEELS[tool].partition('==')[2]}" if tool in WHEELS else tool for tool in tools],
            "revisions": sorted({revision for row in rows for revision in row.revisions}),
            "not_named": [text.partition(": ")[2] for text in mismatches(spec.scenario, found)],
        }
        print(spec.scenario, json.dumps(content[spec.scenario]))
    if "--write" in sys.argv[1:]:
        EVIDENCE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
