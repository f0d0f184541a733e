"""Losses and accuracies of prompts."""

import numpy as np
import pytest
import torch

from pyasmg.clip import Domain, PromptTask
from pyasmg.clip.task import Part

from .small import NAMES, SIZES, build, config, domains, encoder, task


@pytest.fixture(scope="module")
def small():
    return task()


@pytest.fixture(scope="module")
def prompts(small):
    noise = np.random.default_rng(0).normal(size=(5, small.n_ctx, small.width))
    return (small.start + 0.1 * noise).astype(np.float32)


def reference(small, prompt, features, labels):
    """Return mean cross-entropy and accuracy, by numpy in float64."""
    with torch.no_grad():
        text = small.encoder.encode(torch.from_numpy(prompt)[None])[0].double().numpy()
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    logits = small.scale * features.double().numpy() @ text.T
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return losses.mean(), (logits.argmax(axis=1) == labels.numpy()).mean()


def test_attributes(small):
    assert small.task_names == ("d0", "d1")
    assert (small.n_ctx, small.width, small.n_train) == (4, 32, (37, 37))
    weights = small.encoder.model.token_embedding.weight
    assert small.token_embedding_std == pytest.approx(weights.double().std().item(), rel=1e-12)
    assert small.start.dtype == np.float32
    assert not PromptTask(encoder(), domains(), scale=1.0).start.any()


def test_losses_and_accuracies(small, prompts):
    for split in SIZES:
        losses, accuracies = small.evaluate(prompts, split)
        assert losses.shape == accuracies.shape == (5, 2)
        for i, prompt in enumerate(prompts):
            for j, part in enumerate(small.parts(split)):
                loss, accuracy = reference(small, prompt, *part)
                assert losses[i, j] == pytest.approx(loss, abs=1e-5)
                assert accuracies[i, j] == pytest.approx(accuracy, abs=1e-12)
    assert np.array_equal(small.losses(prompts, -1), small.evaluate(prompts, "train")[0])


def test_mini_batches(small, prompts):
    losses = small.losses(prompts, 3)
    for j, (features, labels) in enumerate(small.parts("train")):
        rows = small.batch_indices(j, 3)
        assert rows.shape == (8,)
        for i, prompt in enumerate(prompts):
            loss, _ = reference(small, prompt, features[rows], labels[rows])
            assert losses[i, j] == pytest.approx(loss, abs=1e-5)
    assert np.array_equal(losses, task().losses(prompts, 3))  # another process would see the same
    assert not np.array_equal(losses, small.losses(prompts, 4))
    assert not np.array_equal(losses, task(seed=2).losses(prompts, 3))


def test_a_pass_shows_every_image_at_most_once(small):
    for turn in range(3):
        rows = np.concatenate([small.batch_indices(0, 4 * turn + i) for i in range(4)])  # 37 // 8 batches
        assert len(set(rows)) == 32
    first, again = small.batch_indices(0, 0), small.batch_indices(0, 4)
    assert not np.array_equal(first, again)
    assert not np.array_equal(first, small.batch_indices(1, 0))
    assert small.batch_indices(0, 2**32 - 1).shape == (8,)
    whole = task(batch_size=100)
    assert np.array_equal(whole.batch_indices(0, 5), np.arange(37))


def test_a_row_does_not_depend_on_the_others(small, prompts):
    together = small.losses(prompts, 7)
    assert np.array_equal(together, np.concatenate([small.losses(prompt[None], 7) for prompt in prompts]))
    assert np.array_equal(together[::-1], small.losses(prompts[::-1], 7))
    grouped = task(group=4).losses(prompts, 7)
    np.testing.assert_allclose(grouped, together, rtol=1e-6)


def test_rows_that_are_not_finite_fail_alone(small, prompts):
    spoilt = prompts.copy()
    spoilt[1, 0, 0], spoilt[3, 2, 5] = np.nan, np.inf
    losses = small.losses(spoilt, 0)
    assert np.isnan(losses[[1, 3]]).all()
    assert np.array_equal(losses[[0, 2, 4]], small.losses(prompts, 0)[[0, 2, 4]])
    assert all(np.isnan(values[1]).all() for values in small.evaluate(spoilt, "test"))
    assert np.isnan(small.losses(spoilt[[1]], 0)).all()
    assert small.losses(spoilt[:0], 0).shape == (0, 2)


def test_double_precision_prompts_that_overflow_fail(small, prompts):
    huge = prompts.astype(np.float64)
    huge[0] *= 1e300
    assert np.isnan(small.losses(huge, 0)[0]).all()


def test_the_threads_are_left_as_they_were(small, prompts):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        small.losses(prompts, 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_hostile_queries(small, prompts):
    with pytest.raises(ValueError, match=r"`prompts` must be of shape \(N, 4, 32\); got \(4, 32\)"):
        small.losses(prompts[0], 0)
    with pytest.raises(TypeError, match="real numbers"):
        small.losses(prompts.astype(complex), 0)
    with pytest.raises(ValueError, match="at most 64 rows; got 65"):
        small.losses(np.zeros((65, 4, 32)), 0)
    for wrong in (-2, 2**32):
        with pytest.raises(ValueError, match="`batch_id` must be an integer in"):
            small.losses(prompts, wrong)
    with pytest.raises(TypeError, match="`batch_id` must be an integer"):
        small.losses(prompts, 1.5)
    with pytest.raises(ValueError, match="`split` must be one of"):
        small.evaluate(prompts, "holdout")


def test_hostile_domains():
    own = encoder()
    good = domains(1)[0]
    part = good.parts["train"]
    cases = {
        "split 'test' is missing": Domain("x", {"train": part, "validation": part}),
        "labels must lie in 0 .. 2; got 0 .. 3": _with(good, Part(part.features[:4], torch.arange(4))),
        "n >= 1; got": _with(good, Part(part.features[:0], part.labels[:0])),
        "features must have shape": _with(good, Part(part.features[0], part.labels)),
    }
    for message, domain in cases.items():
        with pytest.raises(ValueError, match=message):
            PromptTask(own, [domain], scale=1.0)
    with pytest.raises(ValueError, match="different names"):
        PromptTask(own, [good, good], scale=1.0)
    with pytest.raises(ValueError, match="different names"):
        PromptTask(own, [], scale=1.0)
    with pytest.raises(ValueError, match=r"`start` must be finite and of shape \(4, 32\)"):
        PromptTask(own, [good], scale=1.0, start=np.zeros((3, 32)))
    assert len(NAMES) == 3
    assert build(config()).training is False


def _with(domain, part):
    return Domain(domain.name, {**domain.parts, "train": part})
