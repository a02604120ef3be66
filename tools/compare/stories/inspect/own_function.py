"""Evaluate a Python function as a model. Support: built in."""

from collections.abc import Callable
from typing import Any

from inspect_ai import eval
from inspect_ai.model import ChatMessage, ModelAPI, ModelOutput, modelapi
from user_model import answer, other_answer

FUNCTIONS: dict[str, Callable[[str], str]] = {"answer": answer, "other_answer": other_answer}


@modelapi(name="user")
class UserModel(ModelAPI):
    """A provider that calls the functions."""

    async def generate(self, input: list[ChatMessage], tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        """Return the completion of a request."""
        return ModelOutput.from_content(self.model_name, FUNCTIONS[self.model_name](input[-1].text))


if __name__ == "__main__":
    from own_csv import questions

    print(eval(questions(), model="user/answer", display="none")[0].results)
