"""Whether answers are equal as mathematics: a child process of ours, for texts that can keep a solver busy for ever."""

import json
import resource
import sys

_MEMORY = 4 << 30
_SECONDS = 5


def main() -> None:
    """A line "ready"; then for each pair of reference and output, a line of JSON, whether they are equal, another."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _say("ready")
    for line in sys.stdin:
        gold, output = json.loads(line)
        wanted = parse(f"${gold}$", [LatexExtractionConfig()], parsing_timeout=_SECONDS)
        said = parse(output, [LatexExtractionConfig(), ExprExtractionConfig()], parsing_timeout=_SECONDS)
        equal = bool(wanted and said) and verify(wanted, said, timeout_seconds=_SECONDS)
        _say(json.dumps(bool(equal)))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
