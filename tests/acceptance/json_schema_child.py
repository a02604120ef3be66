"""Completions of vLLM in this process, constrained to a JSON schema: arguments are a folder, the schema and prompts."""

import json
import sys
from typing import Any

import helmframe as hf
from helmframe.models import Completion

if __name__ == "__main__":
    folder, schema, *prompts = sys.argv[1:]
    options: dict[str, Any] = {"dtype": "float32", "max_model_len": 1024, "enforce_eager": True}
    decoding = {"max_tokens": 60, "temperature": 0.0, "json_schema": json.loads(schema)}
    completions = hf.models.vllm(folder, **options).generate(prompts, decoding)
    print(json.dumps([each.text if isinstance(each, Completion) else str(each) for each in completions]))
