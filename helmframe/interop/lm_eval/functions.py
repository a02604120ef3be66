"""Tasks of lm-eval whose Python functions make scores: the values come from the `Task` object of an installed lm-eval.

Source: lm-eval 0.4.13, `api/task.py`, `api/instance.py`, `filters/`.
"""

import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

from helmframe.errors import CapabilityError
from helmframe.interop.lm_eval.config import TaskConfig, installed_tasks, resolved

# The keys of a task that make its documents and prompts; scoring needs none of them.
_UNUSED = {
    "path", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset", "training_split",
    "validation_split", "test_split", "fewshot_split", "process_docs", "fewshot_config", "num_fewshot", "description",
    "should_decontaminate", "doc_to_decontamination_query", "unsafe_code", "task_class",
}  # fmt: skip


def check_installed(config: TaskConfig, reason: str) -> None:
    """Raise if lm-eval isn't installed.

    Raises:
        CapabilityError: lm-eval isn't installed; the message has the reason why the task needs it.
    """
    if installed_tasks() is None:
        raise CapabilityError(f"Task {config.task!r}: {reason} needs an installed lm-eval: pip install lm-eval.")


class TaskScorer:
    """The values of a task's documents: `apply_filters` and `process_results` of lm-eval's `Task`.

    Args:
        config: The configuration of the task.
        documents: A function that returns the documents, in their order.
        make: A function that returns lm-eval's task, if it is a Python class.
    """

    def __init__(
        self,
        config: TaskConfig,
        documents: Callable[[], Sequence[Mapping[str, Any]]],
        make: Callable[[], Any] | None = None,
    ) -> None:
        self._config, self._documents, self._make = config, documents, make
        self._lock = threading.Lock()

    @cached_property
    def task(self) -> Any:
        """The task of lm-eval, without documents of its own."""
        if self._make is not None:
            return self._make()
        check_installed(self._config, "its Python code")
        from datasets import Dataset
        from lm_eval.api.task import ConfigurableTask

        config = resolved(self._config)
        arguments = {key.name: getattr(config, key.name) for key in fields(config) if key.name not in _UNUSED}
        arguments = {key: value for key, value in arguments.items() if value is not None}
        first = dict(self._documents()[0])

        class LocalTask(ConfigurableTask):  # type: ignore[misc, unused-ignore]
            """The task over one document, which shows the columns and the form of the options."""

            def download(self, *_: Any, **__: Any) -> None:
                self.dataset = {"test": Dataset.from_list([first])}

        return LocalTask(config={**deepcopy(arguments), "test_split": "test"})

    def values(self, position: int, responses: Sequence[Sequence[Any]]) -> dict[str, dict[str, Any]]:
        """Return filter → metric → value of a document, from the responses to each of its requests."""
        from lm_eval.api.instance import Instance

        document = dict(self._documents()[position])
        with self._lock:
            task = self.task
            instances = [
                Instance(
                    request_type=task.OUTPUT_TYPE, doc=document, arguments=(), idx=index,
                    metadata=(self._config.task, position, len(of_request)), resps=list(of_request),
                )
                for index, of_request in enumerate(responses)
            ]  # fmt: skip
            task._instances = instances  # noqa: SLF001 - as lm-eval's own `build_all_requests`
            task.apply_filters()
            return {
                name: dict(task.process_results(document, [one.filtered_resps[name] for one in instances]))
                for name in instances[0].filtered_resps
            }

    def aggregate(self, metric: str, values: Sequence[Any]) -> Any:
        """Return the aggregation of the values of a metric; the mean if the task has none for it."""
        aggregation = self.task.aggregation().get(metric)
        return sum(values) / len(values) if aggregation is None else aggregation(list(values))


def class_task(config: TaskConfig, read: Callable[[TaskConfig, str], list[dict[str, Any]]]) -> Any:
    """Return lm-eval's object of a task that is a Python class; `read` returns the documents of a split.

    Raises:
        CapabilityError: lm-eval isn't installed, or creating the object fails.
    """
    check_installed(config, "its Python class")
    from datasets import Dataset

    python_class: Any = resolved(config).task_class

    class Splits(dict[str, Any]):
        """The splits, which are read when they are first needed."""

        def __missing__(self, split: str) -> Any:
            data_set = config.dataset_path or python_class.DATASET_PATH
            source = replace(
                config, dataset_path=data_set, dataset_name=config.dataset_name or python_class.DATASET_NAME
            )
            self[split] = Dataset.from_list(read(source, split))
            return self[split]

    def download(self: Any, *_: Any, **__: Any) -> None:
        self.dataset = Splits()

    local = type(python_class.__name__, (python_class,), {"download": download})
    takes_config = "config" in inspect.signature(python_class.__init__).parameters
    arguments = {"config": {"task": config.task, "metadata": config.metadata}} if takes_config else {}
    try:
        return local(**arguments)
    except (ImportError, OSError, TypeError, KeyError, ValueError) as error:  # such as a metric that it downloads
        raise CapabilityError(f"Task {config.task!r}: creating its Python class fails: {error}.") from None
