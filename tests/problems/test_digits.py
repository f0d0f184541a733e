"""The digits problem: four image domains, one classifier."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from pyasmg.problems import DigitsProblem
from pyasmg.problems import digits as module

SEED = 7


@pytest.fixture(scope="module")
def problem():
    return DigitsProblem()


def softmax(x, features):
    """The class probabilities of the classifier `x`, in float64."""
    logits = features[:, :64] @ x[:640].reshape(10, 64).T + x[640:]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def features(problem, part):
    """Features (4, n, 65) of the training or the test images, rebuilt from the data set."""
    images, _ = module._load_images()
    rng = np.random.default_rng(0)
    domains = module._domain_images(images, rng)
    everything = module._frozen_layer(domains, rng, DigitsProblem().train_indices)
    return everything[:, getattr(problem, f"{part}_indices")]


def test_sizes(problem):
    assert problem.d == 64 * 10 + 10 == 650
    assert problem.n_objectives == 4 == len(problem.domain_names)
    assert problem.initial_point().shape == (650,)
    assert len(problem.train_indices) == 1198
    assert len(problem.test_indices) == 599


def test_the_split_is_disjoint_complete_and_stratified(problem):
    train, test = problem.train_indices, problem.test_indices
    assert not set(train) & set(test)
    assert sorted([*train, *test]) == list(range(1797))
    labels = load_digits().target
    assert np.array_equal(problem.train_labels, labels[train])
    assert np.array_equal(problem.test_labels, labels[test])
    share = np.bincount(labels[test], minlength=10) / np.bincount(labels, minlength=10)
    np.testing.assert_allclose(share, 1 / 3, atol=0.01)


def test_domains_differ_and_are_what_they_say():
    images, _ = module._load_images()
    assert images.min() == 0
    assert images.max() == 1
    clean, inverted, noisy, blurred = module._domain_images(images, np.random.default_rng(0))
    assert np.array_equal(clean, images)
    assert np.array_equal(inverted, 1 - images)
    noise = noisy - images
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(0.2, rel=0.02)
    assert np.abs(np.diff(blurred, axis=2)).mean() < 0.8 * np.abs(np.diff(images, axis=2)).mean()
    for i, first in enumerate((clean, inverted, noisy, blurred)):
        for second in (clean, inverted, noisy, blurred)[i + 1 :]:
            assert np.all(np.abs(first - second).reshape(1797, -1).mean(axis=1) > 0.03)


def test_the_frozen_layer_is_standardised_on_the_training_images(problem):
    train = features(problem, "train")
    assert np.array_equal(train[..., 64], np.ones(train.shape[:2]))
    pooled = train[..., :64].reshape(-1, 64)
    np.testing.assert_allclose(pooled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(pooled.std(axis=0), 1, rtol=1e-12)


def test_the_start_knows_nothing(problem):
    np.testing.assert_allclose(problem(problem.initial_point()), np.log(10), rtol=1e-6)
    share_of_zeros = np.mean(problem.test_labels == 0)  # argmax of equal logits is class 0
    np.testing.assert_allclose(problem.test_accuracy(problem.initial_point()), share_of_zeros)


def test_a_bias_alone_has_a_loss_known_by_hand(problem):
    x = np.zeros(650)
    x[640 + 3] = 2.0  # logit 2 for class 3, 0 for the nine others, whatever the image
    expected = np.log(9 + np.exp(2.0)) - 2.0 * np.mean(problem.train_labels == 3)
    np.testing.assert_allclose(problem(x), expected, rtol=1e-6)


@pytest.mark.parametrize("n_train", [None, 50])
def test_objectives_are_sklearns_log_loss_on_the_training_images(n_train):
    problem = DigitsProblem(n_train=n_train)
    train = features(problem, "train")
    for scale in (0.01, 0.1, 0.3):
        x = scale * np.random.default_rng(SEED).normal(size=650)
        probabilities = [softmax(x, domain) for domain in train]
        assert np.min(probabilities) > 1e-15  # log_loss clips there
        expected = [log_loss(problem.train_labels, p, labels=range(10)) for p in probabilities]
        np.testing.assert_allclose(problem(x), expected, rtol=1e-5, err_msg=f"{SEED=}")


def test_accuracy_is_that_on_the_test_images(problem):
    x = np.random.default_rng(SEED).normal(size=650)
    test = features(problem, "test")
    expected = [np.mean(softmax(x, f).argmax(axis=1) == problem.test_labels) for f in test]
    assert problem.test_accuracy(x).tolist() == expected
    X = np.stack((x, -x, np.zeros(650)))
    assert np.array_equal(problem.test_accuracy(X), [problem.test_accuracy(row) for row in X])
    assert problem.test_accuracy(X[:0]).shape == (0, 4)


def test_test_images_have_no_part_in_the_objectives(monkeypatch, problem):
    """Other test images, the same training images: the same objectives to the bit."""
    images, labels = module._load_images()
    changed = images.copy()
    changed[problem.test_indices] = np.random.default_rng(SEED).random((599, 8, 8))
    monkeypatch.setattr(module, "_load_images", lambda: (changed, labels))
    other = DigitsProblem()
    X = np.random.default_rng(SEED).normal(size=(3, 650))
    assert np.array_equal(other.test_indices, problem.test_indices)
    assert np.array_equal(other(X), problem(X))
    assert not np.array_equal(other.test_accuracy(X), problem.test_accuracy(X))


def test_a_batch_equals_its_points(problem):
    X = np.random.default_rng(SEED).normal(size=(33, 650))
    before = X.copy()
    F = problem(X)
    assert F.shape == (33, 4)
    assert F.dtype == np.float64
    np.testing.assert_allclose(F, [problem(x) for x in X], rtol=1e-5)
    assert np.array_equal(problem(X), F)
    assert problem(X[:0]).shape == (0, 4)
    assert np.array_equal(X, before)


def test_the_same_seed_is_the_same_problem(problem):
    X = np.random.default_rng(SEED).normal(size=(3, 650))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert np.array_equal(DigitsProblem(seed=0)(X), problem(X))
    assert not np.allclose(DigitsProblem(seed=1)(X), problem(X))
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002, the global state is left alone


def test_fewer_training_images_are_a_part_of_all(problem):
    few = DigitsProblem(n_train=100)
    assert np.array_equal(few.train_indices, problem.train_indices[:100])
    assert np.array_equal(few.test_indices, problem.test_indices)
    X = np.random.default_rng(SEED).normal(size=(2, 650))
    assert np.array_equal(few.test_accuracy(X), problem.test_accuracy(X))


def test_large_points_are_stable_and_overflow_is_a_failed_evaluation(problem):
    x = np.random.default_rng(SEED).normal(size=650)
    np.testing.assert_allclose(problem(1e6 * x) / 1e6, problem(1e5 * x) / 1e5, rtol=1e-4)
    bad = x.copy()
    bad[5] = np.nan
    F = problem(np.stack((x, bad, np.full(650, 1e300))))
    np.testing.assert_allclose(F[0], problem(x), rtol=1e-5)
    assert np.all(np.isnan(F[1:]))


def test_the_domains_compete(problem):
    """Trained with gradients on one domain, the classifier is good there and bad elsewhere."""
    train = features(problem, "train")
    for j in (0, 1, 3):
        fit = LogisticRegression(C=0.1, max_iter=2000).fit(train[j][:, :64], problem.train_labels)
        accuracy = problem.test_accuracy(np.concatenate((fit.coef_.ravel(), fit.intercept_)))
        assert accuracy[j] > 0.9
        assert accuracy.min() < 0.5


def test_refuses_in_words(problem):
    for call in (problem, problem.test_accuracy):
        with pytest.raises(ValueError, match=r"^`x` must have shape .* with d = 650; got \(7,\)\.$"):
            call(np.zeros(7))
    for n_train in (9, 1199):
        with pytest.raises(ValueError, match=rf"^`n_train` must be .*\[10, 1198\]; got {n_train}\.$"):
            DigitsProblem(n_train=n_train)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=r"^`seed` must be "):
            DigitsProblem(seed=seed)
    with pytest.raises(TypeError, match=r"^`n_train` must be .*; got 50\.0\.$"):
        DigitsProblem(n_train=50.0)


@pytest.mark.parametrize("name", ["sklearn.datasets", "sklearn.model_selection", "scipy.ndimage"])
def test_a_missing_extra_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "pyasmg\[demo\]"'):
        DigitsProblem()
