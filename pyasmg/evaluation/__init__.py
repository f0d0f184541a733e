"""Where objective values come from."""

from .callable import Evaluator

__all__ = ["Evaluator"]
