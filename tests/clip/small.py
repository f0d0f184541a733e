"""Small random models and tasks."""

import open_clip
import torch

from pyasmg.clip import Domain, PromptEncoder, PromptTask
from pyasmg.clip.task import Part

VISION = {"image_size": 8, "patch_size": 4, "width": 16, "head_width": 8, "layers": 1}
NAMES = ("cat", "mountain bike", "calculator")
SIZES = {"train": 37, "validation": 9, "test": 11}


def config(**text):
    """Return a small model's configuration."""
    return {"embed_dim": 24, "vision_cfg": dict(VISION), "text_cfg": {"width": 32, "heads": 4, "layers": 2, **text}}


def build(settings=None, kind=open_clip.CLIP, seed=0):
    """Return a frozen model with random weights, biases and norms included."""
    torch.manual_seed(seed)
    settings = {key: value for key, value in (settings or config()).items() if key != "custom_text"}
    model = kind(**settings).eval().requires_grad_(False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "logit" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def domains(n=2, dim=24, sizes=SIZES, seed=0):
    """Return domains of random features."""
    generator = torch.Generator().manual_seed(seed)

    def part(size):
        features = torch.nn.functional.normalize(torch.randn(size, dim, generator=generator), dim=-1)
        return Part(features, torch.randint(0, len(NAMES), (size,), generator=generator))

    return [Domain(f"d{i}", {split: part(size) for split, size in sizes.items()}) for i in range(n)]


def encoder():
    """Return the encoder of a small model."""
    return PromptEncoder(build(config(context_length=16)), open_clip.SimpleTokenizer(context_length=16), NAMES)


def task(**options):
    """Return a small task."""
    own = encoder()
    settings = {"scale": 10.0, "start": own.embedding("a photo of a"), "batch_size": 8, "seed": 1, "n_threads": 1}
    return PromptTask(own, domains(), **{**settings, **options})
