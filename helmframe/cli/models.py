"""Who answers, on the command line: `--model ./x --dtype bfloat16 --adapter ./lora`."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from helmframe._core.specs import Call, frozen
from helmframe.errors import ArgumentError
from helmframe.interop.helm import Entry
from helmframe.models.protocol import is_local_name

_FLAGS = ("dtype", "device", "device_map", "adapter", "replicas", "revision", "trust_remote_code")


def add_models(command: argparse.ArgumentParser) -> None:
    """The options that say who answers and how it is loaded."""
    command.add_argument(
        "--model", nargs="+", default=[], metavar="NAME", help="who answers, whatever entries and plan files say"
    )
    said = command.add_argument_group("of local models among --model")
    said.add_argument(
        "--dtype", metavar="TYPE", help="float32, bfloat16, float16, or auto: as the checkpoint was saved"
    )
    said.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps")
    said.add_argument("--device-map", metavar="MAP", help="auto: layers on several GPUs, by accelerate")
    said.add_argument("--adapter", metavar="FOLDER", help="a PEFT adapter, merged into the weights")
    said.add_argument("--replicas", type=int, metavar="N", help="copies that answer side by side, one on each GPU")
    said.add_argument("--revision", metavar="COMMIT", help="branch, tag or commit of a name on the hub")
    said.add_argument(
        "--trust-remote-code", action="store_true", default=None, help="run code that comes with the checkpoint"
    )


def said_models(arguments: argparse.Namespace) -> list[str]:
    """The models of `--model` as plans write them, with what the other options say of the local ones.

    Raises:
        ArgumentError: options without a local model, or `--models-to-run` beside `--model`.
    """
    names: list[str] = arguments.model
    said: dict[str, Any] = {name: value for name in _FLAGS if (value := getattr(arguments, name)) is not None}
    if names and arguments.models_to_run:
        raise ArgumentError("--model says who answers, whatever the entries say; leave out --models-to-run.")
    if not said:
        return names
    flag = "--" + next(iter(said)).replace("_", "-")
    if not names:
        raise ArgumentError(f"{flag} says how a model is loaded; say which: --model ./folder.")
    if not any(map(is_local_name, names)):
        raise ArgumentError(f"{flag} is of local models (a folder, a GGUF file, a hub name); {names[0]!r} is none.")
    return [str(Call("local", frozen({"model": name, **said}))) if is_local_name(name) else name for name in names]


def left_open(entries: Sequence[Entry]) -> list[Entry]:
    """The entries without the models they say."""
    return [
        replace(each, arguments=tuple(said for said in each.arguments if said[0] not in ("model", "model_deployment")))
        for each in entries
    ]
