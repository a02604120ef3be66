"""The project's URLs in the metadata of packages: those of the repository whose workflow releases them."""

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProjectUrls(MetadataHookInterface):
    """Set `urls` from HELMFRAME_REPOSITORY, such as https://github.com/owner/name; without it, there are no URLs.

    GitHub's own variables are not used: another project's workflow may install helmframe from its sources.
    """

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `metadata["urls"]`: label → URL."""
        repository = os.environ.get("HELMFRAME_REPOSITORY", "")
        metadata["urls"] = {}
        if repository:
            owner, name = repository.split("/")[-2:]
            metadata["urls"] = {
                "Homepage": repository,
                "Documentation": f"https://{owner.lower()}.github.io/{name}/",
                "Changelog": f"{repository}/blob/main/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }
