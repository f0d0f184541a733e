"""Test support only: lets torchvision import where its compiled operators do not load (a CPU-only torch beside it).

``torchvision`` registers meta kernels for operators of its own; without the compiled library their schemas are
missing. A folder on PYTHONPATH with this file declares them in every Python process, right before torchvision is
imported and only if the library does not load. Tests import it as well.
"""

import importlib.abc
import sys

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept = []


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and not _kept:
            _kept.append(None)  # this finder is asked again below
            _declare()


def _declare():
    import importlib.util
    from pathlib import Path

    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            break
        return  # the operators are there
    declared = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        declared.define(schema)
    _kept.append(declared)


def install():
    """Put the finder first, once."""
    if not any(type(finder).__name__ == _BeforeTorchvision.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


install()
