"""Ray: the same plan on a cluster. Model replicas are actors; each completes spans of instances.

- `options`: `hf.engines.Ray(replicas=(1, 4), num_gpus=1)`
- `execution`: the connection (a cluster, or one on this machine), and the run
- `shipping`: what a replica receives, and what is never sent
- `replica`: the actor; reads its span, runs its model, writes to the store
- `replica_state`: for each model the waiting spans and the running replicas
- `driver`: assigns spans, collects counts, and repeats lost spans
"""

from helmframe.engines.ray.options import Ray

__all__ = ["Ray"]
