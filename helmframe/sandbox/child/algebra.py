"""A child process that compares texts as mathematics, and that can be killed if a solver does not end."""

import json
import resource
import sys

_MEMORY = 4 << 30
_SECONDS = 5


def main() -> None:
    """Write "ready"; then, for each line of JSON with a reference and an output, write whether they are equal."""
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
