"""The Ray engine: replicas of a model are actors on a cluster, and each replica completes spans of instances.

- `options`: The options of users, `hf.engines.Ray(replicas=(1, 4), num_gpus=1)`.
- `execution`: The connection to a cluster, and the run.
- `shipping`: The data that a replica receives, and the data that is never sent.
- `replica`: The actor. It reads its span, runs its model, and writes to the store.
- `replica_state`: The waiting spans and the running replicas of each model.
- `driver`: The loop that assigns spans, collects counts, and retries lost spans.
"""

from helmframe.engines.ray.options import Ray

__all__ = ["Ray"]
