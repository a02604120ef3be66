"""Evaluate a Python function as a model. Support: built in."""

from collections.abc import Callable
from typing import Any

from helm.benchmark.model_deployment_registry import ClientSpec, ModelDeployment, register_model_deployment
from helm.clients.client import CachingClient
from helm.common.cache import CacheConfig
from helm.common.request import GeneratedOutput, Request, RequestResult, wrap_request_time
from user_model import answer, other_answer

FUNCTIONS: dict[str, Callable[[str], str]] = {"answer": answer, "other_answer": other_answer}


class UserModel(CachingClient):
    """A client that calls the functions."""

    def __init__(self, cache_config: CacheConfig) -> None:
        super().__init__(cache_config)

    def make_request(self, request: Request) -> RequestResult:
        """Return the completion of a request, from the cache if it is there."""

        def compute() -> dict[str, Any]:
            return {"text": FUNCTIONS[request.model_engine](request.prompt)}

        key = self.make_cache_key({"engine": request.model_engine, "prompt": request.prompt}, request)
        response, cached = self.cache.get(key, wrap_request_time(compute))
        output = GeneratedOutput(text=response["text"], logprob=0, tokens=[])
        return RequestResult(
            success=True, cached=cached, request_time=response["request_time"], completions=[output], embedding=[]
        )


for name in FUNCTIONS:
    register_model_deployment(
        ModelDeployment(
            name=f"user/{name}",
            client_spec=ClientSpec(f"{__name__}.UserModel"),
            tokenizer_name="simple/tokenizer1",
            max_sequence_length=2048,
        )
    )

if __name__ == "__main__":
    from own_csv import run

    run("user/answer")
