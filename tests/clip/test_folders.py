"""Image folders in the true layouts of Office-31 and Office-Home, list files, and folders of one's own."""

import numpy as np
import pytest
import torch
from PIL import Image

import pyasmg.clip
from pyasmg.clip.folders import LayoutError, find_images

from .models_on_disk import saved_model

CLASSES = {"office-31": ("back_pack", "bike", "desktop_computer"), "office-home": ("Alarm_Clock", "Bike", "TV")}
FOLDERS = {
    "office-31": ("amazon/images", "dslr/images", "webcam/images"),
    "office-home": ("Art", "Clipart", "Product", "Real World"),
}
N = 10  # images per class and domain


def fabricate(root, layout, n=N):
    """Write real image files of different sizes and kinds, each of a colour of its own."""
    rng = np.random.default_rng(0)
    for folder in FOLDERS[layout]:
        for name in CLASSES[layout]:
            place = root / folder / name
            place.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (9 + i, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / (f"frame_{i:04}.jpg" if i % 2 else f"{i:05}.png"))
            (place / "Thumbs.db").write_bytes(b"no image")
            (place / ".hidden.jpg").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pyasmg.clip.load(saved_model(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize("layout", ["office-31", "office-home"])
def test_true_layouts(tmp_path, layout, model):
    root = fabricate(tmp_path, layout)
    task = pyasmg.clip.from_folders(root, model, layout=layout, batch_size=4, n_threads=1)
    names = tuple(folder.split("/")[0] for folder in FOLDERS[layout])
    assert task.task_names == names
    expected = tuple(name.replace("_", " ").lower() for name in CLASSES[layout])
    assert task.encoder.class_names == expected
    assert task.n_train == (18,) * len(names)  # 60 % of 10 in each of 3 classes
    assert [len(part.labels) for part in task.parts("test")] == [6] * len(names)
    for split, count in (("train", 6), ("validation", 2), ("test", 2)):
        for part in task.parts(split):
            assert torch.equal(part.labels.bincount(), torch.tensor([count] * 3))
    losses, accuracies = task.evaluate(task.start[None], "test")
    assert np.isfinite(losses).all()
    assert (accuracies >= 0).all()


def test_features_are_the_models_own(tmp_path, model):
    root = fabricate(tmp_path, "office-31", n=5)
    seen = []
    task = pyasmg.clip.from_folders(root, model, layout="office-31", progress=lambda *step: seen.append(step))
    names, files = find_images(root, layout="office-31")
    paths, labels = files[1].parts["validation"]
    with Image.open(paths[0]) as image, torch.no_grad():
        features = model.clip.encode_image(model.preprocess(image.convert("RGB"))[None], normalize=True)[0]
    part = task.parts("validation")[1]
    assert part.labels.tolist() == labels
    torch.testing.assert_close(part.features[0], features, rtol=0, atol=1e-6)
    assert names[labels[0]] == paths[0].parent.name.replace("_", " ")
    assert seen[-1] == ("webcam", 15, 15)


def test_the_split_is_seeded_and_disjoint(tmp_path):
    root = fabricate(tmp_path, "office-31")
    _, one = find_images(root, layout="office-31", split_seed=1)
    assert one == find_images(root, layout="office-31", split_seed=1)[1]
    assert one != find_images(root, layout="office-31", split_seed=2)[1]
    for files in one:
        paths = [path for part in files.parts.values() for path in part[0]]
        assert len(paths) == len(set(paths)) == 3 * N
    with pytest.raises(ValueError, match="`split_seed` must be"):
        find_images(root, layout="office-31", split_seed=-1)


def test_folders_of_ones_own(tmp_path):
    root = fabricate(tmp_path, "office-home")
    names, files = find_images(root)
    assert [entry.name for entry in files] == ["Art", "Clipart", "Product", "Real World"]
    assert names == ("alarm clock", "bike", "tv")
    _, chosen = find_images(root, domains=["Product", "Art"])
    assert [entry.name for entry in chosen] == ["Product", "Art"]


def test_real_world_has_three_spellings(tmp_path):
    for spelling in ("Real_World", "RealWorld"):
        root = fabricate(tmp_path / spelling, "office-home", n=5)
        (root / "Real World").rename(root / spelling)
        assert find_images(root, layout="office-home")[1][-1].name == "Real World"


def write_lists(root, lists, domain, folder, parts):
    """Write list files with lines `path label`; return what they say."""
    lists.mkdir(exist_ok=True)
    for part, numbers in parts.items():
        lines = [
            f"{folder}/{name}/{path.name} {label}"
            for label, name in enumerate(CLASSES["office-31"])
            for path in [sorted(p for p in (root / folder / name).iterdir() if p.name[0] in "f0")[i] for i in numbers]
        ]
        (lists / f"{domain}{part}.txt").write_text("\n".join(lines) + "\n\n")


def test_list_files(tmp_path):
    root, lists = fabricate(tmp_path / "root", "office-31"), tmp_path / "lists"
    for name in ("amazon", "dslr"):
        write_lists(root, lists, name, f"{name}/images", {"_train": [0, 3], "_val": [1], "_test": [2, 5, 6]})
    write_lists(root, lists, "webcam", "webcam/images", {"": range(N)})  # split by the seed
    names, files = find_images(root, layout="office-31", lists=lists)
    assert names == ("back pack", "bike", "desktop computer")
    assert [len(files[1].parts[split][0]) for split in ("train", "validation", "test")] == [6, 3, 9]
    assert files[1].parts["test"][1] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [len(files[2].parts[split][0]) for split in ("train", "validation", "test")] == [18, 6, 6]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("amazon/images/bike/nothing.jpg 1", "line 2: there is no .*nothing.jpg"),
        ("amazon/images/bike/00000.png", "line 2: expected `path label`"),
        ("amazon/images/bike/00000.png one", "line 2: expected `path label`"),
        ("amazon/images/bike/00000.png 0", "label 0 is both back_pack and bike"),
        ("amazon/images/bike/00000.png 7", "labels must be 0 .. K - 1"),
    ],
)
def test_broken_list_files(tmp_path, line, message):
    root, lists = fabricate(tmp_path / "root", "office-31", n=5), tmp_path / "lists"
    lists.mkdir()
    for part in ("train", "val", "test"):
        (lists / f"amazon_{part}.txt").write_text(f"amazon/images/back_pack/00000.png 0\n{line}\n")
    with pytest.raises(LayoutError, match=message):
        find_images(root, layout="office-31", domains=["amazon"], lists=lists)


def test_missing_things_are_named(tmp_path):
    root = fabricate(tmp_path / "root", "office-31", n=5)
    with pytest.raises(LayoutError, match="missing folders Art, Clipart, Product, Real World or Real_World or RealWor"):
        find_images(root, layout="office-home")
    with pytest.raises(LayoutError, match="is no folder"):
        find_images(root / "nowhere")
    with pytest.raises(LayoutError, match="has no domain 'caltech'; it has amazon, dslr, webcam"):
        find_images(root, layout="office-31", domains=["caltech"])
    with pytest.raises(ValueError, match="`layout` must be one of"):
        find_images(root, layout="office-32")
    (tmp_path / "lists").mkdir()
    with pytest.raises(LayoutError, match=r"lacks amazon_train.txt, .*\(or amazon.txt\)"):
        find_images(root, layout="office-31", lists=tmp_path / "lists")
    (root / "dslr" / "images" / "bike").rename(root / "dslr" / "images" / "bicycle")
    with pytest.raises(LayoutError, match="dslr lacks bike"):
        find_images(root, layout="office-31")


def test_too_few_images(tmp_path):
    root = fabricate(tmp_path, "office-31", n=1)
    with pytest.raises(LayoutError, match="too few images: amazon has none for"):
        find_images(root, layout="office-31")


def test_a_broken_image_is_named(tmp_path, model):
    root = fabricate(tmp_path, "office-31", n=5)
    broken = root / "webcam" / "images" / "bike" / "frame_0001.jpg"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(LayoutError, match=r"frame_0001.jpg is no image \("):
        pyasmg.clip.from_folders(root, model, layout="office-31")
