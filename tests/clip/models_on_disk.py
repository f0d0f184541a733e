"""Small models in files."""

import json

from safetensors.torch import save_file

from .small import build, config

PREPROCESS = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}


def saved_model(folder, vocabulary=None, **text):
    """Write a model's folder as open_clip does; return it."""
    settings = config(**text)
    model = build(settings)
    written = {"model_cfg": settings, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(written))
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    if vocabulary is not None:
        (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return folder
