"""A real input: the last layer of a small network for four kinds of handwritten digits."""

from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validate import integer
from .shifted_l1 import as_points

_N_FEATURES = 64
_N_CLASSES = 10
_BLOCK_BYTES = 1 << 20  # logits in work at a time, so that they stay in the cache


def import_demo_module(name: str) -> Any:
    """Import a module of the extra `demo`, or raise ImportError with the command that installs it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'`{name}` could not be imported ({error}): pip install "pyasmg[demo]"') from error


class DigitsProblem:
    """One classifier for four image domains; each objective is the training cross-entropy of one domain.

    The images are the 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn: nothing is
    downloaded. Every image appears in four domains:

    - clean: pixels in [0, 1];
    - inverted: 1 - pixel, the photographic negative;
    - noisy: Gaussian noise of standard deviation 0.2 added to each pixel;
    - rotated and blurred: turned by 25 degrees, then blurred by a Gaussian of 0.6 pixels.

    A frozen layer of 64 random ReLU units turns the pixels into features, and the 650 parameters are those
    of the linear softmax layer on top, shared by all domains. (A linear classifier on the pixels themselves
    could not learn a domain and its negative at once: inverting an image negates what it sees.) The domains
    compete for the 650 parameters, so that no choice of them is best for all four.

    Parameters
    ----------
    seed : int, default 0
        Seed of the split, the noise and the frozen layer. The same seed gives the same problem.
    n_train : int, optional
        Images per domain that a query looks at, at most 1198; the default is all of them. A query's cost is
        proportional to it: about 0.1 ms for all, on one thread.

    Attributes
    ----------
    d : int
        Number of parameters, 650: 64 weights for each of the 10 classes, class after class, then 10 biases.
    n_objectives : int
        4.
    domain_names : tuple of str
        Names of the domains, in the order of the objectives.
    train_indices, test_indices : ndarray of int
        Rows of the data set in each part of the split. The split is stratified by class, a third of the
        images is held out, and an image is in the same part in every domain.

    Raises
    ------
    ImportError
        If scikit-learn or SciPy is missing.
    TypeError, ValueError
        If `seed` is not an integer in [0, 2^32 - 1], or `n_train` not one in [10, 1198], or if a point has
        not the shape (650,) or (N, 650).

    Notes
    -----
    Objectives are computed in float32 and averaged in float64, so that a point in a batch and the same
    point alone agree to about 1e-6, and the same batch always gives the same bits on one machine. A point
    with a NaN, or so large that its logits overflow float32, gives NaN: a failed evaluation.
    The features are standardised with the mean and deviation of the training images.
    """

    d: ClassVar[int] = _N_CLASSES * (_N_FEATURES + 1)
    n_objectives: ClassVar[int] = 4
    domain_names: ClassVar[tuple[str, ...]] = ("clean", "inverted", "noisy", "rotated and blurred")

    def __init__(self, *, seed: int = 0, n_train: int | None = None) -> None:
        seed = integer("seed", seed, 0, 2**32 - 1)  # what scikit-learn takes
        images, labels = _load_images()
        self.train_indices, self.test_indices = _split(labels, seed)
        largest = len(self.train_indices)
        if n_train is not None:
            n_train = integer("n_train", n_train, _N_CLASSES, largest)
        rng = np.random.default_rng(seed)
        features = _frozen_layer(_domain_images(images, rng), rng, self.train_indices)
        self.train_indices = self.train_indices[:n_train]
        train, self._test = features[:, self.train_indices], features[:, self.test_indices]
        self.train_labels, self.test_labels = labels[self.train_indices], labels[self.test_indices]
        # (65, 4 n): the training features of all domains as columns
        self._train_columns = np.ascontiguousarray(train.reshape(-1, _N_FEATURES + 1).T, dtype=np.float32)
        # (4, 10, 65): the mean over images of the true class's features, for the linear part of the loss
        one_hot = np.eye(_N_CLASSES)[self.train_labels] / len(self.train_labels)
        self._true_class_means = np.einsum("nc,dnf->dcf", one_hot, train)

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the mean training cross-entropy, in nats, of each domain.

        Parameters
        ----------
        x : array_like of shape (650,) or (N, 650)
            One point or N points; N points at once are faster.

        Returns
        -------
        ndarray of shape (4,) or (N, 4)
            At `initial_point()` every objective is log(10).
        """
        points = as_points(x, self.d)
        layers = _as_layers(np.atleast_2d(points))
        n_columns = self._train_columns.shape[1]
        block = max(1, _BLOCK_BYTES // (4 * _N_CLASSES * n_columns))
        with np.errstate(over="ignore", invalid="ignore"):
            values: NDArray[np.float64] = -np.einsum("nck,dck->nd", layers, self._true_class_means, optimize=True)
            for start in range(0, len(layers), block):
                part = layers[start : start + block].astype(np.float32).transpose(1, 0, 2)
                logits = (part.reshape(-1, _N_FEATURES + 1) @ self._train_columns).reshape(
                    _N_CLASSES, -1, self.n_objectives, n_columns // self.n_objectives
                )
                values[start : start + block] += _log_sum_exp(logits).mean(axis=-1, dtype=np.float64)
        return values if points.ndim == 2 else values[0]

    def test_accuracy(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the share of held-out images that the classifier `x` names correctly, domain by domain.

        Parameters
        ----------
        x : array_like of shape (650,) or (N, 650)
            One point or N points.

        Returns
        -------
        ndarray of shape (4,) or (N, 4)
            Accuracies in [0, 1], on the 599 images that no query looks at.
        """
        points = as_points(x, self.d)
        layers = _as_layers(np.atleast_2d(points))
        hits = [(self._test @ layer.T).argmax(axis=-1) == self.test_labels for layer in layers]
        shape = (len(layers), self.n_objectives, len(self.test_labels))  # also where there are no points
        accuracies: NDArray[np.float64] = np.reshape(hits, shape).mean(axis=-1)
        return accuracies if points.ndim == 2 else accuracies[0]

    def initial_point(self) -> NDArray[np.float64]:
        """Return the classifier that gives every class the same probability: zeros, shape (650,)."""
        return np.zeros(self.d)


def _load_images() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the images (n, 8, 8) with pixels in [0, 1], and their labels (n,)."""
    digits = import_demo_module("sklearn.datasets").load_digits()
    return digits.images / 16.0, digits.target.astype(np.int64)


def _split(labels: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows for training and those for the test, stratified by class."""
    train, test = import_demo_module("sklearn.model_selection").train_test_split(
        np.arange(len(labels)), test_size=1 / 3, stratify=labels, random_state=seed
    )
    return train, test


def _domain_images(images: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return every image in the four domains, shape (4, n, 8, 8)."""
    ndimage = import_demo_module("scipy.ndimage")
    noisy = images + 0.2 * rng.standard_normal(images.shape)
    rotated = ndimage.rotate(images, 25.0, axes=(2, 1), reshape=False, order=1)
    blurred = ndimage.gaussian_filter(rotated, sigma=(0.0, 0.6, 0.6))
    return np.stack((images, 1.0 - images, noisy, blurred))


def _frozen_layer(
    images: NDArray[np.float64], rng: np.random.Generator, train: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (4, n, 65): 64 random ReLU features, standardised on the training images, and a one."""
    pixels = images.reshape(*images.shape[:2], -1)
    mixing = rng.standard_normal((pixels.shape[-1], _N_FEATURES)) / np.sqrt(pixels.shape[-1])
    features = np.maximum((pixels - 0.5) @ mixing, 0.0)
    seen = features[:, train].reshape(-1, _N_FEATURES)
    features = (features - seen.mean(axis=0)) / seen.std(axis=0)
    return np.concatenate((features, np.ones((*features.shape[:2], 1))), axis=-1)


def _as_layers(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 10, 65): the weights and the bias of each class, from N points (N, 650)."""
    n_weights = _N_CLASSES * _N_FEATURES
    weights = points[:, :n_weights].reshape(-1, _N_CLASSES, _N_FEATURES)
    return np.concatenate((weights, points[:, n_weights:, None]), axis=-1)


def _log_sum_exp(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log(sum(exp(logits))) along the first axis; `logits` is overwritten."""
    largest = logits.max(axis=0)
    logits -= largest
    np.exp(logits, out=logits)
    result: NDArray[np.float32] = np.log(logits.sum(axis=0)) + largest
    return result
