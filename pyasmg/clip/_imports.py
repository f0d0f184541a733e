"""The imports that may fail, with what to do about it."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def open_clip() -> Any:
    """Return the module open_clip.

    Raises
    ------
    ImportError
        If it is missing, or if torchvision, which it needs, was built for another torch.
    """
    return _module("open_clip")


def optional(name: str) -> Any:
    """Return another module of the extra ``clip``."""
    return _module(name)


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f'pyasmg.clip needs {error.name or name}: pip install "pyasmg[clip]".') from error
    except (ImportError, OSError, RuntimeError) as error:
        if "torchvision" not in str(error):
            raise
        raise ImportError(
            f"{name} could not be imported ({str(error).splitlines()[0]}). The installed torchvision does not fit the "
            "installed torch: install both together, from the same index: pip install --upgrade torch torchvision."
        ) from error
