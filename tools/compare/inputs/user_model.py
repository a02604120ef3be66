"""A user's model: two functions that add numbers, both with mistakes, and with more of them in capitals.

`REQUESTS_LOG` names a file that gets a line per request. `REQUEST_SECONDS` is the time of a request. `CRASH_AFTER`
kills the process with SIGKILL at that request, as a lost machine would.
"""

import os
import re
import signal
import time
from pathlib import Path

_requests = 0


def answer(prompt: str) -> str:
    """Return the sum that the last line of a prompt requests; every seventh sum is wrong."""
    return _sum(prompt, 7)


def other_answer(prompt: str) -> str:
    """Return the sum that the last line of a prompt requests; every third sum is wrong."""
    return _sum(prompt, 3)


def _sum(prompt: str, mistakes: int) -> str:
    global _requests
    _requests += 1
    sums = re.findall(r"(\d+) \+ (\d+)", prompt)
    if log := os.environ.get("REQUESTS_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{sums[-1:]}\n")
    if str(_requests) == os.environ.get("CRASH_AFTER"):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(os.environ.get("REQUEST_SECONDS", "0")))
    if not sums:
        return "unknown"
    first, second = map(int, sums[-1])
    return str(first + second + (first % (mistakes - ("WHAT" in prompt)) == 0))
