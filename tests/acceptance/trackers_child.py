"""Log results to MLflow, W&B (offline) and Trackio in one folder, and print the numbers that each has."""

import json
import os
import sqlite3
import struct
import sys
from pathlib import Path
from typing import Any

_BLOCK, _HEAD = 32_768, 7  # bytes of W&B's log format, which is LevelDB's


def main(results: str, folder: str) -> None:
    """Log the results in the folder `results`."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": folder, "WANDB_SILENT": "true"}
    os.environ["TRACKIO_DIR"] = f"{folder}/trackio"
    import helmframe as hf

    run = hf.load(results)
    uri = f"sqlite:///{folder}/mlflow.db"
    run.log_to("mlflow", project="evals", tracking_uri=uri)
    run.log_to("wandb", project="evals", name="one")
    run.log_to("trackio", project="evals", name="one")
    print(json.dumps({"mlflow": _mlflow(uri), "wandb": _wandb(folder), "trackio": _trackio(folder)}))


def _mlflow(uri: str) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("evals").experiment_id])
    files = [file.path for file in client.list_artifacts(run.info.run_id)]
    return {"numbers": run.data.metrics, "files": files}


def _wandb(folder: str) -> dict[str, Any]:
    from wandb.proto import wandb_internal_pb2

    (file,) = Path(folder).glob("wandb/offline-run-*/*.wandb")
    data, position, record, numbers = file.read_bytes(), _HEAD, b"", {}
    while position + _HEAD <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEAD:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + _HEAD])
        record += data[position + _HEAD : position + _HEAD + size]
        position += _HEAD + size
        if kind in (1, 4):  # a whole record, or its last piece
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            record = b""
            if parsed.WhichOneof("record_type") == "history":
                for item in parsed.history.item:
                    numbers["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return {"numbers": numbers}


def _trackio(folder: str) -> dict[str, Any]:
    with sqlite3.connect(f"{folder}/trackio/evals.db") as connection:
        (text,) = connection.execute("SELECT metrics FROM metrics").fetchone()
    return {"numbers": json.loads(text)}


if __name__ == "__main__":
    main(*sys.argv[1:])
