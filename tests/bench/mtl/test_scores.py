"""Losses and metrics against naive references, in one batch or several."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.mtl.celeba import CelebA
from bench.mtl.harness import losses, scores
from bench.mtl.harness.baselines import Baselines
from bench.mtl.nyuv2 import NYUv2
from bench.mtl.office31 import Office31


def in_batches(score, output, target, size=2):
    for start in range(0, len(output), size):
        score.update(output[start : start + size], target[start : start + size])
    return score.result()


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


def test_segmentation(rng):
    """Class 4 never occurs: it has no part in the mean."""
    logits = torch.rand(5, 5, 6, 4, generator=rng)
    logits[:, 4] = -1.0
    labels = torch.randint(-1, 4, (5, 6, 4), generator=rng)
    guess = logits.argmax(dim=1)
    known = labels >= 0
    unions = []
    for c in range(4):
        both = ((guess == c) & (labels == c) & known).sum()
        unions.append(float(both / (((guess == c) | (labels == c)) & known).sum()))
    expected = [100.0 * np.mean(unions), 100.0 * float((guess == labels)[known].double().mean())]
    assert in_batches(scores.Segmentation(5), logits, labels) == pytest.approx(expected)
    assert float(losses.segmentation(logits, labels)) == pytest.approx(
        float(-logits.log_softmax(1).permute(0, 2, 3, 1)[known].gather(1, labels[known][:, None]).mean())
    )


def test_depth(rng):
    """Pixels of depth 0 are unknown; all others count alike, however they are spread over the batches."""
    target = torch.rand(5, 1, 6, 4, generator=rng) + 0.1
    target[0] = 0.0
    target[3, :, :2] = 0.0
    output = torch.rand(5, 1, 6, 4, generator=rng)
    known = target > 0.0
    error = (output - target).abs()[known].double()
    expected = [float(error.mean()), float((error / target[known]).mean())]
    assert in_batches(scores.Depth(), output, target) == pytest.approx(expected)
    assert float(losses.depth(output, target)) == pytest.approx(expected[0], rel=1e-6)
    assert float(losses.depth(output[:1], target[:1])) == 0.0  # no pixel is known


def unit(n, rng):
    found = torch.randn(n, 3, 6, 4, generator=rng)
    return found / found.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("known", [120, 119])
def test_normals(rng, known):
    target, output = unit(5, rng), unit(5, rng)
    output[:2] = torch.nn.functional.normalize(target[:2] + 0.7 * output[:2], dim=1)  # some within each bound
    flat = target.permute(0, 2, 3, 1).reshape(-1, 3)
    flat[known:] = 0.0
    target = flat.reshape(5, 6, 4, 3).permute(0, 3, 1, 2)
    cosine = (output * target).sum(dim=1).flatten()[:known].clamp(-1.0, 1.0)
    angle = np.degrees(np.arccos(cosine.numpy().astype(np.float64)))
    within = [100.0 * float((angle < bound).mean()) for bound in (11.25, 22.5, 30.0)]
    assert 0.0 < within[0] < within[1] < within[2] < 100.0
    mean, median, *shares = in_batches(scores.Normals(), output, target)
    assert mean == pytest.approx(angle.mean(), abs=1e-4)
    assert median == pytest.approx(np.median(angle), abs=1.1e-3)
    assert shares == pytest.approx(within)
    expected = 1.0 - float(cosine.mean())
    assert float(losses.normal(output, target)) == pytest.approx(expected, rel=1e-5)


def test_normals_at_the_ends():
    one = torch.zeros(1, 3, 1, 2)
    one[:, 0] = 1.0
    other = one.clone()
    other[..., 1] *= -1.0
    mean, median, *shares = in_batches(scores.Normals(), one, other)
    assert mean == pytest.approx(90.0)
    assert median == pytest.approx(90.0, abs=1e-3)
    assert shares == [50.0, 50.0, 50.0]


def test_accuracy():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0]])
    assert in_batches(scores.Accuracy(), logits, torch.tensor([0, 1, 1])) == [pytest.approx(200 / 3)]


def test_f1(rng):
    logits = torch.randn(40, 1, generator=rng)
    target = (torch.rand(40, 1, generator=rng) < 0.3).float()
    yes, truth = (logits > 0).numpy().ravel(), target.numpy().ravel() > 0
    precision, recall = (yes & truth).sum() / yes.sum(), (yes & truth).sum() / truth.sum()
    expected = [100.0 * 2 * precision * recall / (precision + recall), 100.0 * (yes == truth).mean()]
    assert in_batches(scores.F1(), logits, target, 7) == pytest.approx(expected)
    assert in_batches(scores.F1(), -torch.ones(3, 1), torch.zeros(3, 1)) == [0.0, 100.0]
    assert in_batches(scores.F1(), -torch.ones(3, 1), torch.ones(3, 1)) == [0.0, 0.0]


def test_absolute_error():
    output, target = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0.0], [4.0], [4.0]])
    assert in_batches(scores.AbsoluteError(1000.0), output, target) == [pytest.approx(1000.0)]


@pytest.mark.parametrize("make", [lambda: scores.Segmentation(3), scores.Depth, scores.Normals, scores.F1])
def test_nothing_seen(make):
    assert all(math.isnan(value) for value in make().result())


# ---- what is reported against the baselines ----


def test_the_tables_of_the_paper():
    """PIVRG, Table 1: the delta_m of LS, MGDA and Nash-MTL, to the digits (some are cut off, not rounded)."""
    benchmark = NYUv2()
    baselines = Baselines(benchmark, benchmark.single_task)
    names = [metric.name for metric in benchmark.metrics]
    rows = {
        5.59: (39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08),
        1.38: (30.47, 59.90, 0.6070, 0.2555, 24.88, 19.45, 29.18, 56.88, 69.36),
        -4.04: (40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15),
    }
    for expected, values in rows.items():
        found = baselines.deltas(dict(zip(names, values, strict=True)))
        assert found["delta_m"] == pytest.approx(expected, abs=0.01)
    same = baselines.deltas(benchmark.single_task)
    assert same == {"delta_m": 0.0, "delta_p": 0.0, "variance": 0.0}


def test_the_table_of_forum():
    """FORUM, Table 3: the delta_p of EW, Nash-MTL and CAGrad (FORUM's own row has 0.96, and gives 1.05)."""
    benchmark = Office31()
    baselines = Baselines(benchmark, benchmark.single_task)
    rows = {-0.61: (83.53, 97.27, 96.85), 0.24: (85.01, 97.54, 97.41), -1.13: (83.65, 95.63, 96.85)}
    for expected, values in rows.items():
        found = baselines.deltas({metric.name: value for metric, value in zip(benchmark.metrics, values, strict=True)})
        assert found["delta_p"] == pytest.approx(expected, abs=0.01)


def test_tasks_count_alike_in_delta_p():
    benchmark = NYUv2()
    baselines = Baselines(benchmark, benchmark.single_task)
    doubled = benchmark.single_task | {"mIoU": 2 * 38.30}
    assert baselines.deltas(doubled)["delta_p"] == pytest.approx(100.0 / 6.0)
    assert baselines.deltas(doubled)["delta_m"] == pytest.approx(-100.0 / 9.0)


def test_metrics_that_do_not_count():
    """The accuracies of CelebA: baselines need the F1 only."""
    benchmark = CelebA()
    names = [metric.name for metric in benchmark.metrics if metric.counts]
    assert len(names) == 40
    baselines = Baselines(benchmark, dict.fromkeys(names, 50.0))
    found = dict.fromkeys([metric.name for metric in benchmark.metrics], 75.0)
    assert baselines.deltas(found)["delta_m"] == pytest.approx(-50.0)
    assert baselines.per_task(found) == [[75.0]] * 40
    partial = Baselines(benchmark, dict.fromkeys(names[1:], 50.0))
    assert partial.missing == ["F1 5_o_Clock_Shadow"]
    assert partial.values is None
    assert partial.deltas(found) == {}
