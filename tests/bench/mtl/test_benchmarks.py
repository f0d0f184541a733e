"""Each benchmark from end to end on fabricated data: tables, methods, baselines, checkpoints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from bench.mtl.harness import cli
from bench.mtl.models.resnet18 import OfficeNetwork

from .sets import SETS, read_table, run, trained

ROOT = Path(__file__).parents[3]
VALIDATED = ("celeba", "qm9", "office31", "office_home")


@pytest.mark.parametrize("name", SETS)
def test_a_run_writes_its_table(name, tmp_path, results, capsys):
    arguments = SETS[name][1](tmp_path / "data")
    assert run(name, arguments, "--epochs", "2") == 0
    assert f"written: {results / f'mtl_{name}_EW.csv'}" in capsys.readouterr().out
    rows = read_table(results / f"mtl_{name}_EW.csv")
    benchmark = SETS[name][0]()
    parts = ["train", *(["validation"] if name in VALIDATED else []), "test"]
    expected = [(str(epoch), part) for epoch in range(2) for part in parts]
    assert [(row["epoch"], row["part"]) for row in rows] == [*expected, ("reported", "test")]
    for row in rows:
        if row["part"] == "train":
            assert all(float(row[f"loss {task}"]) > 0.0 for task in benchmark.tasks)
        else:
            assert all(np.isfinite(float(row[metric.name])) for metric in benchmark.metrics)

    reported = rows[-1]
    test = [row for row in rows[:-1] if row["part"] == "test"]
    for metric in benchmark.metrics:
        values = [float(row[metric.name]) for row in test]
        if name in VALIDATED:
            assert float(reported[metric.name]) in values
        else:
            assert float(reported[metric.name]) == pytest.approx(np.mean(values))
    single = benchmark.single_task
    assert (reported["delta_m"] == "") == (single is None)
    if single is not None:
        flags = [metric.higher for metric in benchmark.metrics]
        found = [float(reported[metric.name]) for metric in benchmark.metrics]
        expected = mtl.metrics.delta_m(found, list(single.values()), higher_is_better=flags)
        assert float(reported["delta_m"]) == pytest.approx(expected)
        sizes = [sum(metric.task == task for metric in benchmark.metrics) for task in range(len(benchmark.tasks))]
        expected = mtl.metrics.delta_p(found, list(single.values()), higher_is_better=flags, metrics_per_task=sizes)
        assert float(reported["delta_p"]) == pytest.approx(expected)


CHOSEN = [(name, method) for method in mtl.METHODS for name in ("nyuv2", "qm9")]


@pytest.mark.parametrize(
    ("name", "method"), [*CHOSEN, ("office31", "FAMO"), ("office31", "MGDA"), ("office31", "MoCo")]
)
def test_every_method(name, method, tmp_path, results):
    """One epoch of at least two steps, with and without ``--features``: one map, or one per task."""
    arguments = SETS[name][1](tmp_path / "data")
    assert run(name, arguments, "--epochs", "1", "--method", method) == 0
    with_features = getattr(mtl.METHODS[method], "supports_features", True)
    if with_features:
        assert run(name, arguments, "--epochs", "1", "--method", method, "--features") == 0
    else:
        with pytest.raises(SystemExit):
            run(name, arguments, "--epochs", "1", "--method", method, "--features")
    assert read_table(results / f"mtl_{name}_{method}.csv")[-1]["epoch"] == "reported"


@pytest.mark.parametrize("method", ["EW", "FAMO", "CAGrad"])
def test_forty_tasks(method, tmp_path, results):
    arguments = SETS["celeba"][1](tmp_path / "data")
    features = ["--features"] if method == "CAGrad" else []
    assert run("celeba", arguments, "--epochs", "1", "--method", method, *features) == 0


@pytest.mark.parametrize(
    "more",
    [
        ["--method", "RotoGrad", "--option", "size=4"],
        ["--method", "BiLB4MTL", "--option", "router=8", "--option", "tau=sigma", "--option", "normalization=rescaled"],
        ["--method", "BiLB4MTL", "--option", "inner_steps=2"],
        ["--method", "BiLB4MTL", "--option", "learning_rate=null"],
        ["--method", "MGDA", "--option", 'normalization="l2"', "--pi"],
        ["--method", "EW", "--pi", "--pi-bounds", "0.8", "1.2"],
    ],
)
def test_options_of_methods(more, tmp_path, results):
    arguments = SETS["qm9"][1](tmp_path / "data")
    assert run("qm9", arguments, "--epochs", "2", *more) == 0


@pytest.mark.parametrize(
    ("name", "method"), [*((name, "EW") for name in SETS), ("nyuv2", "FairGrad"), ("qm9", "FairGrad")]
)
def test_every_parameter_is_trained(name, method, tmp_path):
    found, before = trained(name, SETS[name][1](tmp_path / "data"), "--method", method)
    for key, parameter in found.network.named_parameters():
        silent = key.endswith(("0.bias", "3.bias")) and "heads" not in key and name in ("nyuv2", "cityscapes")
        if not silent:  # a bias in front of batch normalisation has no gradient but rounding
            assert not torch.equal(parameter, before[key]), key


def test_single_task_training_leaves_the_others_alone(tmp_path, results):
    arguments = SETS["nyuv2"][1](tmp_path / "data")
    found, before = trained("nyuv2", arguments, "--method", "STL", "--task", "depth")
    after = found.network.state_dict()
    for task, moved in enumerate((False, True, False)):
        keys = [key for key in after if key.startswith(f"heads.{task}.")]
        assert keys
        assert all(torch.equal(after[key], before[key]) != moved for key in keys)
    assert "mIoU" not in found.reported()
    assert "absolute error" in found.reported()


def test_single_task_training_sees_the_images_of_its_domain_only(tmp_path, monkeypatch):
    seen = []
    features = OfficeNetwork.features
    monkeypatch.setattr(
        OfficeNetwork,
        "features",
        lambda self, inputs: seen.append([images is None for images in inputs]) or features(self, inputs),
    )
    found, _ = trained("office31", SETS["office31"][1](tmp_path), "--method", "STL", "--task", "dslr")
    training = [row for row in seen if row == [True, False, True]]
    assert len(training) == 2 + 2  # two steps, and the validation and test part in a batch each
    assert found.reported().keys() >= {"accuracy dslr"}
    assert "accuracy webcam" not in found.reported()


def test_performance_informed_weights_follow_the_metrics(tmp_path):
    """Of the training part where there is no validation part, and by the formula of PIVRG."""
    for name, part in (("nyuv2", "train"), ("qm9", "validation")):
        found, _ = trained(name, SETS[name][1](tmp_path / name), "--method", "PIVRG", epochs=2)
        row = [row for row in found.rows if row["part"] == part][-1]
        expected = found.baselines.performance((0.5, 2.0)).weights(found.baselines.per_task(row))
        np.testing.assert_array_equal(found.balancer.preference, expected)
        assert np.ptp(expected) > 0.0


def test_the_reported_epoch(tmp_path):
    """The mean of the last ten epochs, or the epoch that is best on the validation part."""
    found, _ = trained("cityscapes", SETS["cityscapes"][1](tmp_path / "a"))
    template = found.rows[-1]
    found.rows = [{**template, "epoch": epoch, "mIoU": float(epoch)} for epoch in range(12)]
    assert found.reported()["mIoU"] == pytest.approx(np.mean(range(2, 12)))

    for name, sign, key in (("qm9", -1.0, lambda row: row["delta_m"]), ("office31", 1.0, mean_accuracy)):
        found, _ = trained(name, SETS[name][1](tmp_path / name), epochs=4)
        validation = [sign * key(row) for row in found.rows if row["part"] == "validation"]
        best = int(np.argmax(validation))
        assert found.best == (validation[best], best)
        (expected,) = [row for row in found.rows if row["part"] == "test" and row["epoch"] == best]
        assert found.reported() == {**expected, "epoch": "reported"}
        found.best = (0.0, 3)
        (expected,) = [row for row in found.rows if row["part"] == "test" and row["epoch"] == 3]
        assert found.reported() == {**expected, "epoch": "reported"}


def mean_accuracy(row):
    return np.mean([row[f"accuracy {task}"] for task in ("amazon", "dslr", "webcam")])


def test_famo_sees_the_losses_after_each_step(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(mtl.FAMO, "update", lambda self, losses: seen.append(torch.stack(losses)))
    found, _ = trained("qm9", SETS["qm9"][1](tmp_path), "--method", "FAMO", "--learning-rate", "0.01")
    assert len(seen) == 2  # 12 molecules in batches of 6
    assert not seen[-1].requires_grad
    assert float(seen[-1].mean()) < float(found.balancer.diagnostics.losses.mean())


def test_features_change_gradient_methods_only(tmp_path):
    arguments = SETS["qm9"][1](tmp_path)
    for method, equal in (("EW", True), ("MGDA", False)):
        plain, featured = (trained("qm9", arguments, "--method", method, *more)[0] for more in ([], ["--features"]))
        same = [
            torch.equal(*pair) for pair in zip(plain.network.parameters(), featured.network.parameters(), strict=True)
        ]
        assert all(same) == equal


def test_a_run_is_the_plain_loop(tmp_path):
    """Two epochs of MGDA on NYUv2 by hand, without the evaluation in between."""
    arguments = SETS["nyuv2"][1](tmp_path)
    found, before = trained("nyuv2", arguments, "--method", "MGDA", "--learning-rate", "0.01", epochs=2)
    benchmark, options = found.benchmark, found.options
    network = benchmark.network(options)
    network.load_state_dict(before)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    balancer = mtl.MGDA(3)
    train = benchmark.load(options).train
    for inputs, targets in [batch for epoch in range(2) for batch in train.batches(2, order=(0, epoch))]:
        losses = [benchmark.loss(task, out, targets[task]) for task, out in enumerate(network(inputs))]
        optimizer.zero_grad()
        heads = [list(head.parameters()) for head in network.heads]
        shared = [one for name, one in network.named_parameters() if not name.startswith("heads.")]
        balancer.backward(losses, shared=shared, heads=heads)
        optimizer.step()
    for name, value in network.state_dict().items():
        assert torch.equal(value, found.network.state_dict()[name]), name


def test_schedules():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1e-4)
    scheduler = SETS["nyuv2"][0]().scheduler(optimizer)
    rates = []
    for _ in range(200):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1e-4] * 100 + [5e-5] * 100)

    optimizer = torch.optim.Adam([parameter], lr=1e-3)
    scheduler = SETS["qm9"][0]().scheduler(optimizer)
    rates = []
    for delta in (50.0, -3.0, -4.0, *[-4.0] * 6, -5.0, *[-4.0] * 300):
        scheduler.step(delta)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:10] == pytest.approx([1e-3] * 8 + [7e-4] * 2)
    assert rates[-1] == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("nyuv2", (200, 8, 1e-4, 0.0)),
        ("cityscapes", (200, 8, 1e-4, 0.0)),
        ("celeba", (15, 256, 3e-4, 0.0)),
        ("qm9", (300, 120, 1e-3, 0.0)),
        ("office31", (100, 64, 1e-4, 1e-5)),
        ("office_home", (100, 64, 1e-4, 1e-5)),
    ],
)
def test_the_papers_settings(name, settings):
    options = cli.parser(SETS[name][0]()).parse_args(["--root", "."])
    assert (options.epochs, options.batch_size, options.learning_rate, options.weight_decay) == settings


def test_baselines_from_tables_of_single_task_runs(tmp_path, results):
    arguments = SETS["office_home"][1](tmp_path / "data")
    with pytest.raises(SystemExit):
        run("office_home", arguments, "--method", "PIVRG", "--epochs", "1")
    for task in ("Art", "Clipart", "Product", "Real_World"):
        assert run("office_home", arguments, "--method", "STL", "--task", task, "--epochs", "1") == 0
    tables = [results / f"mtl_office_home_STL_{task}.csv" for task in ("Art", "Clipart", "Product", "Real_World")]
    for table in tables:  # noise may well be classified without a hit, and a baseline must not be 0
        text = table.read_text().splitlines()
        column = text[2].split(",").index(f"accuracy {table.stem.split('STL_')[1]}")
        cells = text[-1].split(",")
        assert cells[column] != ""
        cells[column] = "50.0"
        table.write_text("\n".join([*text[:-1], ",".join(cells)]) + "\n")
    files = [str(table) for table in tables]
    assert run("office_home", arguments, "--method", "PIVRG", "--epochs", "1", "--baselines", *files) == 0
    row = read_table(results / "mtl_office_home_PIVRG.csv")[-1]
    found = [float(row[f"accuracy {task}"]) for task in ("Art", "Clipart", "Product", "Real_World")]
    assert float(row["delta_m"]) == pytest.approx(np.mean([(50.0 - value) / 50.0 * 100.0 for value in found]))


def test_several_seeds(tmp_path, results):
    arguments = SETS["qm9"][1](tmp_path / "data")
    assert run("qm9", arguments, "--epochs", "1", "--seeds", "3", "4") == 0
    *_, first, second, mean = read_table(results / "mtl_qm9_EW.csv")
    assert [row["seed"] for row in (first, second, mean)] == ["3", "4", "mean"]
    assert first["MAE mu"] != second["MAE mu"]
    assert float(mean["MAE mu"]) == pytest.approx((float(first["MAE mu"]) + float(second["MAE mu"])) / 2)


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("--task belongs to --method STL", ["--task", "mu"]),
        ("--task must be one of mu, alpha", ["--method", "STL", "--task", "nu"]),
        ("MGDA has no option 'alpha'; it has normalization", ["--method", "MGDA", "--option", "alpha=2"]),
        ("`--option` must be NAME=VALUE; got 'alpha'", ["--method", "FairGrad", "--option", "alpha"]),
        ("`alpha` must be", ["--method", "FairGrad", "--option", "alpha=-1"]),
        ("MoCo needs gradients on parameters", ["--method", "MoCo", "--features"]),
        ("--epochs must be at least 1; got 0", ["--epochs", "0"]),
        ("must contain {seed}", ["--seeds", "0", "1", "--checkpoint", "file.pt"]),
        ("2 x 10000 molecules cannot be held out of 20", ["--held-out", "10000"]),
        ("none.csv", ["--baselines", "none.csv"]),
    ],
)
def test_bad_options(message, more, tmp_path, results, capsys):
    arguments = SETS["qm9"][1](tmp_path / "data")
    with pytest.raises(SystemExit) as stopped:
        run("qm9", arguments, *more)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nyuv2", "office31"])
def test_rotations_need_one_representation(name, tmp_path, results):
    arguments = SETS[name][1](tmp_path / "data")
    with pytest.raises(ValueError, match="this network has one for each"):
        run(name, arguments, "--method", "RotoGrad", "--option", "size=2", "--epochs", "1")


def test_as_a_module(tmp_path):
    """``python -m``, with an exit status for a folder that is not the set."""
    SETS["qm9"][1](tmp_path / "data")
    command = [sys.executable, "-m", "bench.mtl.qm9", "--check", "--root"]
    good = subprocess.run([*command, str(tmp_path / "data")], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (good.returncode, good.stdout) == (0, f"{tmp_path / 'data'} is QM9.\n")
    bad = subprocess.run([*command, str(tmp_path / "none")], capture_output=True, text=True, cwd=ROOT, check=False)
    assert bad.returncode == 1
    assert "missing folder ." in bad.stdout
