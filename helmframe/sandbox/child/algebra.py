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
    _write_line("ready")
    for line in sys.stdin:
        gold, output = json.loads(line)
        parsed_reference = parse(f"${gold}$", [LatexExtractionConfig()], parsing_timeout=_SECONDS)
        parsed_output = parse(output, [LatexExtractionConfig(), ExprExtractionConfig()], parsing_timeout=_SECONDS)
        equal = bool(parsed_reference and parsed_output) and verify(
            parsed_reference, parsed_output, timeout_seconds=_SECONDS
        )
        _write_line(json.dumps(bool(equal)))


def _write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
