"""The project's URLs in the metadata of packages, taken from the repository of the release workflow."""

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProjectUrls(MetadataHookInterface):
    """Set `urls` from GitHub's variables of a workflow; a build outside a workflow has no URLs."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `metadata["urls"]`: label → URL."""
        repository = os.environ.get("GITHUB_REPOSITORY", "")
        metadata["urls"] = _urls(os.environ.get("GITHUB_SERVER_URL", "https://github.com"), repository)


def _urls(server: str, repository: str) -> dict[str, str]:
    if not repository:
        return {}
    owner, _, name = repository.partition("/")
    address = f"{server}/{repository}"
    return {
        "Homepage": address,
        "Documentation": f"https://{owner.lower()}.github.io/{name}/",
        "Changelog": f"{address}/blob/main/CHANGELOG.md",
        "Issues": f"{address}/issues",
        "Source": address,
    }
