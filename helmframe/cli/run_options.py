"""The options of `run` and `explain` for models and engine: `--model ./x --dtype bfloat16`, `--engine ray`."""

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


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the options of the models and of how local models are loaded."""
    parser.add_argument(
        "--model", nargs="+", default=[], metavar="NAME", help="who answers, whatever entries and plan files say"
    )
    group = parser.add_argument_group("of local models among --model")
    group.add_argument(
        "--dtype", metavar="TYPE", help="float32, bfloat16, float16, or auto: as the checkpoint was saved"
    )
    group.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps")
    group.add_argument("--device-map", metavar="MAP", help="auto: layers on several GPUs, by accelerate")
    group.add_argument("--adapter", metavar="FOLDER", help="a PEFT adapter, merged into the weights")
    group.add_argument("--replicas", type=int, metavar="N", help="copies that answer side by side, one on each GPU")
    group.add_argument("--revision", metavar="COMMIT", help="branch, tag or commit of a name on the hub")
    group.add_argument(
        "--trust-remote-code", action="store_true", default=None, help="run code that comes with the checkpoint"
    )


def model_options(arguments: argparse.Namespace) -> list[str]:
    """Return the models of `--model` as plans write them; local models have the other options as arguments.

    Raises:
        ArgumentError: There are options without a local model, or `--models-to-run` with `--model`.
    """
    names: list[str] = arguments.model
    options: dict[str, Any] = {name: value for name in _FLAGS if (value := getattr(arguments, name)) is not None}
    if names and arguments.models_to_run:
        raise ArgumentError("--model says who answers, whatever the entries say; leave out --models-to-run.")
    if not options:
        return names
    flag = "--" + next(iter(options)).replace("_", "-")
    if not names:
        raise ArgumentError(f"{flag} says how a model is loaded; say which: --model ./folder.")
    if not any(map(is_local_name, names)):
        raise ArgumentError(f"{flag} is of local models (a folder, a GGUF file, a hub name); {names[0]!r} is none.")
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
    group = parser.add_argument_group("where it runs")
    group.add_argument("--engine", default="local", metavar="ENGINE", help=f"{' or '.join(ENGINES)}; default local")
    group.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster; default one of its own, here")
    group.add_argument("--actors", metavar="N|N-M", help="replicas of each model on the cluster; default 1-4")
    group.add_argument("--num-gpus", type=float, metavar="N", help="of each of them")
    group.add_argument("--num-cpus", type=float, metavar="N", help="of each of them; default 1")


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
        raise ArgumentError("--address, --actors, --num-gpus and --num-cpus are of a cluster; say --engine ray.")
    return str(arguments.engine)


def _replicas(text: str) -> int | tuple[int, int]:
    least, dash, most = text.partition("-")
    if not least.isdigit() or (dash and not most.isdigit()):
        raise ArgumentError(f"--actors {text}: a number, or the least and the most: 1-8.")
    return (int(least), int(most)) if dash else int(least)
