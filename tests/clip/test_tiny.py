"""The tiny CLIP and its task."""

import re

import numpy as np
import open_clip
import pytest
import torch

import pyasmg.clip
from pyasmg.clip._digits import CLASSES, digits
from pyasmg.clip._tiny import FOLDER, as_pixels

DOMAINS = ("clean", "inverted", "noisy", "rotated and blurred")


@pytest.fixture(scope="module")
def task():
    return pyasmg.clip.tiny()


def test_the_task(task):
    assert task.task_names == DOMAINS
    assert (task.n_ctx, task.encoder.n_positions, task.batch_size) == (4, 25, 64)
    assert task.encoder.class_names == CLASSES
    assert len(set(task.n_train)) == 1
    for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        for part in task.parts(split):
            assert len(part.labels) == pytest.approx(1797 * share, abs=5)
    with torch.no_grad():
        embedded = task.encoder.model.token_embedding(task.encoder._tokenizer(["a photo of a"]))[0, 1:5]
    assert np.array_equal(task.start, embedded.numpy())


def test_the_files():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(sizes) == {"README.md", "open_clip_config.json", "open_clip_model.safetensors", "vocabulary.json"}
    assert sum(sizes.values()) < 700_000


def test_it_is_open_clips(task):
    own = open_clip.create_model(f"local-dir:{FOLDER}", require_pretrained=True).eval()
    assert type(own) is open_clip.CLIP
    texts = pyasmg.clip.load(FOLDER).tokenizer([f"a photo of a {name}" for name in CLASSES])
    with torch.no_grad():
        expected = own.encode_text(texts, normalize=True)
        ours = torch.nn.functional.normalize(task.encoder.encode(torch.from_numpy(task.start)[None])[0], dim=-1)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
        rows = digits().rows["test"][:5]
        images = own.encode_image(as_pixels(digits().images[1][rows]), normalize=True)
    torch.testing.assert_close(task.parts("test")[1].features[:5], images, rtol=0, atol=1e-6)


def test_the_card_tells_the_truth(task):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    row = next(line for line in card.splitlines() if line.startswith("| zero-shot"))
    figures = [float(text) for text in re.findall(r"\d+\.\d+", row)]
    losses, accuracies = (values[0] for values in task.evaluate(task.start[None], "test"))
    assert figures[:8:2] == pytest.approx(list(100 * accuracies), abs=0.3)  # an image on the edge may go either way
    assert figures[1:8:2] == pytest.approx(list(losses), abs=2e-3)
    assert f"{sum(p.numel() for p in task.encoder.model.parameters()):,} parameters" in card


def test_zero_shot_leaves_room(task):
    _, accuracies = task.evaluate(task.start[None], "test")
    assert accuracies.mean() > 0.7
    assert accuracies.max() > 0.9
    assert accuracies.min() < 0.7


def test_some_domains(task):
    chosen = pyasmg.clip.tiny(["noisy", "clean"], seed=4)
    assert chosen.task_names == ("noisy", "clean")
    expected = task.evaluate(task.start[None], "validation")[0][:, [2, 0]]
    np.testing.assert_allclose(chosen.evaluate(task.start[None], "validation")[0], expected, rtol=1e-6)
    for wrong in (["noisy", "blurred"], []):
        with pytest.raises(ValueError, match="`domains` must be some of"):
            pyasmg.clip.tiny(wrong)


def test_the_split_is_by_image():
    data = digits()
    rows = np.concatenate(list(data.rows.values()))
    assert np.array_equal(np.sort(rows), np.arange(1797))
    counts = np.stack([np.bincount(data.labels[data.rows[split]]) for split in ("train", "validation", "test")])
    assert (np.abs(counts / counts.sum(axis=0) - np.array([[0.6], [0.2], [0.2]])) < 0.01).all()
