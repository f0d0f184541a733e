"""Few-shot learning and architecture search: their formulas, and that they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.mtl.test_bench import run

pytest.importorskip("sklearn")

from bench.bilevel import few_shot, nas
from bench.bilevel.attacks import perturb


def test_perturbations() -> None:
    """Of a linear loss: the corner of the box, cut off at 0 and 1."""
    inputs = torch.tensor([[0.5, 0.05, 0.97, 0.5]])
    slope = torch.tensor([1.0, -1.0, 2.0, 0.0])
    found = perturb(lambda x: (x * slope).sum(), inputs, radius=0.1)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.0, 1.0, 0.5]]))
    assert not found.requires_grad


# ---- few-shot learning ----


def test_episodes() -> None:
    episodes = few_shot.Episodes(few_shot.NOVEL, 3, np.random.default_rng(0))
    assert episodes.support.shape == (3, 25, 64)
    assert episodes.query.shape == (3, 50, 64)
    assert episodes.support_classes[0].tolist() == [k for k in range(5) for _ in range(5)]
    assert 0.0 <= float(episodes.support.min()) < float(episodes.query.max()) <= 1.0
    for e in range(3):
        images = torch.cat([episodes.support[e], episodes.query[e]])
        assert len(torch.unique(images, dim=0)) == 75


def test_the_levels_of_few_shot_learning() -> None:
    """Lower: the sum over episodes of their losses; upper: the mean loss, and that of perturbed images."""
    torch.manual_seed(0)
    episodes = few_shot.Episodes(few_shot.BASE, 2, np.random.default_rng(0))
    problem = few_shot.FewShot(few_shot.embedding(), episodes, few_shot.BOTH)
    alpha = dict(problem.embedding.named_parameters())
    omega = torch.randn(problem.omega.shape, generator=torch.Generator().manual_seed(0))
    z = problem.embedding(episodes.support)
    each = [
        cross_entropy(z[e] @ omega[e, :-1] + omega[e, -1], episodes.support_classes[e])
        + 0.5 * few_shot.RIDGE * omega[e].square().sum()
        for e in range(2)
    ]
    torch.testing.assert_close(problem.lower(alpha, omega, None), sum(each))
    plain, perturbed = problem.upper(alpha, omega, None)
    assert float(perturbed.detach()) > 1.1 * float(plain.detach())
    only = few_shot.FewShot(problem.embedding, episodes, ("robustness",))
    torch.testing.assert_close(only.upper(alpha, omega, None)[0], perturbed)


@pytest.mark.parametrize("method", ["MOML", "FORUM"])
def test_few_shot_learning_trains(method: str) -> None:
    """Both objectives fall on the pool of episodes."""
    torch.manual_seed(0)
    episodes = few_shot.Episodes(few_shot.BASE, 6, np.random.default_rng(0))
    problem = few_shot.FewShot(few_shot.embedding(), episodes, few_shot.BOTH)
    stepper = few_shot.METHODS[method][0](problem)
    values = np.array([stepper.step().upper for _ in range(40)])
    assert (values[-1] < 0.9 * values[0]).all()


def test_few_shot_table(tmp_path: Path) -> None:
    rows = run("bench.bilevel.few_shot", tmp_path, "--quick", "--methods", "no training", "FORUM")
    assert [row["method"] for row in rows] == ["no training", "FORUM"]
    assert all(0.0 <= float(row["perturbed"]) <= float(row["accuracy"]) <= 100.0 for row in rows)


# ---- architecture search ----


def test_expected_size() -> None:
    """Eq. (3.36): uniform shares, and shares that have decided."""
    assert nas.SIZES.tolist() == [0, 0, 72, 584]
    uniform = torch.zeros(6, 4)
    assert float(nas.expected_size(uniform)) == pytest.approx(6 * (72 + 584) / 4)
    decided = torch.full((6, 4), -40.0)
    decided[torch.arange(6), torch.tensor([0, 1, 0, 2, 3, 3])] = 40.0
    assert float(nas.expected_size(decided)) == pytest.approx(72 + 2 * 584)


def test_a_decided_mixture_is_the_chosen_network() -> None:
    torch.manual_seed(0)
    chosen = [3, 0, 2, 0, 1, 3]
    mixed, fixed = nas.Cell(), nas.Cell(chosen)
    alpha = torch.full((6, 4), -80.0)
    alpha[torch.arange(6), torch.tensor(chosen)] = 80.0
    state = {name: value for name, value in mixed.state_dict().items() if not name.startswith("edges")}
    for edge, o in enumerate(chosen):
        state |= {f"edges.{edge}.0.{name}": value for name, value in mixed.edges[edge][o].state_dict().items()}
    fixed.load_state_dict(state)
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed(alpha, images), fixed(None, images))
    cell = sum(parameter.numel() for parameter in fixed.edges.parameters())
    assert cell == int(nas.SIZES[chosen].sum())


def test_the_objectives_of_the_search() -> None:
    problem = nas.Search(2000.0, nas.ALL)
    images, numbers = (tensor[:32] for tensor in nas.digits(0)["validation"])
    omega = {name: value.detach() for name, value in problem.network.named_parameters()}
    plain, perturbed, size = problem.upper(problem.alpha, omega, (images, numbers))
    torch.testing.assert_close(plain, problem.lower(problem.alpha, omega, (images, numbers)))
    assert float(perturbed.detach()) > float(plain.detach())
    assert float(size.detach()) == pytest.approx((2000.0 - 984.0) / 2000.0)  # (3.37), in units of L
    (gradient,) = torch.autograd.grad(size, problem.alpha)
    assert (gradient[:, 3] < 0.0).all()  # more of the large operation
    assert (gradient[:, :3] > 0.0).all()


def test_the_search_goes_towards_the_size() -> None:
    _, expected = nas.search("MOML", 0, 12, 2000.0)
    assert expected > 984.0 + 20.0
    _, expected = nas.search("MOML", 0, 12, 400.0)
    assert expected < 984.0 - 20.0


def test_search_table(tmp_path: Path) -> None:
    rows = run("bench.bilevel.nas", tmp_path, "--quick", "--methods", "random", "FORUM")
    assert [(row["method"], row["seed"]) for row in rows] == [
        (m, s) for m in ("random", "FORUM") for s in ("0", "mean")
    ]
    for row in rows:
        assert 0.0 <= float(row["perturbed"]) <= 100.0
        if row["seed"] == "0":
            names = list(nas.OPERATIONS)
            chosen = [names.index(name) for name in row["operations"].split(", ")]
            assert float(row["size"]) == float(nas.SIZES[chosen].sum())
