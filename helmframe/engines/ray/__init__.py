"""Ray: the same plan on a cluster. Model replicas are actors, each does spans of the instances to their end.

- `options`: what is said of it, `hf.engines.Ray(replicas=(1, 4), num_gpus=1)`
- `cluster`: the connection, or a cluster on this machine
- `shipping`: what a replica gets, and what must not travel
- `replica`: the actor; reads its span, asks its model, writes to the store
- `lanes`: of each model the spans that wait and the replicas that are up
- `driver`: gives spans out, takes counts in, and has lost ones done again
- `execution`: the run
"""

from helmframe.engines.ray.options import Ray

__all__ = ["Ray"]
