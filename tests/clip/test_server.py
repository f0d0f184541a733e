"""The prompt server: questions and answers, binary and JSON, and everything that is no question."""

import json
import socket
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pyasmg.clip import Projection
from pyasmg.clip._server_model import PromptModel, digest
from pyasmg.clip.server import create_app
from pyasmg.evaluation._http_tensors import HEADER_LENGTH, Tensor, decode_response, encode_request
from tests.clip.toy import Toy, serving

INFER = "/v2/models/clip/infer"


@pytest.fixture
def toy():
    return Toy()


@pytest.fixture
def client(toy):
    with TestClient(create_app(toy)) as client:
        yield client


def prompts(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, Toy.n_ctx, Toy.width)).astype(np.float32)


def ask(client, P, batch_id=3, *, name="prompt", **parameters):
    """Ask in binary; return the outputs by name."""
    inputs = [Tensor(name, "FP32", P)]
    if batch_id is not None:
        inputs.append(Tensor("batch_id", "INT64", np.full((len(P), 1), batch_id)))
    parts, headers = encode_request(inputs, (), "q7", parameters)
    reply = client.post(INFER, content=b"".join(parts), headers=headers)
    assert reply.status_code == 200, reply.text
    return decode_response(reply.content, reply.headers[HEADER_LENGTH], {"id": "q7"})


def question(**changes):
    """Return a good question in JSON, changed."""
    prompt = {"name": "prompt", "datatype": "FP32", "shape": [1, 2, 8], "data": [0.5] * 16}
    batch = {"name": "batch_id", "datatype": "INT64", "shape": [1, 1], "data": [3]}
    return {"inputs": [{**prompt, **changes.pop("prompt", {})}, {**batch, **changes.pop("batch", {})}], **changes}


def test_metadata(client, toy):
    metadata = client.get("/v2/models/clip").json()
    assert [(i["name"], i["datatype"], i["shape"]) for i in metadata["inputs"]] == [
        ("prompt", "FP32", [-1, 2, 8]),
        ("batch_id", "INT64", [-1, 1]),
    ]
    parameters = metadata["parameters"]
    assert parameters["task_names"] == list(toy.task_names)
    assert parameters["token_embedding_std"] == toy.token_embedding_std
    assert (parameters["n_ctx"], parameters["width"], parameters["max_batch"]) == (2, 8, 32)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/clip/ready"])
def test_health(client, path):
    assert client.get(path).status_code == 200


def test_losses_are_those_of_the_task(client, toy):
    P = prompts(5)
    outputs = ask(client, P)
    assert set(outputs) == {"loss", "status"}
    assert outputs["loss"].dtype == np.float32
    np.testing.assert_array_equal(outputs["loss"], toy.losses(P, 3).astype(np.float32))
    np.testing.assert_array_equal(outputs["status"], np.zeros(5, np.uint8))
    assert not np.array_equal(outputs["loss"], ask(client, P, 4)["loss"])
    np.testing.assert_array_equal(ask(client, P, -1)["loss"], toy.losses(P).astype(np.float32))


def test_a_row_does_not_depend_on_the_others(client):
    P = prompts(9)
    whole = ask(client, P)["loss"]
    for i in range(9):
        np.testing.assert_array_equal(ask(client, P[i : i + 1])["loss"][0], whole[i])
    np.testing.assert_array_equal(ask(client, P[::-1])["loss"], whole[::-1])


@pytest.mark.parametrize("nested", [False, True])
def test_json_says_the_same(client, nested):
    P = prompts(2)
    data = P.tolist() if nested else P.ravel().tolist()
    asked = question(prompt={"shape": [2, 2, 8], "data": data}, batch={"shape": [2], "data": [3, 3]}, id="q")
    answer = client.post(INFER, json=asked).json()
    assert answer["id"] == "q"
    loss, status = answer["outputs"]
    assert (loss["name"], loss["shape"], status["data"]) == ("loss", [2, 3], [0, 0])
    np.testing.assert_array_equal(np.array(loss["data"], np.float32).reshape(2, 3), ask(client, P)["loss"])


def test_outputs_can_be_chosen(client):
    answer = client.post(INFER, json=question(outputs=[{"name": "status"}])).json()
    assert [output["name"] for output in answer["outputs"]] == ["status"]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_splits(client, toy, split):
    P = prompts(3)
    outputs = ask(client, P, None, split=split)
    losses, accuracies = toy.evaluate(P, split)
    np.testing.assert_array_equal(outputs["loss"], losses.astype(np.float32))
    np.testing.assert_array_equal(outputs["accuracy"], accuracies.astype(np.float32))


def test_offsets_from_the_start(client, toy):
    P = prompts(3)
    np.testing.assert_array_equal(ask(client, P, origin="start")["loss"], ask(client, P + toy.start)["loss"])


def test_v_is_projected_to_the_same_bits(toy):
    projection = Projection(6, 2, 8, toy.token_embedding_std, 11)
    with TestClient(create_app(toy, projection=projection)) as client:
        assert client.get("/v2/models/clip").json()["parameters"]["projection"] == {"d": 6, "seed": 11}
        V = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
        there = ask(client, V, name="v")["loss"]
        here = ask(client, projection.apply(V), origin="start")["loss"]
    np.testing.assert_array_equal(there, here)


def test_a_prompt_that_is_not_finite_fails_alone(client):
    P = prompts(4)
    P[1, 0, 0], P[3, 1, 2] = np.nan, np.inf
    outputs = ask(client, P)
    np.testing.assert_array_equal(outputs["status"], [0, 1, 0, 1])
    np.testing.assert_array_equal(np.isnan(outputs["loss"]).all(axis=1), [False, True, False, True])
    np.testing.assert_array_equal(outputs["loss"][[0, 2]], ask(client, P[[0, 2]])["loss"])
    huge = question(prompt={"data": [1e300] * 16})  # infinite as FP32
    loss, status = client.post(INFER, json=huge).json()["outputs"]
    assert (loss["data"], status["data"]) == ([None] * 3, [1])


def test_a_task_that_fails_fails_the_rows(caplog):
    class Broken(Toy):
        def losses(self, prompts, batch_id=-1):
            if batch_id == 1:
                raise RuntimeError("out of memory")
            losses = super().losses(prompts, batch_id)
            losses[0, 1] = np.nan
            return losses

    with TestClient(create_app(Broken())) as client:
        outputs = ask(client, prompts(3), 1)
        np.testing.assert_array_equal(outputs["status"], [2, 2, 2])
        assert np.isnan(outputs["loss"]).all()
        np.testing.assert_array_equal(ask(client, prompts(3), 2)["status"], [2, 0, 0])
    assert "out of memory" in caplog.text


BAD = {
    "nothing": (b"", "must be JSON"),
    "no JSON": (b"\xff\xfe{", "must be JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "too deep": (b"[" * 50_000, "must be JSON"),
    "no inputs": ({}, "list `inputs`"),
    "no tensors": ({"inputs": [3]}, "must be an object with a name"),
    "no prompt": ({"inputs": []}, "must have the input `prompt`"),
    "v without a projection": (question(prompt={"name": "v"}), "must be among"),
    "twice": ({"inputs": question()["inputs"][:1] * 2}, "each once"),
    "FP64": (question(prompt={"datatype": "FP64"}), "must be FP32"),
    "another shape": (question(prompt={"shape": [1, 16]}), "[N, 2, 8]"),
    "no rows": (question(prompt={"shape": [0, 2, 8], "data": []}, batch={"shape": [0, 1], "data": []}), "FP32"),
    "ragged": (question(prompt={"data": [[[0] * 8, [0] * 7 + [[0]]]]}), "must have 16 numbers"),
    "texts": (question(prompt={"data": ["x" * 1000] * 16}), "must have 16 numbers"),
    "too few": (question(prompt={"data": [0.5] * 15}), "got 15 elements"),
    "negative shape": (question(prompt={"shape": [-1, 2, 8]}), "whole numbers"),
    "huge shape": (question(prompt={"shape": [2**59, 2, 8]}), "numbers as data"),
    "no batch_id": ({"inputs": question()["inputs"][:1]}, "either the input `batch_id`"),
    "both": (question(parameters={"split": "test"}), "either the input `batch_id`"),
    "fraction": (question(batch={"data": [1.5]}), "of type int64"),
    "batch_id -2": (question(batch={"data": [-2]}), "-1 .. 4294967295"),
    "batch_id 2^32": (question(batch={"data": [2**32]}), "-1 .. 4294967295"),
    "batch_id 10^30": (question(batch={"data": [10**30]}), "of type int64"),
    "batch_id shape": (question(batch={"shape": [1, 1, 1]}), "shape [1, 1]"),
    "batch_id FP32": (question(batch={"datatype": "FP32"}), "INT64"),
    "split": ({"inputs": question()["inputs"][:1], "parameters": {"split": "all"}}, "must be one of"),
    "split as list": ({"inputs": question()["inputs"][:1], "parameters": {"split": ["test"]}}, "must be one of"),
    "origin": (question(parameters={"origin": 1}), "`origin`"),
    "parameters": (question(parameters=[1]), "must be an object"),
    "flag": (question(parameters={"binary_data_output": "yes"}), "true or false"),
    "outputs": (question(outputs={}), "must be a list"),
    "output": (question(outputs=[{"name": "gradient"}]), "must be one of"),
    "accuracy of a batch": (question(outputs=[{"name": "accuracy"}]), "must be one of"),
    "id": (question(id=7), "`id` must be a text"),
    "long id": (question(id="x" * 201), "`id` must be a text"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_questions(client, name):
    body, words = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.post(INFER, content=content)
    assert reply.status_code == 400
    assert words in reply.json()["error"]
    assert len(reply.json()["error"]) < 600


@pytest.mark.parametrize("length", ["-1", "x", "99999", "", "1" * 30])
def test_bad_header_lengths(client, length):
    reply = client.post(INFER, content=json.dumps(question()).encode(), headers={HEADER_LENGTH: length})
    assert reply.status_code == 400
    assert HEADER_LENGTH in reply.json()["error"] or "JSON" in reply.json()["error"]


def test_bad_binary(client):
    parts, headers = encode_request(
        [Tensor("prompt", "FP32", prompts(1)), Tensor("batch_id", "INT64", np.ones((1, 1)))]
    )
    body = b"".join(parts)
    for broken, words in ((body[:-1], "must have 8 bytes"), (body + b"x", "left over")):
        reply = client.post(INFER, content=broken, headers=headers)
        assert reply.status_code == 400
        assert words in reply.json()["error"]


def test_rows_of_a_request_share_their_batch(client):
    asked = question(prompt={"shape": [2, 2, 8], "data": [0.0] * 32}, batch={"shape": [2, 1], "data": [1, 2]})
    reply = client.post(INFER, json=asked)
    assert reply.status_code == 400
    assert "same `batch_id`; got 1 and 2" in reply.json()["error"]


def test_too_many_rows(client):
    parts, headers = encode_request(
        [Tensor("prompt", "FP32", prompts(33)), Tensor("batch_id", "INT64", np.ones((33, 1)))]
    )
    reply = client.post(INFER, content=b"".join(parts), headers=headers)
    assert reply.status_code == 413
    assert "at most 32 rows; got 33" in reply.json()["error"]


def test_the_largest_request_in_json_fits(client, toy):
    n = toy.max_batch
    data = [-1.2345678901234567e-30] * (n * 16)
    batch = {"shape": [n, 1], "data": [2**32 - 1] * n}
    assert client.post(INFER, json=question(prompt={"shape": [n, 2, 8], "data": data}, batch=batch)).status_code == 200


def test_large_bodies_are_refused_unread(toy):
    with serving(create_app(toy, max_body=1000)) as url:
        host, port = url.removeprefix("http://").split(":")
        for head in (f"Content-Length: {10**15}", "Content-Length: 1001", "Transfer-Encoding: chunked"):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
                if "chunked" in head:
                    connection.sendall(b"".join(b"190\r\n" + b"0" * 400 + b"\r\n" for _ in range(3)))
                assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_body_must_come_in_time(toy):
    with serving(create_app(toy, patience=0.2)) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection((host, int(port)), timeout=10) as connection:  # gone in the middle
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode())
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_compressed_bodies_are_refused(client):
    assert client.post(INFER, content=b"x", headers={"Content-Encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer sesam", "bearer sesame", "Basic sesame", "Bearer sesame2"]
)
def test_a_wrong_key_opens_nothing(toy, sent):
    with TestClient(create_app(toy, api_key="sesame")) as client:
        headers = {} if sent is None else {"Authorization": sent}
        for reply in (
            client.get("/v2/models/clip", headers=headers),
            client.get("/v2/models/other", headers=headers),
            client.get("/v2/models/clip/stats", headers=headers),
            client.post(INFER, json=question(), headers=headers),
        ):
            assert reply.status_code == 401
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            assert "sesame" not in reply.text
        assert client.get("/v2/health/ready", headers=headers).status_code == 200


def test_the_key_opens(toy):
    with TestClient(create_app(toy, api_key="sesame"), headers={"Authorization": "Bearer sesame"}) as client:
        assert client.post(INFER, json=question()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/nothing", 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2/models/clip", 405),
    ],
)
def test_wrong_addresses(client, method, path, status):
    reply = client.request(method, path)
    assert reply.status_code == status
    assert reply.json()["error"]


def test_more_requests_than_may_wait():
    entered, leave = threading.Event(), threading.Event()

    class Slow(Toy):
        def losses(self, prompts, batch_id=-1):
            entered.set()
            assert leave.wait(20)
            return super().losses(prompts, batch_id)

    with TestClient(create_app(Slow(), max_waiting=1)) as client:
        first = threading.Thread(target=ask, args=(client, prompts(1)))
        first.start()
        assert entered.wait(20)
        reply = client.post(INFER, json=question())
        leave.set()
        first.join()
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
        assert client.post(INFER, json=question()).status_code == 200


def test_log_and_counters(toy, tmp_path):
    P = prompts(3)
    P[2] = np.nan
    with TestClient(create_app(toy, log=tmp_path / "log")) as client:
        ask(client, P, 5)
        ask(client, P[:1], None, split="test")
        client.post(INFER, content=b"no question")
        stats = client.get("/v2/models/clip/stats").json()
    assert stats == {"name": "clip", "requests": 2, "prompts": 4, "failed": 1}
    first, second = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert (first["id"], first["batch_id"], first["split"], first["status"]) == ("q7", 5, None, [0, 0, 1])
    assert first["prompts"] == [digest(p) for p in P]
    assert (second["split"], second["prompts"]) == ("test", first["prompts"][:1])


def test_the_document_names_every_answer(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v2/models/{model}/infer", "/v2/models/{model}", "/v2/health/live", "/v2/health/ready"} <= set(paths)
    infer = paths["/v2/models/{model}/infer"]["post"]
    assert {"200", "400", "401", "404", "408", "413", "415", "503"} <= set(infer["responses"])
    assert set(infer["requestBody"]["content"]) == {"application/json", "application/octet-stream"}


@pytest.mark.parametrize(
    "options", [{"name": "a/b"}, {"name": ""}, {"max_body": 0}, {"max_waiting": 0}, {"patience": 0}]
)
def test_options_that_make_no_sense(toy, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        create_app(toy, **options)


def test_a_projection_to_another_shape(toy):
    with pytest.raises(ValueError, match=r"to \(2, 8\); got \(3, 8\)"):
        PromptModel(toy, projection=Projection(4, 3, 8, 1.0, 0))
