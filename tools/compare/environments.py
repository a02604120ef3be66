"""Tools and their environments: virtual environments, versions, install sizes, the demo model, and the machine."""

import json
import os
import platform
import re
import subprocess
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "compare"
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct"
# HELM applies a chat template if the tokenizer has one, and rejects the class and the length of a GGUF's tokenizer.
_TOKENIZER = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192}

_VERSIONS = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
def known(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
print(json.dumps({"python": platform.python_version(), **{name: known(name) for name in sys.argv[1:]}}))
"""
# The distributions that a requirement needs, with the size of their files. An editable one counts its packages.
_INSTALLED = """
import json, re, sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from pip._vendor.packaging.requirements import Requirement
key = lambda name: re.sub("[-_.]+", "-", name).lower()
seen, missing, size = {}, set(), 0
waiting = [Requirement(text) for text in sys.argv[1:]]
while waiting:
    requirement = waiting.pop()
    name, extras = key(requirement.name), set(requirement.extras)
    if name in seen and extras <= seen[name]:
        continue
    try:
        found = distribution(name)
    except PackageNotFoundError:
        missing.add(name)
        continue
    if name not in seen:
        files = [Path(found.locate_file(file)) for file in found.files or ()]
        if '"editable": true' in (found.read_text("direct_url.json") or ""):
            folder = Path(__import__(name.replace("-", "_")).__file__).parent
            files += [file for file in [*folder.rglob("*"), *(folder.parent / "specs").rglob("*")]]
        size += sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")
    extras |= seen.get(name, set())
    seen[name] = extras
    for text in found.requires or ():
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            waiting.append(needed)
print(json.dumps({"packages": len(seen), "megabytes": size / 1e6, "missing": sorted(missing)}))
"""


class InstallError(SystemExit):
    """pip can't install a tool."""


@dataclass(frozen=True)
class Tool:
    """A tool under test.

    Attributes:
        title: Its name on the page.
        packages: What pip installs into its environment.
        local: The requirements of a run with a checkpoint, for the install size.
        core: The requirements of a run with a function or a server.
        versions: The distributions whose versions are recorded.
        optional: Whether the other tools are measured if pip can't install this one.
    """

    title: str
    packages: Sequence[str]
    local: Sequence[str] = ()
    core: Sequence[str] = ()
    versions: Sequence[str] = ()
    optional: bool = False


_LOCAL = ("torch>=2.6", "transformers>=5.18", "accelerate>=1.0")
TOOLS: Mapping[str, Tool] = {
    "helmframe": Tool(
        "helmframe",
        ["-e", f"{ROOT}[local,plots,report,metrics]"],
        ["helmframe[local]"],
        ["helmframe"],
        ["helmframe", "torch", "transformers", "polars", "duckdb"],
    ),
    "helm": Tool(
        "HELM",
        ["crfm-helm>=0.5.16,<0.6"],
        ["crfm-helm"],
        ["crfm-helm"],
        ["crfm-helm", "torch", "transformers"],
    ),
    "lm_eval": Tool(
        "lm-eval",
        ["lm-eval[hf]>=0.4.13,<0.5"],
        ["lm-eval[hf]"],
        ["lm-eval"],
        ["lm-eval", "torch", "transformers", "datasets"],
    ),
    "inspect": Tool(
        "Inspect",
        ["inspect-ai>=0.3.285,<0.4", "pandas>=2.2", "pyarrow>=17", *_LOCAL],
        ["inspect-ai", *_LOCAL],
        ["inspect-ai"],
        ["inspect-ai", "torch", "transformers"],
    ),
    "lighteval": Tool(
        "lighteval",
        ["lighteval>=0.13,<0.14", "xxhash>=3,<4"],  # lighteval passes str to functions that take only bytes in xxhash 4
        ["lighteval"],
        ["lighteval"],
        ["lighteval", "torch", "transformers", "datasets"],
        optional=True,
    ),
    "evalscope": Tool(
        "evalscope",
        ["evalscope>=1.14,<2", *_LOCAL],
        ["evalscope", *_LOCAL],
        ["evalscope"],
        ["evalscope", "torch", "transformers", "datasets"],
        optional=True,
    ),
    "datasets": Tool("datasets", ["datasets>=4.0,<6", "s3fs>=2025.3"], versions=["datasets", "pyarrow", "s3fs"]),
}


def python_of(name: str, given: Mapping[str, Path]) -> Path:
    """Return the Python of a tool: the given one, or that of a virtual environment, which is created if it is missing.

    Args:
        name: A key of `TOOLS`.
        given: Tool → Python, from `--python`.

    Raises:
        InstallError: pip failed.
    """
    if name in given:
        return given[name].absolute()
    folder = BUILD / "venvs" / name
    python = folder / "bin" / "python"
    wanted = json.dumps(list(TOOLS[name].packages))
    marker = folder / "installed.json"
    if not marker.exists() or marker.read_text(encoding="utf-8") != wanted:
        print(f"installing {', '.join(TOOLS[name].packages)}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
        if subprocess.run([*command, *TOOLS[name].packages], cwd=ROOT, check=False).returncode:
            raise InstallError(f"pip can't install {name}. Pass another Python: --python {name}=PATH")
        marker.write_text(wanted, encoding="utf-8")
    return python


def versions(name: str, python: Path) -> dict[str, str]:
    """Return the versions of a tool and of its main dependencies."""
    return _json(python, _VERSIONS, TOOLS[name].versions)


def installed(requirements: Sequence[str], python: Path) -> dict[str, Any]:
    """Return what requirements install: the number of packages, megabytes, and the packages that are missing."""
    return _json(python, _INSTALLED, requirements)


def base_model() -> Path:
    """Return the demo model without its chat template, which every tool reads; it is built if it is missing.

    Raises:
        SystemExit: The demo model is missing.
    """
    if not (MODEL / "model.safetensors").exists():
        raise SystemExit(f"{MODEL.relative_to(ROOT)} is missing. Write: make {MODEL.relative_to(ROOT)}/.made")
    folder = BUILD / "models" / "smollm2_base"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"):
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to((MODEL / name).resolve())
    config = json.loads((MODEL / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **_TOKENIZER}), encoding="utf-8")
    return folder


def machine() -> dict[str, object]:
    """Return the CPU model, cores, memory and system of this machine."""
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    total = re.findall(r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(total[0]) / 1e6, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _json(python: Path, code: str, arguments: Sequence[str]) -> dict[str, Any]:
    # outside the checkout, whose folders would be imported in place of what is installed
    done = subprocess.run([str(python), "-c", code, *arguments], cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr[-1000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def parse_pythons(values: Sequence[str]) -> dict[str, Path]:
    """Return tool → Python of `--python TOOL=PATH`.

    Raises:
        SystemExit: A value has another form, names no tool, or names no file.
    """
    pythons = {}
    for value in values:
        name, _, path = value.partition("=")
        if name not in TOOLS or not Path(path).is_file():
            raise SystemExit(f"--python {value}: write TOOL=PATH with a tool of {', '.join(TOOLS)} and its Python.")
        pythons[name] = Path(path)
    return pythons
