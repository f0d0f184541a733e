"""The client: the task of a server as if it were here."""

import asyncio
import json
import socket
import threading

import numpy as np
import pytest

from pyasmg.clip import Projection
from pyasmg.clip._client_protocol import PromptProtocol, read_description
from pyasmg.clip._questions import FINAL, Images, held_out, images, row_of
from pyasmg.clip.client import RemoteError, RemoteTask
from pyasmg.clip.server import create_app
from pyasmg.evaluation import Job
from pyasmg.evaluation._http_protocol import GarbledError, UnusableError
from tests.clip.toy import Toy, serving


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(scope="module")
def url():
    with serving(create_app(Toy())) as url:
        yield url


@pytest.fixture
def remote(url):
    with RemoteTask(url, backoff=0.01) as task:
        yield task


def prompts(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, Toy.n_ctx, Toy.width)).astype(np.float32)


def test_attributes(remote):
    toy = Toy()
    for name in ("task_names", "n_ctx", "width", "token_embedding_std", "max_batch", "batch_size", "n_train"):
        assert getattr(remote, name) == getattr(toy, name)
    np.testing.assert_array_equal(remote.start, np.zeros((2, 8), np.float32))


def test_prompts_are_offsets_from_the_servers_start(remote):
    toy, P = Toy(), prompts(5)
    np.testing.assert_array_equal(remote.losses(P, 4), toy.losses(P + toy.start, 4).astype(np.float32))
    np.testing.assert_array_equal(remote.losses(P), toy.losses(P + toy.start).astype(np.float32))
    for split in ("train", "validation", "test"):
        for mine, theirs in zip(toy.evaluate(P + toy.start, split), remote.evaluate(P, split), strict=True):
            np.testing.assert_array_equal(theirs, mine.astype(np.float32))


def test_more_prompts_than_a_request_holds(remote):
    toy, P = Toy(), prompts(70)
    np.testing.assert_array_equal(remote.losses(P, 1), toy.losses(P + toy.start, 1).astype(np.float32))
    np.testing.assert_array_equal(remote.evaluate(P)[1], toy.evaluate(P + toy.start)[1].astype(np.float32))


def test_a_row_that_fails(url):
    P = prompts(3)
    P[1] = np.nan
    with RemoteTask(url, attempts=2, backoff=0.01) as remote:
        losses = remote.losses(P, 0)
        np.testing.assert_array_equal(np.isnan(losses).all(axis=1), [False, True, False])
        reason = remote._source.failures if remote._source is not None else None
    assert reason == []


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 7)), np.zeros((2, 8)), [["a"]]])
def test_wrong_shapes(remote, bad):
    with pytest.raises((ValueError, TypeError), match="prompts"):
        remote.losses(bad)


def test_wrong_splits(remote):
    with pytest.raises(ValueError, match="`split` must be one of"):
        remote.evaluate(prompts(1), "all")


def test_no_server():
    with pytest.raises(RemoteError, match=r"cannot reach http://127\.0\.0\.1:9/"):
        RemoteTask("http://127.0.0.1:9", timeout=2.0)


def test_a_server_that_is_starting():
    """The first connections are closed without an answer, or told to come again."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def stumble():
            for answer in (b"", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", b"junk"):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                body = metadata()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                connection.sendall(head + body)

        thread = threading.Thread(target=stumble)
        thread.start()
        with RemoteTask(f"http://127.0.0.1:{listener.getsockname()[1]}", patience=20.0) as remote:
            assert remote.task_names == ("a", "b")
        thread.join()


def test_keys(monkeypatch):
    with serving(create_app(Toy(), api_key="sesame")) as url:
        with pytest.raises(RemoteError, match="401"):
            RemoteTask(url)
        monkeypatch.setenv("CLIP_KEY", "wrong-key")
        with pytest.raises(RemoteError, match="401") as caught:
            RemoteTask(url, auth_env="CLIP_KEY")
        assert "wrong-key" not in str(caught.value)
        monkeypatch.setenv("CLIP_KEY", "sesame")
        with RemoteTask(url, auth_env="CLIP_KEY") as remote:
            assert np.isfinite(remote.losses(prompts(1), 0)).all()
            monkeypatch.setenv("CLIP_KEY", "changed")
            with pytest.raises(RemoteError, match="refuses the login") as caught:
                remote.losses(prompts(1), 0)
            assert "changed" not in str(caught.value)


def test_another_model(url):
    with pytest.raises(RemoteError, match="404"):
        RemoteTask(url, model="other")


def test_v_needs_the_servers_projection(url):
    projection = Projection(4, 2, 8, Toy.token_embedding_std, 0)
    with RemoteTask(url) as remote, pytest.raises(ValueError, match="same projection"):
        remote.source(projection, send_v=True)
    with serving(create_app(Toy(), projection=projection)) as other, RemoteTask(other) as remote:
        with pytest.raises(ValueError, match="same projection"):
            remote.source(Projection(4, 2, 8, Toy.token_embedding_std, 1), send_v=True)
        with remote.source(projection, send_v=True) as source, remote.source(projection) as plain:
            V = np.random.default_rng(0).normal(size=(3, 4))
            np.testing.assert_array_equal(source(V), plain(V))


# ------------------------------------------------------------------------------------------- what is sent


def metadata(**changes):
    parameters = {
        "task_names": ["a", "b"], "n_ctx": 2, "width": 8, "token_embedding_std": 0.5, "max_batch": 8,
        "batch_size": 4, "n_train": [9, 9],
    }  # fmt: skip
    return json.dumps({"parameters": {**parameters, **changes}}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"task_names": []},
        {"task_names": [1, 2]},
        {"n_train": [9]},
        {"n_ctx": 0},
        {"width": 8.0},
        {"max_batch": True},
        {"token_embedding_std": 0},
        {"token_embedding_std": "0.5"},
        {"projection": 3},
        {"projection": {"d": 3}},
    ],
)
def test_descriptions_that_are_none(changes):
    with pytest.raises(GarbledError, match=next(iter(changes))):
        read_description(metadata(**changes))


def test_a_server_that_is_no_longer_the_same():
    protocol = PromptProtocol("http://x/v2/models/clip", read_description(metadata()), None, False)

    async def get(url):
        return metadata(width=16)

    with pytest.raises(UnusableError, match="width is 16; it was 8"):
        asyncio.run(protocol.prepare(get))


def test_rows_about_different_images_are_not_mixed():
    protocol = PromptProtocol("http://x/v2/models/clip", read_description(metadata()), None, False)
    with pytest.raises(UnusableError, match="same images"):
        protocol.encode(prompts(2), 3, [Job(0), Job(FINAL)])


def test_the_numbers_of_questions():
    assert images(7, 0) == images(7, 19) == Images(7)
    assert images(7, FINAL) == Images(-1)
    seen = set()
    for split in ("train", "validation", "test"):
        for row in range(5):
            candidate = held_out(split, row)
            assert candidate < FINAL
            assert images(7, candidate) == Images(-1, split)
            assert row_of(candidate) == row
            seen.add(candidate)
    assert len(seen) == 15
    assert row_of(4) == 4
