"""The options of `run` and `explain` that load models and choose the engine: `--dtype bfloat16`, `--engine ray`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from helmframe._core.specs import Call, frozen
from helmframe.engines.ray import Ray
from helmframe.engines.resolve import ENGINES, Engine
from helmframe.errors import ArgumentError
from helmframe.interop.helm import Entry
from helmframe.models.protocol import is_local_name

_FLAGS = ("dtype", "device", "device_map", "adapter", "replicas", "revision", "trust_remote_code")


def add_model_loading(parser: argparse.ArgumentParser) -> None:
    """Add the options that load the local models of `--model`."""
    group = parser.add_argument_group("local models of --model")
    group.add_argument(
        "--dtype", metavar="TYPE", help="float32, bfloat16, float16, or auto for the type of the checkpoint"
    )
    group.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 or mps")
    group.add_argument(
        "--device-map", metavar="MAP", help="auto distributes the layers over the GPUs; needs accelerate"
    )
    group.add_argument("--adapter", metavar="FOLDER", help="PEFT adapter to merge into the weights")
    group.add_argument("--replicas", type=int, metavar="N", help="run N copies in parallel, one on each GPU")
    group.add_argument("--revision", metavar="COMMIT", help="branch, tag or commit of the model on the Hub")
    group.add_argument(
        "--trust-remote-code", action="store_true", default=None, help="allow code of the checkpoint to run"
    )


def model_options(arguments: argparse.Namespace) -> list[str]:
    """Return the models of `--model` as in plan files: local models have the other options as arguments.

    Raises:
        ArgumentError: There are options without a local model, or `--models-to-run` with `--model`.
    """
    names: list[str] = arguments.model
    options: dict[str, Any] = {name: value for name in _FLAGS if (value := getattr(arguments, name)) is not None}
    if names and arguments.models_to_run:
        raise ArgumentError(
            "--model and --models-to-run exclude each other: --model replaces the models of all entries. Remove one."
        )
    if not options:
        return names
    flag = "--" + next(iter(options)).replace("_", "-")
    if not names:
        raise ArgumentError(f"{flag} needs a model to load. Add --model ./folder.")
    if not any(map(is_local_name, names)):
        raise ArgumentError(
            f"{flag} applies to local models (a folder, a GGUF file, a name on the Hub); {names[0]!r} isn't one. "
            f"Remove {flag}."
        )
    return [str(Call("local", frozen({"model": name, **options}))) if is_local_name(name) else name for name in names]


def without_models(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries without their models."""
    return [
        replace(
            entry, arguments=tuple(pair for pair in entry.arguments if pair[0] not in ("model", "model_deployment"))
        )
        for entry in entries
    ]


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options of the engine and its resources."""
    group = parser.add_argument_group("engine")
    group.add_argument("--engine", default="local", metavar="ENGINE", help=" or ".join(ENGINES))
    group.add_argument("--address", metavar="HOST:PORT", help="address of the Ray cluster (default: a local one)")
    group.add_argument("--actors", metavar="N|N-M", help="replicas of each model on the cluster (default: 1-4)")
    group.add_argument("--num-gpus", type=float, metavar="N", help="GPUs of each replica")
    group.add_argument("--num-cpus", type=float, metavar="N", help="CPUs of each replica (default: 1)")


def engine_option(arguments: argparse.Namespace) -> Engine:
    """Return the engine of the options.

    Raises:
        ArgumentError: There are options of Ray without `--engine ray`, or a number is invalid.
    """
    options = {name: getattr(arguments, name) for name in ("address", "num_gpus", "num_cpus")}
    options = {name: value for name, value in options.items() if value is not None}
    if arguments.actors is not None:
        options["replicas"] = _replicas(arguments.actors)
    if arguments.engine == "ray":
        return Ray(**options)
    if options:
        raise ArgumentError("--address, --actors, --num-gpus and --num-cpus apply to a Ray cluster. Add --engine ray.")
    return str(arguments.engine)


def _replicas(text: str) -> int | tuple[int, int]:
    low, dash, high = text.partition("-")
    if not low.isdigit() or (dash and not high.isdigit()):
        raise ArgumentError(f"--actors {text} must be a number or a range, such as 1-8.")
    return (int(low), int(high)) if dash else int(low)
