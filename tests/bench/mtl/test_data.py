"""What the loaders read from disk: values, splits, order, augmentation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from bench.mtl.data import celeba, dense, images, office, qm9
from bench.mtl.data.batches import to_device

from . import fabricated


@pytest.fixture(scope="module")
def nyu(tmp_path_factory):
    return fabricated.dense(tmp_path_factory.mktemp("nyu"), dense.NYUV2, {"train": 5, "val": 2}, size=(32, 64))


def collect(part, size, **options):
    return list(part.batches(size, **options))


def test_dense_values(nyu):
    part = dense.DensePart(dense.NYUV2, nyu, "train")
    batches = collect(part, 2)
    assert [len(image) for image, _ in batches] == [2, 2, 1]
    image, (label, depth, normal) = batches[1]
    assert [tuple(one.shape) for one in (image, label, depth, normal)] == [
        (2, 3, 32, 64),
        (2, 32, 64),
        (2, 1, 32, 64),
        (2, 3, 32, 64),
    ]
    assert (image.dtype, label.dtype, depth.dtype) == (torch.float32, torch.int64, torch.float32)
    for i in range(2):
        path = nyu / "train"
        np.testing.assert_array_equal(image[i].permute(1, 2, 0), np.load(path / "image" / f"{2 + i}.npy"))
        np.testing.assert_array_equal(label[i], np.load(path / "label" / f"{2 + i}.npy"))
        np.testing.assert_array_equal(depth[i, 0], np.load(path / "depth" / f"{2 + i}.npy")[..., 0])
        np.testing.assert_array_equal(normal[i].permute(1, 2, 0), np.load(path / "normal" / f"{2 + i}.npy"))


def test_order_follows_from_seed_and_epoch(nyu):
    """And so do the augmentations: also with processes that read, and whatever has been drawn before."""
    part = dense.DensePart(dense.NYUV2, nyu, "train", augment=True)

    def images_of(order, workers=0):
        torch.rand(3)
        with warnings.catch_warnings():  # Python and JAX warn of forks where other tests have left threads
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            return torch.cat([image for image, _ in collect(part, 2, order=order, workers=workers)])

    one = images_of((0, 0))
    assert torch.equal(one, images_of((0, 0)))
    assert torch.equal(one, images_of((0, 0), workers=1))
    assert not torch.equal(one, images_of((0, 1)))
    assert not torch.equal(one, images_of((1, 0)))
    before = torch.get_rng_state()
    images_of((0, 0))
    torch.set_rng_state(before)
    a = torch.rand(1)
    torch.set_rng_state(before)
    collect(part, 2, order=(0, 0))
    assert torch.equal(torch.rand(1), a), "loading must leave the network's random numbers alone"


def test_no_augmentation_in_evaluation(nyu):
    part = dense.DensePart(dense.NYUV2, nyu, "train", augment=True)
    plain = dense.DensePart(dense.NYUV2, nyu, "train")
    for (image, _), (expected, _) in zip(collect(part, 2), collect(plain, 2), strict=True):
        assert torch.equal(image, expected)


def ramp(height=24, width=48):
    """An image whose values say where a pixel was; the depth and the label follow from it."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    normal = torch.stack([x - width, y + 1.0, torch.ones_like(x)])
    return {"image": torch.stack([x, y, x + y]), "label": (x // 8)[None], "depth": x[None] + 1.0, "normal": normal}


def test_scale_and_flip():
    seen = set()
    for seed in range(60):
        out = dense.scale_and_flip(ramp(), np.random.default_rng(seed))
        x, y, both = out["image"]
        message = f"{seed=}"
        torch.testing.assert_close(x + y, both, msg=message)
        step = float(x[0, 1:].sub(x[0, :-1]).mean())
        scale = min(dense.SCALES, key=lambda s: abs(abs(step) - (int(48 / s) - 1) / 47))
        assert abs(step) == pytest.approx((int(48 / scale) - 1) / 47, rel=1e-4), message
        seen.add((scale, step < 0.0))
        # all kinds see the same crop: nearest values are within a pixel of the smooth ones
        assert ((out["depth"][0] * scale - 1.0) - x).abs().max() <= 1.0 + 1e-4, message
        assert (out["label"][0] * 8.0 - x).max() <= 1.0 + 1e-4, message
        assert set(out["label"].unique().tolist()) <= set(range(6)), message
        sign = -1.0 if step < 0.0 else 1.0
        torch.testing.assert_close(out["normal"][0], sign * (x - 48.0), msg=message)
        torch.testing.assert_close(out["normal"][1], y + 1.0, msg=message)
    assert seen == {(scale, flip) for scale in dense.SCALES for flip in (True, False)}


def test_images(tmp_path):
    """Bilinear with antialiasing: a picture of half the size has the means of its pixels, nearly."""
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[:, 6:, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    same = images.read_image(tmp_path / "a.png", (8, 12))
    np.testing.assert_array_equal(same.permute(1, 2, 0), pixels.astype(np.float32) / 255.0)
    half = images.read_image(tmp_path / "a.png", (4, 6))
    assert half.shape == (3, 4, 6)
    assert float(half[0].mean()) == pytest.approx(0.5, abs=0.01)
    standard = images.read_image(tmp_path / "a.png", (8, 12), images.IMAGENET)
    assert float(standard[0, 0, 0]) == pytest.approx(-0.485 / 0.229, rel=1e-6)
    assert float(standard[2, 0, 11]) == pytest.approx(-0.406 / 0.225, rel=1e-6)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    assert images.read_image(tmp_path / "grey.png", (4, 4)).shape == (3, 4, 4)


def test_celeba(tmp_path):
    root = fabricated.celeba(tmp_path, (3, 2, 2))
    lines = (root / "list_attr_celeba.txt").read_text().splitlines()[2:]
    for name, numbers in (("train", (0, 1, 2)), ("validation", (3, 4)), ("test", (5, 6))):
        part = celeba.CelebAPart(root, name)
        assert len(part) == len(numbers)
        ((image, targets),) = collect(part, 8)
        assert image.shape == (len(numbers), 3, 64, 64)
        assert float(image.min()) >= 0.0
        assert float(image.max()) <= 1.0
        assert [tuple(target.shape) for target in targets] == [(len(numbers), 1)] * 40
        for i, number in enumerate(numbers):
            file, *values = lines[number].split()
            assert part.files[i] == file
            assert [int(target[i, 0]) for target in targets] == [int(value == "1") for value in values]


@pytest.fixture(scope="module")
def offices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("office")
    return fabricated.office(folder, folder / "lists", office.OFFICE_31, (4, 3, 2))


def test_office_training_batches(offices):
    """As many steps as the largest domain has batches; the others start again, in a new order."""
    part = office.OfficePart(office.OFFICE_31, offices, offices / "lists", "train", (16, 16))
    assert [len(domain) for domain in part.domains] == [4, 5, 6]
    steps = collect(part, 2, order=(0, 0))
    assert len(steps) == 3
    for inputs, targets in steps:
        assert [tuple(image.shape) for image in inputs] == [(2, 3, 16, 16)] * 3
        assert [tuple(label.shape) for label in targets] == [(2,)] * 3

    def seen(task):
        return [tuple(image.flatten()[:5].tolist()) for inputs, _ in steps for image in inputs[task]]

    assert len(set(seen(2))) == 6
    assert len(set(seen(0))) == 4
    assert len(set(seen(0)[:4])) == 4, "the first domain is gone through before it starts again"
    again = collect(part, 2, order=(0, 0))
    for (inputs, _), (others, _) in zip(steps, again, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(inputs, others, strict=True))
    with pytest.raises(ValueError, match="a batch has 5 images of each domain; one has only 4"):
        collect(part, 5, order=(0, 0))


def test_office_evaluation_batches(offices):
    part = office.OfficePart(office.OFFICE_31, offices, offices / "lists", "validation", (16, 16))
    labels = [[], [], []]
    for inputs, targets in collect(part, 2):
        (task,) = [task for task in range(3) if inputs[task] is not None]
        assert [target is None for target in targets] == [other != task for other in range(3)]
        labels[task] += targets[task].tolist()
    for task, domain in enumerate(office.OFFICE_31.domains):
        rows = office.read_list(offices / "lists" / f"{domain}_val.txt")
        assert labels[task] == [label for _, label in rows]


# ---- QM9 ----


@pytest.fixture
def molecules(tmp_path):
    return qm9.load(fabricated.qm9(tmp_path))[0]


def test_qm9_reads_what_was_written(molecules):
    graphs = fabricated.molecules(20)
    assert len(molecules) == 20
    for i, graph in enumerate(graphs):
        atoms = slice(molecules.atoms[i], molecules.atoms[i + 1])
        bonds = slice(molecules.bonds[i], molecules.bonds[i + 1])
        assert torch.equal(molecules.x[atoms], graph["x"])
        assert torch.equal(molecules.pos[atoms], graph["pos"])
        assert torch.equal(molecules.edge_index[:, bonds], graph["edge_index"])
        assert torch.equal(molecules.edge_attr[bonds], graph["edge_attr"])
        assert torch.equal(molecules.y[i], graph["y"][0])


def test_qm9_split_and_statistics(molecules):
    """Three parts that share nothing; the training targets, and only they, are standardised exactly."""
    split = qm9.split(molecules, 4, seed=1)
    assert {name: len(numbers) for name, numbers in split.parts.items()} == {"test": 4, "validation": 4, "train": 12}
    assert sorted(torch.cat(list(split.parts.values())).tolist()) == list(range(20))
    train = qm9.MoleculePart(molecules, split, "train")
    ((_, targets),) = collect(train, 99)
    values = torch.cat(targets, dim=1).double()
    np.testing.assert_allclose(values.mean(dim=0), np.zeros(11), atol=1e-5)
    np.testing.assert_allclose(values.std(dim=0), np.ones(11), rtol=1e-5)
    ((_, targets),) = collect(qm9.MoleculePart(molecules, split, "test"), 99)
    assert abs(float(torch.cat(targets, dim=1).mean())) > 1e-3
    raw = molecules.y[split.parts["test"]][:, [0, 1, 2, 3, 5, 6, 12, 13, 14, 15, 11]]
    restored = torch.cat(targets, dim=1) * split.std + split.mean
    torch.testing.assert_close(restored, raw, rtol=1e-4, atol=1e-4)

    other = molecules.y.clone()
    other[split.parts["test"]] += 100.0
    molecules.y = other
    assert torch.equal(qm9.split(molecules, 4, seed=1).mean, split.mean), "the test part must not leak"
    assert not torch.equal(qm9.split(molecules, 4, seed=2).parts["test"], split.parts["test"])


def test_complete_graphs():
    edge_index = torch.tensor([[0, 1], [1, 0]])
    edge_attr = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    pos = torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    index, attributes = qm9.complete(edge_index, edge_attr, pos)
    assert index.T.tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]
    far = 29.0**0.5
    expected = [[1, 0, 5], [0, 0, 2], [1, 0, 5], [0, 0, far], [0, 0, 2], [0, 0, far]]
    torch.testing.assert_close(attributes, torch.tensor(expected, dtype=torch.float32))


def test_qm9_batches(molecules):
    split = qm9.split(molecules, 4)
    part = qm9.MoleculePart(molecules, split, "validation")
    (inputs, targets), *_ = collect(part, 3)
    numbers = split.parts["validation"][:3]
    sizes = (molecules.atoms[1:] - molecules.atoms[:-1])[numbers]
    assert torch.equal(torch.bincount(inputs["batch"]), sizes)
    assert inputs["edge_attr"].shape == (int((sizes * (sizes - 1)).sum()), 5)
    source, target = inputs["edge_index"]
    assert torch.equal(inputs["batch"][source], inputs["batch"][target])
    assert [tuple(one.shape) for one in targets] == [(3, 1)] * 11
    moved = to_device((inputs, targets), torch.device("meta"))
    assert moved[0]["x"].device.type == moved[1][10].device.type == "meta"


def test_qm9_through_torch_geometric(tmp_path):
    """The same tensors as without it, from raw or processed files, and no attempt to download what is missing."""
    pytest.importorskip("torch_geometric")
    from torch_geometric.datasets import QM9

    root = fabricated.qm9(tmp_path)
    assert qm9.source(root) == "raw"
    raw, _ = qm9.load(root)
    assert len(QM9(str(root))) == 20
    assert qm9.source(root) == "processed"
    (root / "raw" / "qm9_v3.pt").unlink()
    processed, _ = qm9.load(root)
    for name in ("x", "pos", "edge_index", "edge_attr", "y", "atoms", "bonds"):
        assert torch.equal(getattr(raw, name), getattr(processed, name)), name
