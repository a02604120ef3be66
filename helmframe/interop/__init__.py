"""Tasks and results of other tools: HELM, lm-eval and Inspect."""

from helmframe.interop.helm import read_helm
from helmframe.interop.inspect_logs import read_inspect
from helmframe.interop.lm_eval import read_lm_eval

__all__ = ["read_helm", "read_inspect", "read_lm_eval"]
