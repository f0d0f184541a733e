"""A prompt task in numpy, cheap and exact: for tests of servers, clients and tuners."""

import contextlib
import threading

import numpy as np

from pyasmg.clip._server_model import digest


class Toy:
    """Linear classifiers whose weights are a prompt seen through fixed matrices; cross-entropies, one per domain."""

    task_names = ("plain", "turned", "noisy")
    n_ctx, width, token_embedding_std = 2, 8, 0.25
    n_classes, dim, n_images = 3, 4, 60

    def __init__(self, *, batch_size=16, max_batch=32, start=0.1, seed=0):
        rng = np.random.default_rng(seed)
        self.batch_size, self.max_batch = batch_size, max_batch
        self.start = np.full((self.n_ctx, self.width), start, np.float32)
        self._maps = rng.normal(size=(self.n_classes, self.dim, self.n_ctx * self.width))
        self._parts = {}
        centers = rng.normal(size=(self.n_classes, self.dim))
        for split in ("train", "validation", "test"):
            labels = rng.integers(0, self.n_classes, self.n_images)
            images = centers[labels] + 0.3 * rng.normal(size=(self.n_images, self.dim))
            others = [images, images[:, ::-1], images + rng.normal(size=images.shape)]
            self._parts[split] = [(other, labels) for other in others]

    @property
    def n_train(self):
        return (self.n_images,) * len(self.task_names)

    def losses(self, prompts, batch_id=-1):
        parts = self._parts["train"]
        if batch_id >= 0:
            rows = np.random.default_rng([7, batch_id]).permutation(self.n_images)[: self.batch_size]
            parts = [(images[rows], labels[rows]) for images, labels in parts]
        return np.array([[self._score(prompt, part)[0] for part in parts] for prompt in prompts])

    def evaluate(self, prompts, split="test"):
        scores = np.array([[self._score(prompt, part) for part in self._parts[split]] for prompt in prompts])
        return scores[..., 0], scores[..., 1]

    def _score(self, prompt, part):
        images, labels = part
        logits = images @ (self._maps @ np.asarray(prompt, np.float64).ravel()).T
        logits = logits - logits.max(axis=1, keepdims=True)
        chosen = logits[np.arange(len(labels)), labels]
        return (np.log(np.exp(logits).sum(axis=1)) - chosen).mean(), (logits.argmax(axis=1) == labels).mean()


class Logged(Toy):
    """A toy that remembers each prompt that it was asked about, with its images."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []

    def losses(self, prompts, batch_id=-1):
        self.asked += [(batch_id, digest(prompt)) for prompt in prompts]
        return super().losses(prompts, batch_id)

    def evaluate(self, prompts, split="test"):
        self.asked += [(split, digest(prompt)) for prompt in prompts]
        return super().evaluate(prompts, split)


@contextlib.contextmanager
def serving(app):
    """Run an ASGI application on a free port of this machine; yield its URL."""
    import socket

    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=2))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
