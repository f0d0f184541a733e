"""An open_clip model with its tokenizer and its image transform: by name, by checkpoint or from a folder."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._imports import open_clip
from ._tokenizer import PrunedTokenizer

CONFIG = "open_clip_config.json"
VOCABULARY = "vocabulary.json"
_WEIGHTS = (".safetensors", ".bin", ".pth")  # what open_clip looks for
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # OpenAI's archives hold these as well


class Model(NamedTuple):
    """A frozen CLIP, ready to be queried."""

    clip: Any  # open_clip.CLIP or CustomTextCLIP, in eval mode, no parameter requires a gradient
    tokenizer: Callable[[list[str]], Tensor]
    preprocess: Callable[[Any], Tensor]  # a PIL image to what the image tower takes
    name: str

    @property
    def scale(self) -> float:
        """What cosine similarities are multiplied by."""
        return float(self.clip.logit_scale.detach().exp())


def load(model: str | Path, pretrained: str | Path | None = None, *, device: str | torch.device = "cpu") -> Model:
    """Load a model, in float32.

    Parameters
    ----------
    model : str or path
        A name that open_clip knows ("RN50-quickgelu", "ViT-B-32", ...; ``open_clip.list_models()``), or a folder with
        ``open_clip_config.json`` and the weights, as open_clip writes it ("local-dir:..." works too). A
        ``vocabulary.json`` beside them names the tokens of a pruned vocabulary.
    pretrained : str or path, optional
        With a name: open_clip's tag of the weights ("openai", "laion2b_s34b_b79k", ...), which are downloaded once, or
        a checkpoint file: safetensors, a state dict, or OpenAI's own archive. With a folder: nothing.
    device : str or torch.device
        Where it runs.

    Raises
    ------
    ValueError
        For an unknown name, tag or file; for weights that are not the model's.
    ConnectionError
        If the weights cannot be fetched; the message says which file to fetch elsewhere and how to name it here.
    """
    name = str(model).removeprefix("local-dir:")
    if Path(name).is_dir():
        if pretrained is not None:
            raise ValueError(
                f"`pretrained` must be left out with a folder, whose weights are used; got {pretrained!r}."
            )
        parts = _from_folder(Path(name))
    else:
        parts = _by_name(name, None if pretrained is None else str(pretrained))
    parts.clip.eval().requires_grad_(False).to(device)
    return parts


def _from_folder(folder: Path) -> Model:
    module = open_clip()
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} is not a model: it has no {CONFIG}.")
    if not any(path.suffix in _WEIGHTS for path in folder.iterdir()):
        raise ValueError(f"{folder} has no weights: none of {', '.join(_WEIGHTS)}.")
    try:
        clip, _, preprocess = module.create_model_and_transforms(f"local-dir:{folder}")
    except Exception as error:
        raise ValueError(f"{folder}: {_first_line(error)}.") from error
    vocabulary = folder / VOCABULARY
    if vocabulary.is_file():
        tokens = json.loads(vocabulary.read_text(encoding="utf-8"))
        tokenizer: Any = PrunedTokenizer(tokens, clip.context_length)
    else:
        tokenizer = module.get_tokenizer(f"local-dir:{folder}")
    return Model(clip, tokenizer, preprocess, folder.resolve().name)


def _by_name(name: str, pretrained: str | None) -> Model:
    module = open_clip()
    if name not in module.list_models():
        raise ValueError(
            f"`model` must be a name that open_clip knows or a folder with {CONFIG}; got {name!r}. Names: python -c "
            '"import open_clip; print(open_clip.list_models())".'
        )
    if pretrained is None:
        raise ValueError(f"`pretrained` must name the weights of {name}: {_choices(name)}.")
    config = module.get_pretrained_cfg(name, pretrained)
    archive = False
    if config:
        _fetch(name, pretrained, config)
    elif Path(pretrained).is_file():
        archive = _is_torchscript(pretrained)
    else:
        raise ValueError(f"`pretrained` must be {_choices(name)}; got {pretrained!r}, which is neither.")
    # OpenAI's weights need QuickGELU also under a name without "-quickgelu"; only OpenAI hands out such archives.
    options = {"force_quick_gelu": True} if archive or config.get("quick_gelu") else {}
    try:
        weights = None if archive else pretrained
        clip, _, preprocess = module.create_model_and_transforms(name, weights, load_weights=not archive, **options)
        if archive:
            state = _archived(pretrained)
            clip.load_state_dict(state)
    except Exception as error:
        raise ValueError(f"{pretrained} does not hold weights of {name}: {_first_line(error)}.") from error
    return Model(clip, module.get_tokenizer(name), preprocess, f"{name} ({Path(pretrained).name})")


def _fetch(name: str, tag: str, config: dict[str, Any]) -> None:
    """Put a tag's weights into open_clip's cache, if they are not there."""
    try:
        open_clip().pretrained.download_pretrained(config)
    except Exception as error:
        raise ConnectionError(
            f"the weights {tag!r} of {name} could not be fetched ({_first_line(error)}). Fetch them on a machine that "
            f"can ({_source(config)}), put the file anywhere here, and name its path instead of the tag: "
            f"--model {name} --pretrained /path/to/the/file."
        ) from error


def _source(config: dict[str, Any]) -> str:
    places = []
    if config.get("hf_hub"):
        repository, _, file = config["hf_hub"].rpartition("/")
        places.append(f"{file or 'open_clip_model.safetensors'} of {repository} on the Hugging Face hub")
    if config.get("url"):
        places.append(config["url"])
    return ", or ".join(places)


def _choices(name: str) -> str:
    tags = open_clip().list_pretrained_tags_by_model(name)
    known = f"one of {', '.join(map(repr, tags))}, or " if tags else ""
    return f"{known}the path of a checkpoint file"


def _is_torchscript(path: str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in member for member in archive.namelist())


def _archived(path: str) -> dict[str, Tensor]:
    """Return the weights of a TorchScript archive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there is no other way to read one
        state = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return {key: value for key, value in state.items() if key not in _NOT_WEIGHTS}


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
