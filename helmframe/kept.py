"""Where a model's answers are kept, for whoever asks it: a run, a translator, a judge."""

from helmframe import settings
from helmframe.models.model import Model
from helmframe.store import Address, Answers, ParquetAnswers, ProcessAnswers, address_of


def answers_of(root: Address, model: Model, fingerprint: str, scenario: str) -> Answers:
    """Where a model's answers are kept: in the store if it can be hashed whole, else in this process."""
    return ParquetAnswers(root, fingerprint, scenario) if model.durable else ProcessAnswers(fingerprint, scenario)


def store_root() -> Address:
    """The store's folder, or its address in a bucket."""
    return address_of(settings.store_root())
