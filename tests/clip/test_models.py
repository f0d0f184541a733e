"""Models by name, by checkpoint and from folders."""

import json
import urllib.error
import warnings

import open_clip
import pytest
import torch

import pyasmg.clip
from pyasmg.clip import PromptEncoder
from pyasmg.clip._tokenizer import PrunedTokenizer

from .models_on_disk import saved_model
from .small import build, config

NAME = "pyasmg-test"


@pytest.fixture
def named(tmp_path):
    """A small model under a name of open_clip's."""
    settings = config()
    (tmp_path / f"{NAME}.json").write_text(json.dumps(settings))
    open_clip.add_model_config(tmp_path / f"{NAME}.json")
    yield build(settings, seed=3)
    open_clip.factory._MODEL_CONFIGS.pop(NAME)
    open_clip.factory._MODEL_CONFIG_PATHS.remove(tmp_path / f"{NAME}.json")


def same_weights(one, other):
    state, expected = one.state_dict(), other.state_dict()
    return state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in state)


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_folder(tmp_path, prefix):
    model = pyasmg.clip.load(f"{prefix}{saved_model(tmp_path)}")
    assert same_weights(model.clip, build())
    assert not model.clip.training
    assert not any(parameter.requires_grad for parameter in model.clip.parameters())
    assert model.scale == pytest.approx(1 / 0.07)
    assert torch.equal(model.tokenizer(["a photo"]), open_clip.get_tokenizer("RN50")(["a photo"]))
    from PIL import Image

    pixels = model.preprocess(Image.new("RGB", (16, 12), (255, 0, 0)))
    assert pixels.shape == (3, 8, 8)
    assert pixels[:, 0, 0].tolist() == [2.0, -2.0, -2.0]  # mean 0.5, standard deviation 0.25


def test_a_pruned_vocabulary(tmp_path):
    vocabulary = ["a</w>", "cat</w>", "dog</w>", "of</w>", "photo</w>"]
    folder = saved_model(tmp_path, vocabulary, vocab_size=8, context_length=9)
    model = pyasmg.clip.load(folder)
    assert isinstance(model.tokenizer, PrunedTokenizer)
    encoder = PromptEncoder(model.clip, model.tokenizer, ["cat", "dog"])
    assert encoder.n_positions == 9


def test_a_checkpoint_file(tmp_path, named):
    torch.save({"state_dict": named.state_dict()}, tmp_path / "weights.pt")
    model = pyasmg.clip.load(NAME, tmp_path / "weights.pt")
    assert same_weights(model.clip, named)
    assert model.name == f"{NAME} (weights.pt)"


def test_an_archive_of_openais_kind(tmp_path, named):
    class Archive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in named.state_dict().items():
                *path, last = name.split(".")
                module = self
                for part in path:
                    if part not in dict(module.named_children()):
                        module.add_module(part, torch.nn.Module())
                    module = dict(module.named_children())[part]
                module.register_buffer(last, value)
            for name in ("input_resolution", "context_length", "vocab_size"):
                self.register_buffer(name, torch.tensor(1))

        def forward(self):
            return self.input_resolution

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Archive()).save(tmp_path / "RN50.pt")
    model = pyasmg.clip.load(NAME, tmp_path / "RN50.pt")
    assert same_weights(model.clip, named)
    assert isinstance(model.clip.transformer.resblocks[0].mlp.gelu, open_clip.transformer.QuickGELU)


def test_an_unreachable_hub_says_what_to_put_where(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained_from_hf", unreachable)
    monkeypatch.setattr(open_clip.pretrained, "download_pretrained_from_url", unreachable)
    with pytest.raises(ConnectionError) as caught:
        pyasmg.clip.load("RN50-quickgelu", "openai")
    message = str(caught.value)
    assert "the weights 'openai' of RN50-quickgelu could not be fetched" in message
    assert "no network here" in message
    assert "timm/resnet50_clip.openai on the Hugging Face hub" in message
    assert "RN50.pt" in message
    assert "--model RN50-quickgelu --pretrained /path/to/the/file" in message


def test_hostile_names(tmp_path, named):
    with pytest.raises(ValueError, match="`model` must be a name that open_clip knows or a folder"):
        pyasmg.clip.load("RN51")
    with pytest.raises(ValueError, match="`pretrained` must name the weights of RN50-quickgelu: one of 'openai'"):
        pyasmg.clip.load("RN50-quickgelu")
    with pytest.raises(ValueError, match=r"or the path of a checkpoint file; got 'openia', which is neither"):
        pyasmg.clip.load("RN50-quickgelu", "openia")
    with pytest.raises(ValueError, match=r"is not a model: it has no open_clip_config\.json"):
        pyasmg.clip.load(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    saved_model(folder)
    with pytest.raises(ValueError, match="`pretrained` must be left out with a folder"):
        pyasmg.clip.load(folder, "openai")
    torch.save(build(config(width=64)).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt does not hold weights of pyasmg-test: text pos_embed width"):
        pyasmg.clip.load(NAME, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"text.pt does not hold weights"):
        pyasmg.clip.load(NAME, tmp_path / "text.pt")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match="has no weights"):
        pyasmg.clip.load(folder)
