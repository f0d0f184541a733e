"""What the layout checkers say of folders that miss something, or hold something else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.mtl.data import celeba, dense, office, qm9
from bench.mtl.data.layout import LayoutError

from . import fabricated

NYU, CITY = dense.NYUV2, dense.CITYSCAPES


@pytest.fixture
def nyu(tmp_path):
    return fabricated.dense(tmp_path / "nyu", NYU, {"train": 3, "val": 2})


def problems(findings):
    with pytest.raises(LayoutError) as raised:
        findings.settle()
    for problem in findings.problems:
        assert f"  - {problem}" in str(raised.value).splitlines()
    return findings.problems


def test_dense_good(nyu):
    findings = dense.check(NYU, nyu)
    findings.settle()
    assert findings.problems == []
    assert findings.notes[0] == "train has 3 images; the published set has 795"
    assert "note: val has images of 32 x 32; the published set has (288, 384)" in findings.text()


def test_dense_published_size_needs_no_note(tmp_path):
    root = fabricated.dense(tmp_path, CITY, {"train": 1, "val": 1}, size=(128, 256))
    assert [note for note in dense.check(CITY, root).notes if "x" in note] == []


def test_no_folder(tmp_path):
    findings = dense.check(NYU, tmp_path / "none")
    assert problems(findings) == ["missing folder ."]
    assert findings.text().splitlines()[0] == (
        f"{tmp_path / 'none'} is not NYUv2 in the layout root/{{train,val}}/{{image,label,depth,normal}}/{{i}}.npy, "
        "i = 0, 1, ..:"
    )


def test_dense_missing(nyu):
    (nyu / "train" / "depth" / "1.npy").unlink()
    for path in (nyu / "val" / "normal").iterdir():
        path.unlink()
    (nyu / "val" / "normal").rmdir()
    assert problems(dense.check(NYU, nyu)) == [
        "train/depth has 2 of 3 files; missing 1.npy",
        "missing folder val/normal",
    ]


def test_dense_numbers_with_a_gap(nyu):
    for kind in NYU.channels:
        (nyu / "val" / kind / "1.npy").rename(nyu / "val" / kind / "7.npy")
    found = problems(dense.check(NYU, nyu))
    assert found == [f"val/{kind} has 2 of 2 files; missing 1.npy" for kind in NYU.channels]


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        ("image", np.zeros((3, 32, 32), np.float32), "has shape (3, 32, 32); expected (height, width, 3)"),
        ("label", np.zeros((32, 32, 1)), "has shape (32, 32, 1); expected (32, 32)"),
        ("depth", np.zeros((32, 32)), "has shape (32, 32); expected (32, 32, 1)"),
        ("normal", np.zeros((32, 64, 3)), "has shape (32, 64, 3); expected (32, 32, 3)"),
        ("label", np.full((32, 32), 13.0), "has labels from 13 to 13; expected -1 .. 12, whole"),
        ("label", np.full((32, 32), 255.0), "has labels from 255 to 255; expected -1 .. 12, whole"),
        ("label", np.full((32, 32), 0.5), "has labels from 0.5 to 0.5; expected -1 .. 12, whole"),
        ("image", np.full((32, 32, 3), 200.0), "has values from 200 to 200; expected 0 .. 1"),
        ("depth", np.full((32, 32, 1), -1.0), "has depths from -1 on; expected none below 0 (0: unknown)"),
        ("normal", np.full((32, 32, 3), np.nan), "holds values that are not finite"),
        ("image", np.full((32, 32, 3), "a"), "holds <U1; expected numbers"),
    ],
)
def test_dense_malformed(nyu, kind, array, message):
    np.save(nyu / "train" / kind / "0.npy", array)
    assert f"train/{kind}/0.npy {message}" in problems(dense.check(NYU, nyu))


def test_dense_unreadable(nyu):
    (nyu / "train" / "depth" / "2.npy").write_bytes(b"no array")
    (nyu / "val" / "label" / "0.npy").write_bytes(b"")
    found = problems(dense.check(NYU, nyu))
    assert [text.split(":")[0] for text in found] == [
        "train/depth/2.npy cannot be read",
        "val/label/0.npy cannot be read",
    ]


def test_dense_size(tmp_path):
    root = fabricated.dense(tmp_path, NYU, {"train": 1, "val": 1}, size=(30, 32))
    assert problems(dense.check(NYU, root)) == [
        f"{part} has images of 30 x 32; SegNet needs multiples of 32" for part in ("train", "val")
    ]


def test_cityscapes_labels(tmp_path):
    """``label`` or ``label_7``; nineteen classes are another set."""
    root = fabricated.dense(tmp_path, CITY, {"train": 1, "val": 1})
    for part in ("train", "val"):
        (root / part / "label").rename(root / part / "label_7")
    assert dense.check(CITY, root).problems == []
    np.save(root / "val" / "label_7" / "0.npy", np.full((32, 32), 18))
    assert problems(dense.check(CITY, root)) == ["val/label_7/0.npy has labels from 18 to 18; expected -1 .. 6, whole"]


# ---- CelebA ----


@pytest.fixture
def faces(tmp_path):
    return fabricated.celeba(tmp_path / "celeba", (3, 2, 2))


def test_celeba_good(faces):
    findings = celeba.check(faces)
    findings.settle()
    assert findings.notes == [
        "the train part has 3 images; the published set has 162770",
        "the validation part has 2 images; the published set has 19867",
        "the test part has 2 images; the published set has 19962",
    ]


def test_celeba_places_of_the_archive(faces):
    for folder, name in (
        ("Img", "img_align_celeba"),
        ("Anno", "list_attr_celeba.txt"),
        ("Eval", "list_eval_partition.txt"),
    ):
        (faces / folder).mkdir()
        (faces / name).rename(faces / folder / name)
    assert celeba.check(faces).problems == []
    assert len(celeba.CelebAPart(faces, "validation")) == 2


def test_celeba_missing(faces):
    (faces / "list_eval_partition.txt").unlink()
    (faces / "img_align_celeba").rename(faces / "images")
    assert problems(celeba.check(faces)) == [
        "missing folder img_align_celeba",
        "missing file list_eval_partition.txt",
    ]


def test_celeba_missing_images(faces):
    for number in (2, 5):
        (faces / "img_align_celeba" / f"{number:06d}.jpg").unlink()
    (faces / "img_align_celeba" / "000001.jpg").write_bytes(b"no image")
    found = problems(celeba.check(faces))
    assert found[0] == "img_align_celeba lacks 2 of 7 images: 000002.jpg, 000005.jpg"
    assert found[1].startswith("img_align_celeba/000001.jpg is no image (UnidentifiedImageError: ")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("list_attr_celeba.txt", ("7\n", ""), "its first line must be the number of images"),
        ("list_attr_celeba.txt", ("7\n", "8\n"), "its first line announces 8 images; it has 7"),
        ("list_attr_celeba.txt", ("000003.jpg ", "000003.jpg  1 "), "line 5 must be a file name and 40 times 1 or -1"),
        ("list_attr_celeba.txt", (" Young", ""), "line 3 must be a file name and 39 times 1 or -1"),
        ("list_eval_partition.txt", ("000004.jpg 1", "000004.jpg 3"), "line 4 must be a file name and 0, 1 or 2"),
        ("list_eval_partition.txt", ("000004.jpg 1", "4.jpg 1"), "only one of the lists has 000004.jpg, 4.jpg"),
        ("list_eval_partition.txt", ("jpg 2", "jpg 1"), "gives no image to the test part (2)"),
    ],
)
def test_celeba_malformed(faces, file, change, message):
    path = faces / file
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    assert any(message in problem for problem in problems(celeba.check(faces)))


def test_celeba_attributes_of_another_order(tmp_path, capsys):
    from .sets import run

    faces = fabricated.celeba(tmp_path, (2, 2, 2))
    path = faces / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("Bald Bangs", "Bangs Bald"))
    assert run("celeba", ["--root", str(faces), "--check"]) == 1
    assert "has other attributes, or another order: Bangs .." in capsys.readouterr().out


# ---- Office ----


@pytest.fixture
def offices(tmp_path):
    root, lists = tmp_path / "office", tmp_path / "lists"
    return fabricated.office(root, lists, office.OFFICE_31), lists


def test_office_good(offices):
    findings = office.check(office.OFFICE_31, *offices)
    findings.settle()
    assert findings.notes[0] == "amazon_train.txt has 5 lines; the published split has 1680"
    assert len(findings.notes) == 9


def test_office_missing(offices):
    root, lists = offices
    (lists / "dslr_val.txt").unlink()
    first = (lists / "webcam_test.txt").read_text().split()[0]
    (root / first).unlink()
    second = (lists / "amazon_train.txt").read_text().split()[0]
    (root / second).write_bytes(b"no image")
    found = problems(office.check(office.OFFICE_31, root, lists))
    assert found[0].startswith(f"{second} is no image (")
    assert found[1:] == [
        f"missing file {lists / 'dslr_val.txt'}",
        f"{lists / 'webcam_test.txt'} names 1 missing files: {first}",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a.jpg\n", "line 1 must be a relative path and a label; it is 'a.jpg'"),
        ("a.jpg 31\n", "above 30: a.jpg"),
    ],
)
def test_office_malformed(offices, text, message):
    root, lists = offices
    (lists / "amazon_test.txt").write_text(text)
    assert any(message in problem for problem in problems(office.check(office.OFFICE_31, root, lists)))


def test_office_list_with_spaces_in_paths(offices):
    _, lists = offices
    assert office.read_list(lists / "dslr_val.txt")
    (lists / "more.txt").write_text("Real World/Alarm Clock/1.jpg 3\n\n")
    assert office.read_list(lists / "more.txt") == [("Real World/Alarm Clock/1.jpg", 3)]


def test_office_weights(offices, capsys):
    from .sets import run

    root, lists = offices
    arguments = ["--root", str(root), "--lists", str(lists), "--check"]
    assert run("office31", arguments, "--weights", "none.pth") == 1
    assert "--weights: there is no file none.pth" in capsys.readouterr().out
    assert run("office31", arguments) == 0
    assert "note: no --weights" in capsys.readouterr().out


# ---- QM9 ----


def test_qm9_missing(tmp_path):
    assert problems(qm9.check(tmp_path)) == [
        "missing raw/qm9_v3.pt (a list of molecules), and raw/{gdb9.sdf,gdb9.sdf.csv,uncharacterized.txt}"
    ]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "gdb9.sdf").write_text("")
    assert problems(qm9.check(tmp_path)) == ["raw has gdb9.sdf; missing gdb9.sdf.csv, uncharacterized.txt"]


def test_qm9_packages(tmp_path, monkeypatch):
    """The files that only torch_geometric reads say so, and nothing is downloaded."""
    monkeypatch.setattr(qm9.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "processed").mkdir()
    (tmp_path / "processed" / "data_v3.pt").write_bytes(b"")
    assert problems(qm9.check(tmp_path)) == ["processed/data_v3.pt needs torch_geometric: pip install torch_geometric"]
    (tmp_path / "processed" / "data_v3.pt").unlink()
    (tmp_path / "raw").mkdir()
    for name in qm9.SDF_FILES:
        (tmp_path / "raw" / name).write_text("")
    assert problems(qm9.check(tmp_path)) == [
        "raw/gdb9.sdf needs torch_geometric and rdkit: pip install torch_geometric rdkit"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.pop("pos"), "a molecule has no 'pos'"),
        (lambda graph: graph.update(y=graph["y"][:, :12]), "'y' must have 19 columns"),
        (lambda graph: graph.update(x=graph["x"][:, :5]), "'x' must have 11 columns"),
    ],
)
def test_qm9_malformed(tmp_path, change, message):
    fabricated.qm9(tmp_path)
    graphs = fabricated.molecules(6)
    change(graphs[3])
    torch.save(graphs, tmp_path / "raw" / "qm9_v3.pt")
    with pytest.raises(LayoutError, match=message):
        qm9.load(tmp_path)


def test_qm9_without_a_molecule(tmp_path):
    fabricated.qm9(tmp_path)
    torch.save([], tmp_path / "raw" / "qm9_v3.pt")
    with pytest.raises(LayoutError, match="there is no molecule"):
        qm9.load(tmp_path)


def test_problems_end_the_run(tmp_path, capsys):
    from .sets import run

    for name in ("nyuv2", "cityscapes", "celeba", "qm9", "office31", "office_home"):
        assert run(name, ["--root", str(tmp_path / "none")]) == 1
        assert "missing folder ." in capsys.readouterr().err
