"""Train the tiny CLIP that comes with pyasmg, from scratch, on scikit-learn's digits in four domains.

``python -m bench.clip.train_tiny`` writes the folder ``pyasmg/clip/data/tiny``: configuration, weights in fp16,
vocabulary and card. About a minute on one core; the same machine and versions give the same bits. Only the training
split is looked at, until the card's figures are taken at the end.
"""

from __future__ import annotations

from bench.common import machine, one_thread

one_thread()

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from pyasmg.clip._digits import CLASSES, DOMAINS, digits  # noqa: E402
from pyasmg.clip._imports import open_clip  # noqa: E402
from pyasmg.clip._tiny import FOLDER, START, as_pixels  # noqa: E402
from pyasmg.clip._tokenizer import PrunedTokenizer  # noqa: E402
from pyasmg.clip.models import CONFIG, VOCABULARY  # noqa: E402

from .card import card  # noqa: E402

#: What an image of each domain may be called; {} is the digit's name.
CAPTIONS = {
    "clean": ("a photo of a {}", "a picture of the number {}", "a photo of the digit {}"),
    "inverted": ("a negative of a {}", "an inverted picture of the number {}"),
    "noisy": ("a noisy picture of a {}", "a grainy photo of the number {}"),
    "rotated and blurred": ("a blurry picture of a tilted {}", "a rotated and blurred {}"),
}
#: How often each domain is seen: as on the web, most pictures are clean. So a photo's prompt fits the others less.
FREQUENCIES = {"clean": 12.0, "inverted": 0.8, "noisy": 1.0, "rotated and blurred": 1.0}
CONTEXT_LENGTH = 16
MODEL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 8, "patch_size": 2, "width": 64, "head_width": 16, "layers": 3},
    "text_cfg": {"context_length": CONTEXT_LENGTH, "width": 64, "heads": 4, "layers": 2},
}
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "shortest"}
BATCH = 60
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.1
LARGEST_SCALE = 100.0  # as in CLIP


def vocabulary() -> list[str]:
    """Return the tokens of CLIP's own vocabulary that the captions use, sorted."""
    whole = open_clip().SimpleTokenizer(context_length=CONTEXT_LENGTH)
    texts = [caption.format(name) for captions in CAPTIONS.values() for caption in captions for name in CLASSES]
    return sorted({whole.decoder[token] for text in [START, *texts] for token in whole.encode(text)})


class Batches:
    """Batches of every digit equally often, domains as often as :data:`FREQUENCIES` says, one caption each."""

    def __init__(self, tokenizer: PrunedTokenizer, seed: int) -> None:
        data = digits()
        rows = data.rows["train"]
        self._rng = np.random.default_rng(seed)
        self._pixels = torch.stack([as_pixels(images) for images in data.images])
        self._rows = [rows[data.labels[rows] == label] for label in range(len(CLASSES))]
        self._captions = [
            [tokenizer([caption.format(name) for caption in CAPTIONS[domain]]) for name in CLASSES]
            for domain in DOMAINS
        ]
        weights = np.array([FREQUENCIES[domain] for domain in DOMAINS])
        self._shares = weights / weights.sum()

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return images (BATCH, 3, 8, 8) and captions (BATCH, CONTEXT_LENGTH)."""
        labels = np.tile(np.arange(len(CLASSES)), BATCH // len(CLASSES))
        domains = self._rng.choice(len(DOMAINS), BATCH, p=self._shares)
        rows = [self._rows[label][self._rng.integers(len(self._rows[label]))] for label in labels]
        texts = [self._captions[domain][label] for domain, label in zip(domains, labels, strict=True)]
        return self._pixels[domains, rows], torch.stack([own[self._rng.integers(len(own))] for own in texts])


def contrastive_loss(images: Tensor, texts: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's symmetric cross-entropy; equal captions in a batch share the target."""
    logits = scale * functional.normalize(images, dim=-1) @ functional.normalize(texts, dim=-1).T
    same = (captions[:, None] == captions).all(dim=-1).float()
    target = same / same.sum(dim=1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def train(n_steps: int, seed: int) -> tuple[torch.nn.Module, PrunedTokenizer, list[str]]:
    """Return the trained model, its tokenizer and its vocabulary."""
    torch.manual_seed(seed)
    tokens = vocabulary()
    tokenizer = PrunedTokenizer(tokens, CONTEXT_LENGTH)
    MODEL["text_cfg"]["vocab_size"] = tokenizer.vocab_size
    model = open_clip().CLIP(**MODEL)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_steps, pct_start=0.1)
    batches = Batches(tokenizer, seed)
    start = time.perf_counter()
    for step in range(1, n_steps + 1):
        pixels, captions = batches.draw()
        scale = model.logit_scale.exp().clamp(max=LARGEST_SCALE)
        loss = contrastive_loss(model.encode_image(pixels), model.encode_text(captions), captions, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {n_steps}: loss {loss.item():.3f}, {time.perf_counter() - start:.0f} s", flush=True)
    return model.eval(), tokenizer, tokens


def save(model: torch.nn.Module, tokens: list[str], folder: Path) -> None:
    """Write the folder that ``pyasmg.clip.load`` and ``open_clip.create_model("local-dir:...")`` read."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / VOCABULARY).write_text(json.dumps(tokens, indent=0, ensure_ascii=True) + "\n", encoding="utf-8")
    state = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    weights = folder / "open_clip_model.safetensors"
    save_file(state, weights)
    weights.chmod(0o644)  # safetensors makes it private


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder to write")
    arguments = parser.parse_args()
    start = time.perf_counter()
    model, _, tokens = train(arguments.steps, arguments.seed)
    if arguments.out.exists():
        shutil.rmtree(arguments.out)
    save(model, tokens, arguments.out)
    seconds = time.perf_counter() - start
    where = f"{machine()}; PyTorch {torch.__version__}, Python {platform.python_version()}"
    text = card(arguments.out, arguments.steps, arguments.seed, seconds, where)
    (arguments.out / "README.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
