"""CLIP prompts tuned through queries (thesis sec. 4.6.2): one shared prompt for several image domains.

The model stays behind a server that answers forward queries; what is tuned is v of the prompt p = p0 + A v (Eq. 4.25).

- :class:`PromptTask`: the losses and accuracies of a population of prompts, by forward passes only.
- :class:`PromptEncoder`: text features from prompt embeddings, for an open_clip model.
- :class:`Projection`: A, and p0 + A v.
- :func:`tiny`: the task that comes with pyasmg, a tiny CLIP on handwritten digits in four domains.
- :func:`tune`: searches for v by ASMG, CMA-ES or an evolution strategy, within a budget, kept in a store.
- :class:`RemoteTask`: the task behind a server; ``pyasmg.clip.server`` has that server (``create_app``, ``serve``).
- :func:`load`: an open_clip model by name or from a checkpoint; :func:`from_folders`: a task from image folders.

Needs the extra ``clip``; nothing heavy is imported before the first call that needs it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._tiny import tiny
    from .folders import from_folders
    from .models import Model, load
    from .projection import Projection
    from .prompt import PromptEncoder, UnsupportedTowerError
    from .task import Domain, PromptTask

_missing = [name for name in ("torch", "open_clip", "safetensors", "sklearn") if find_spec(name) is None]
if _missing:
    raise ImportError(f'pyasmg.clip needs {", ".join(_missing)}: pip install "pyasmg[clip]".')

_HOMES = {
    "Domain": "task",
    "Model": "models",
    "Projection": "projection",
    "PromptEncoder": "prompt",
    "PromptTask": "task",
    "RemoteError": "client",
    "RemoteTask": "client",
    "TuneResult": "_tune",
    "UnsupportedTowerError": "prompt",
    "from_folders": "folders",
    "load": "models",
    "tiny": "_tiny",
    "tune": "_tune",
}

__all__ = [
    "Domain",
    "Model",
    "Projection",
    "PromptEncoder",
    "PromptTask",
    "RemoteError",
    "RemoteTask",
    "TuneResult",
    "UnsupportedTowerError",
    "from_folders",
    "load",
    "tiny",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
