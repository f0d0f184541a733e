"""Text features from prompt embeddings equal the model's own."""

import open_clip
import pytest
import torch

from pyasmg.clip import PromptEncoder, UnsupportedTowerError

from .small import VISION, build, config

NAMES = ("cat", "mountain bike", "calculator", "a b c d e f")
TOLERANCE = 1e-6
PACKED = 5 + 2 + 3 + 2 + 7  # start and prompt once, then names and ends


def worst_difference(model, tokenizer, names=NAMES, ending=""):
    """Return the largest difference of the normalised features, and the encoder."""
    encoder = PromptEncoder(model, tokenizer, names, ending=ending)
    prompt = torch.from_numpy(encoder.embedding("a photo of a"))
    with torch.no_grad():
        ours = encoder.encode(torch.stack((prompt, torch.zeros_like(prompt), prompt)))
        own = model.encode_text(tokenizer([f"a photo of a {name}{ending}" for name in names]))
    ours, own = (torch.nn.functional.normalize(features, dim=-1) for features in (ours, own))
    assert ours.shape == (3, len(names), own.shape[-1])
    assert (ours[1] - ours[0]).abs().max() > 1e-3  # the prompt matters
    assert (own[0] - own[1]).abs().max() > 1e-3  # and so does the class
    return max((ours[i] - own).abs().max().item() for i in (0, 2)), encoder


@pytest.mark.parametrize("kind", [open_clip.CLIP, open_clip.CustomTextCLIP])
@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ({}, PACKED),
        ({"context_length": 20}, PACKED),
        ({"pool_type": "eos", "eos_id": 49407}, PACKED),
        ({"proj_bias": True}, PACKED),
        ({"proj_type": "none", "width": 24}, PACKED),
        ({"ls_init_value": 0.3, "qk_norm": True, "scale_attn": True}, PACKED),
        ({"no_causal_mask": True}, 4 * 77),  # every position sees the padding
    ],
    ids=["plain", "short", "eos", "bias", "no projection", "custom blocks", "bidirectional"],
)
def test_small_towers(kind, text, positions):
    tokenizer = open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))
    difference, encoder = worst_difference(build(config(**text), kind), tokenizer)
    assert difference < TOLERANCE
    assert encoder.n_positions == positions


def test_masked_padding_is_trimmed():
    model = build(config(no_causal_mask=True), open_clip.CustomTextCLIP)
    model.text.use_pad_mask = True
    difference, encoder = worst_difference(model, open_clip.SimpleTokenizer())
    assert difference < TOLERANCE
    assert encoder.n_positions == 4 * 12


@pytest.mark.parametrize("name", ["RN50-quickgelu", "ViT-B-32"])
def test_text_towers_of_published_models(name):
    settings = {**open_clip.get_model_config(name), "vision_cfg": dict(VISION)}  # the text tower is the true one
    assert settings["text_cfg"]["width"] == 512
    difference, encoder = worst_difference(build(settings), open_clip.get_tokenizer(name), NAMES[:3], ending=".")
    assert difference < TOLERANCE
    assert (encoder.n_positions, encoder.width) == (5 + 3 + 4 + 3, 512)


def test_gradients_reach_the_prompt():
    encoder = PromptEncoder(build(config()), open_clip.SimpleTokenizer(), NAMES)
    prompt = torch.from_numpy(encoder.embedding("a photo of a")).requires_grad_()
    encoder.encode(prompt[None]).sum().backward()
    assert prompt.grad.abs().min() > 0


def test_no_prompts():
    encoder = PromptEncoder(build(config()), open_clip.SimpleTokenizer(), NAMES)
    assert encoder.encode(torch.zeros(0, 4, 32)).shape == (0, 4, 24)


def coca():
    settings = config(embed_cls=True, output_tokens=True)
    decoder = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 1}
    vision = {**settings["vision_cfg"], "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
    return open_clip.CoCa(24, multimodal_cfg=decoder, text_cfg=settings["text_cfg"], vision_cfg=vision)


def foreign():
    model = build(config(), open_clip.CustomTextCLIP)
    model.text = torch.nn.Linear(1, 1)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (coca, "class token"),
        (lambda: build(config(embed_cls=True), open_clip.CustomTextCLIP), "class token"),
        (lambda: build(config(pool_type="last", no_causal_mask=True), open_clip.CustomTextCLIP), "pools 'last'"),
        (lambda: build(config(pool_type="first")), "pools 'first'"),
        (foreign, "is a Linear, not open_clip's TextTransformer"),
        (lambda: torch.nn.Linear(1, 1), "no text tower"),
    ],
    ids=["CoCa", "class token", "SigLIP", "first", "foreign tower", "no CLIP"],
)
def test_towers_that_cannot_be_exact_are_refused(make, reason):
    with pytest.raises(UnsupportedTowerError, match=reason):
        PromptEncoder(make(), open_clip.SimpleTokenizer(), NAMES)


def test_hugging_face_towers_are_refused():
    pytest.importorskip("transformers")
    model = build(config(), open_clip.CustomTextCLIP)
    model.text = open_clip.hf_model.HFTextEncoder.__new__(open_clip.hf_model.HFTextEncoder)
    with pytest.raises(UnsupportedTowerError, match="is a HFTextEncoder"):
        PromptEncoder(model, open_clip.SimpleTokenizer(), NAMES)


def test_hostile_arguments():
    model, tokenizer = build(config(context_length=12)), open_clip.SimpleTokenizer(context_length=12)
    encoder = PromptEncoder(model, tokenizer, NAMES)  # just fits
    assert encoder.n_positions == PACKED
    with pytest.raises(ValueError, match=r"class name 'a b c d e f' has 6 tokens .* have room for 5"):
        PromptEncoder(model, tokenizer, NAMES, n_ctx=5)
    with pytest.raises(ValueError, match="must have n_ctx = 4 tokens; 'a photo' has 2"):
        encoder.embedding("a photo")
    with pytest.raises(ValueError, match=r"`prompts` must have shape \(N, 4, 32\); got \(1, 4, 31\)"):
        encoder.encode(torch.zeros(1, 4, 31))
    with pytest.raises(ValueError, match="must give 12 token numbers below 49408"):
        PromptEncoder(model, open_clip.SimpleTokenizer(context_length=13), NAMES)
    with pytest.raises(ValueError, match="must put one start-of-text token"):
        PromptEncoder(model, lambda texts: tokenizer(texts).roll(-1, dims=1), NAMES)
    for wrong in (("cat",), ("cat", "cat"), ("cat", " ")):
        with pytest.raises(ValueError, match="`class_names` must"):
            PromptEncoder(model, tokenizer, wrong)
    with pytest.raises(TypeError, match="sequence of texts"):
        PromptEncoder(model, tokenizer, "cat")


def test_many_classes_fill_several_sequences(monkeypatch):
    monkeypatch.setattr("pyasmg.clip._sequences._LONGEST", 9)
    difference, encoder = worst_difference(build(config()), open_clip.SimpleTokenizer(), (*NAMES, "dog", "bird"))
    assert difference < TOLERANCE
    assert encoder.n_positions == (5 + 2 + 3 + 2) + (5 + 7 + 2) + (5 + 2)
