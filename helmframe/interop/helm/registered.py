"""HELM's registry of models, as far as helm-summarize needs it for results of ours."""

from collections.abc import Iterable, Iterator

OURS = "helmframe/"


def helm_model(name: str) -> str:
    """A model's name as HELM can have it: an organisation, a slash, a name."""
    return name if name.count("/") == 1 else OURS + name.replace("/", "_")


def our_model(name: str) -> str:
    """What `helm_model` was given, but for slashes."""
    return name.removeprefix(OURS)


def registry(models: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and text of the files of a `--local-path` that make these models known; they can't be asked through them."""
    names = sorted(set(models))
    client = {"class_name": "helm.clients.simple_client.SimpleClient"}
    deployments = [
        {
            "name": name,
            "model_name": name,
            "tokenizer_name": "simple/tokenizer1",
            "max_sequence_length": 2048,
            "client_spec": client,
        }
        for name in names
    ]
    yield "model_deployments.yaml", _yaml({"model_deployments": deployments})
    metadata = [
        {
            "name": name,
            "display_name": our_model(name),
            "description": "Results written by helmframe.",
            "creator_organization_name": name.partition("/")[0],
            "access": "open",
            "release_date": "1970-01-01",
            "tags": ["TEXT_MODEL_TAG"],
        }
        for name in names
    ]
    yield "model_metadata.yaml", _yaml({"models": metadata})


def _yaml(content: object) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).replace("'1970-01-01'", "1970-01-01")
