"""Where a run is done, on the command line: `--engine ray --address auto --actors 1-8 --num-gpus 1`."""

import argparse

from helmframe.engines.ray import Ray
from helmframe.engines.resolve import ENGINES, Engine
from helmframe.errors import ArgumentError


def add_engine(command: argparse.ArgumentParser) -> None:
    """The options that say which engine, and what it may use."""
    said = command.add_argument_group("where it runs")
    said.add_argument("--engine", default="local", metavar="ENGINE", help=f"{' or '.join(ENGINES)}; default local")
    said.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster; default one of its own, here")
    said.add_argument("--actors", metavar="N|N-M", help="replicas of each model on the cluster; default 1-4")
    said.add_argument("--num-gpus", type=float, metavar="N", help="of each of them")
    said.add_argument("--num-cpus", type=float, metavar="N", help="of each of them; default 1")


def said_engine(arguments: argparse.Namespace) -> Engine:
    """The engine that the options say.

    Raises:
        ArgumentError: options of Ray without it, or numbers that can't be.
    """
    said = {name: getattr(arguments, name) for name in ("address", "num_gpus", "num_cpus")}
    said = {name: value for name, value in said.items() if value is not None}
    if arguments.actors is not None:
        said["replicas"] = _replicas(arguments.actors)
    if arguments.engine == "ray":
        return Ray(**said)
    if said:
        raise ArgumentError("--address, --actors, --num-gpus and --num-cpus are of a cluster; say --engine ray.")
    return str(arguments.engine)


def _replicas(said: str) -> int | tuple[int, int]:
    least, dash, most = said.partition("-")
    if not least.isdigit() or (dash and not most.isdigit()):
        raise ArgumentError(f"--actors {said}: a number, or the least and the most: 1-8.")
    return (int(least), int(most)) if dash else int(least)
