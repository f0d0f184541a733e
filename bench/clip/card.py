"""The card of the tiny CLIP, with figures taken from its files."""

from __future__ import annotations

from pathlib import Path

from pyasmg.clip import PromptTask
from pyasmg.clip._tiny import tiny_of

from .white_box import white_box


def card(folder: Path, n_steps: int, seed: int, seconds: float, where: str) -> str:
    """Return the card as markdown."""
    from .train_tiny import BATCH, CAPTIONS, FREQUENCIES

    task = tiny_of(folder)
    megabytes = (folder / "open_clip_model.safetensors").stat().st_size / 1e6
    captions = "\n".join(
        f"| {name} | {FREQUENCIES[name]:g} | {'; '.join(f'`{text}`' for text in texts)} |"
        for name, texts in CAPTIONS.items()
    )
    return f"""# The tiny CLIP that comes with pyasmg

A CLIP of {_n_parameters(task):,} parameters for images of 8 x 8 pixels, small enough to be shipped, real enough to be
tuned: an `open_clip.CLIP` like any other, trained from scratch by `python -m bench.clip.train_tiny`.

| | |
|---|---|
| files | `open_clip_config.json`, `open_clip_model.safetensors` ({megabytes:.2f} MB, fp16), `vocabulary.json` |
| load | `pyasmg.clip.tiny()`, or `pyasmg.clip.load(folder)`, or `open_clip.create_model("local-dir:...")` |
| data | the 1,797 handwritten digits of scikit-learn's `load_digits` (UCI, Optical Recognition of Handwritten Digits) |
| domains | clean; inverted; noisy (Gaussian, 0.2); rotated by 25 degrees and blurred |
| split | 60/20/20 within each digit, the same images in all domains; only the training split was trained on |
| training | {n_steps} steps of {BATCH} pairs, AdamW, CLIP's symmetric loss, seed {seed}: {seconds:.0f} s |
| where | {where} |
| vocabulary | the tokens of CLIP's own that the captions use, renumbered |
| licence | that of pyasmg; the data are CC BY 4.0 |

Captions, and how often a domain is seen (pictures are mostly clean, as on the web):

| domain | frequency | captions |
|---|---|---|
{captions}

Test accuracy in percent and cross-entropy of `a photo of a {{digit}}`, and of the prompt that gradient descent through
the text tower finds on the training split (a ceiling for methods that only query):

{_figures(task)}

The last row is for judging: what was learnt by heart cannot be tuned further, and its loss says little of new images.

Intended for demonstrations, tests and benchmarks of prompt tuning through queries; of no use for anything else.
"""


def _n_parameters(task: PromptTask) -> int:
    return sum(parameter.numel() for parameter in task.encoder.model.parameters())


def _figures(task: PromptTask) -> str:
    rows = ["| | " + " | ".join(task.task_names) + " | average | worst |", "|---" * (len(task.task_names) + 3) + "|"]
    chosen = {
        "zero-shot": (task.start, "test"),
        "white box": (white_box(task), "test"),
        "zero-shot, training split": (task.start, "train"),
    }
    for name, (prompt, split) in chosen.items():
        losses, accuracies = (values[0] for values in task.evaluate(prompt[None], split))
        cells = [f"{100 * a:.1f} ({loss:.3f})" for a, loss in zip(accuracies, losses, strict=True)]
        cells += [f"{100 * accuracies.mean():.1f} ({losses.mean():.3f})", f"{100 * accuracies.min():.1f}"]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)
