"""The conversations that a plan sends."""

import helmframe as hf


def prompts_of(plan: hf.Plan) -> list[list[tuple[str, str]]]:
    """Return the role and text of each message, for each request in order."""
    requests = plan.requests().collect()
    return [
        [(block["role"], "".join(part["text"] for part in block["content"])) for block in blocks]
        for blocks in requests["blocks"].to_list()
    ]
