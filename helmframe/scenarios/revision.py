"""Which commit of a data set on the hub is read: what is mirrored must not change in the middle."""

import importlib.util
import re


def pinned(address: str) -> tuple[str, str | None]:
    """The address at the commit that its branch has now, and that commit; as it is where nobody can tell.

    `hf://datasets/cais/mmlu/…` → `hf://datasets/cais/mmlu@c30699e…/…`
    """
    found = re.fullmatch(r"hf://datasets/([\w.\-]+/[\w.\-]+)(?:@([^/]+))?(/.*)", address)
    if found is None or importlib.util.find_spec("huggingface_hub") is None:
        return address, None
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    name, branch, path = found.groups()
    revision = "refs/convert/parquet" if branch == "~parquet" else branch
    try:
        commit = HfApi().dataset_info(name, revision=revision, timeout=30).sha
    except (HfHubHTTPError, OSError):
        return address, None  # the reading says what is wrong, with the scenario's name
    return (f"hf://datasets/{name}@{commit}{path}", commit) if commit else (address, None)
