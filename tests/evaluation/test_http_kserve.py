"""KServe v2 / Open Inference Protocol with binary tensors."""

import json

import numpy as np
import pytest

from pyasmg.evaluation._http_kserve import is_kserve, model_url
from pyasmg.evaluation._http_protocol import GarbledError
from pyasmg.evaluation._http_tensors import DATATYPES, HEADER_LENGTH, Tensor, decode_response, encode_request
from pyasmg.evaluation.http import HTTP
from tests.evaluation.http_server import ServerProcess, objectives
from tests.evaluation.raw_server import RawServer, http_answer
from tests.evaluation.test_http import _no_proxy, _nothing_is_left, candidates, check_books, evaluate, one_call

__all__ = ["_no_proxy", "_nothing_is_left"]  # fixtures

METADATA = {
    "name": "m",
    "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, -1]}],
    "outputs": [{"name": "f", "datatype": "FP64", "shape": [-1, 2]}],
}
NAN_BITS = np.array([0x7FF8000000000123], "<u8").view("<f8")


def binary(outputs, *, length=None):
    """Return an answer with binary tensors: (name, datatype, array) each."""
    header = json.dumps(
        {
            "outputs": [
                {
                    "name": name,
                    "datatype": datatype,
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for name, datatype, array in outputs
            ]
        }
    ).encode()
    body = header + b"".join(array.tobytes() for _, _, array in outputs)
    return http_answer(body, headers=[f"{HEADER_LENGTH}: {len(header) if length is None else length}"])


class Model:
    """A raw server with metadata, and one answer to everything else."""

    def __init__(self, answer, metadata=METADATA, config=None):
        self.metadata, self.config, self.answer = metadata, config, answer

    def __call__(self, connection, request):
        line = request.partition(b"\r\n")[0]
        if line.startswith(b"POST"):
            connection.sendall(self.answer)
        elif line == b"GET /v2/models/m HTTP/1.1":
            body = self.metadata if isinstance(self.metadata, bytes) else json.dumps(self.metadata).encode()
            connection.sendall(http_answer(body))
        elif self.config is not None and line == b"GET /v2/models/m/config HTTP/1.1":
            connection.sendall(http_answer(json.dumps(self.config).encode()))
        else:
            connection.sendall(http_answer(b"{}", status="404 Not Found"))


def posts(server):
    return [request for request in server.requests if request.startswith(b"POST")]


# --------------------------------------------------------------------------------------------------------- good


@pytest.mark.parametrize("model", ["quadratic", "quadratic_json"])
@pytest.mark.parametrize("place", ["url", "model", "v2", "infer", "version"])
def test_fp64_to_the_bit(model, place):
    X = candidates(21)
    with ServerProcess("--dimension", 5) as server:
        url, name = {
            "url": (f"{server.url}/v2/models/{model}", None),
            "model": (server.url + "/", model),
            "v2": (server.url + "/v2/", model),
            "infer": (f"{server.url}/v2/models/{model}/infer", model),
            "version": (f"{server.url}/v2/models/{model}/versions/1", None),
        }[place]
        with HTTP(url, model=name) as source:
            F = source(X)
        log = server.log()
    np.testing.assert_array_equal(F, objectives(X))
    suffix = "/versions/1" if place == "version" else ""
    assert source.name == f"{server.url}/v2/models/{model}{suffix}"
    assert {entry["path"] for entry in log} == {f"/v2/models/{model}{suffix}/infer"}
    assert sorted(entry["rows"] for entry in log) == [3, 6, 6, 6]
    check_books(source, log)


def test_fp32_to_the_bit():
    X = candidates(9)
    with ServerProcess() as server, HTTP(server.url, model="quadratic32", dtype="float32") as source:
        F = source(X)
    expected = objectives(X.astype(np.float32)).astype(np.float32)
    np.testing.assert_array_equal(F, expected.astype(np.float64))
    assert source.name.endswith("/v2/models/quadratic32 (float32)")


def test_candidates_in_float32_are_widened():
    X = candidates(4).astype(np.float32)
    with ServerProcess() as server, HTTP(server.url, model="quadratic") as source:
        F = source(X)
    np.testing.assert_array_equal(F, objectives(X.astype(np.float64)))


def test_large_candidates():
    """Bodies of several MB, sent in pieces."""
    X = candidates(3, d=200_000)
    with ServerProcess() as server, HTTP(server.url, model="quadratic", concurrency=1) as source:
        F = source(X)
        assert len(server.log()) == 1
    np.testing.assert_array_equal(F, objectives(X))


@pytest.mark.parametrize("publish", [True, False])
def test_the_limit_in_the_metadata(publish):
    X = candidates(40)
    arguments = ["--max-batch", 7, *(["--publish"] if publish else [])]
    with ServerProcess(*arguments) as server, HTTP(server.url, model="quadratic", concurrency=2) as source:
        F = evaluate(source, X, attempts=1)
        log = server.log()
        assert source.batch_size(40) <= 7
    np.testing.assert_array_equal(F, objectives(X))
    check_books(source, log)
    assert any(entry["kind"] == "413" for entry in log) == (not publish)


@pytest.mark.parametrize("where", ["shape", "parameters", "text", "config"])
def test_other_places_of_the_limit(where):
    metadata, config = json.loads(json.dumps(METADATA)), None
    if where == "shape":
        metadata["inputs"][0]["shape"] = [2, 5]
    elif where == "config":
        config = {"name": "m", "max_batch_size": 2}
    else:
        metadata["parameters"] = {"max_batch": 2 if where == "parameters" else "2"}
    model = Model(binary([("f", "FP64", np.ones((2, 2)))]), metadata, config)
    with RawServer(model) as server, HTTP(server.url, model="m") as source:
        outcomes = one_call(source, candidates(6))
        assert source.batch_size(6) <= 2
    assert len(posts(server)) == 3
    assert all(outcome.values.tolist() == [1.0, 1.0] for outcome in outcomes)


def test_metadata_is_fetched_once_for_calls_at_a_time():
    model = Model(binary([("f", "FP64", np.ones((1, 2)))]))
    with RawServer(model) as server, HTTP(server.url, model="m", batch_size=1) as source:
        evaluate(source, candidates(12))
    assert sum(request.startswith(b"GET /v2/models/m ") for request in server.requests) == 1
    assert len(posts(server)) == 12
    assert source.counters.requests == 12


@pytest.mark.parametrize("status", [[[0], [2]], [0, 2]])
def test_the_status_of_rows(status):
    status = np.array(status, np.uint8)
    values = np.array([[1.5, 2.5], [3.5, 4.5]], np.float32)
    metadata = {**METADATA, "outputs": []}
    model = Model(binary([("status", "UINT8", status), ("values", "FP32", values)]), metadata)
    with RawServer(model) as server, HTTP(server.url, model="m") as source:
        good, bad = one_call(source, candidates(2))
    assert good.values.tolist() == [1.5, 2.5]
    assert bad.error == "the server reports status 2"
    assert (bad.alone, bad.retry, bad.billed) == (True, True, True)
    assert source.counters.evaluations == 2


def test_one_of_several_outputs_is_called_f():
    outputs = [{"name": name, "datatype": "FP64", "shape": [-1, 2]} for name in ("logits", "F")]
    outputs += [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8]}]
    model = Model(binary([("F", "FP64", np.ones((1, 2)))]), {**METADATA, "outputs": outputs})
    with RawServer(model) as server, HTTP(server.url, model="m") as source:
        (outcome,) = one_call(source, candidates(1))
    assert outcome.values.tolist() == [1.0, 1.0]
    _, _, body = posts(server)[0].partition(b"\r\n\r\n")
    assert b'"outputs":[{"name":"F","parameters":{"binary_data":true}}]' in body


# ----------------------------------------------------------------------------------------------- what is refused


def described(**changes):
    return {**METADATA, **changes}


def tensor(name="x", datatype="FP64", shape=(-1, -1)):
    return {"name": name, "datatype": datatype, "shape": list(shape)}


@pytest.mark.parametrize(
    ("metadata", "options", "text"),
    [
        (described(inputs=[tensor(shape=(-1, 7))]), {}, "takes 7 numbers per row; x has 5"),
        (described(inputs=[tensor(shape=(7,))]), {}, "shape [-1, d]; it has [7]"),
        (described(inputs=[tensor(datatype="INT64")]), {}, "x (INT64)"),
        (described(inputs=[tensor(), tensor("y")]), {}, "one input"),
        (described(inputs=[]), {}, "it has none"),
        (METADATA, {"dtype": "float32"}, "`dtype` is float32"),
        (described(outputs=[tensor("a"), tensor("b")]), {}, "call one of them f; it has a (FP64), b (FP64)"),
        (described(outputs=[tensor("a", "BYTES")]), {}, "it has a (BYTES)"),
    ],
)
def test_a_model_that_does_not_fit(metadata, options, text):
    with RawServer(Model(b"", metadata)) as server, HTTP(server.url, model="m", **options) as source:
        outcomes = one_call(source, candidates(2))
    for outcome in outcomes:
        assert text in outcome.error
        assert not outcome.billed
        assert outcome.fatal
    assert posts(server) == []
    assert source.counters.requests == source.counters.unknown == source.refused == 0


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"\x00\xff",
        b"[]",
        b'{"inputs": 3}',
        b'{"inputs": {"name": "x", "datatype": "FP64", "shape": [-1, 2]}}',
        b'{"inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2.5]}]}',
        b'{"inputs": [{"name": "x", "datatype": ["FP64"], "shape": [-1, 2]}]}',
        b'{"inputs": [3]}',
        b" " * 2**21,
    ],
)
def test_garbled_metadata_is_asked_for_again(metadata):
    with RawServer(Model(b"", metadata)) as server, HTTP(server.url, model="m") as source:
        (outcome,) = one_call(source, candidates(1))
    assert "metadata" in outcome.error
    assert outcome.retry
    assert not outcome.billed


def test_a_model_that_is_not_there():
    with ServerProcess() as server, HTTP(server.url, model="cubic") as source:
        (outcome,) = one_call(source, candidates(1))
    assert outcome.error.startswith(f"the model's metadata at {server.url}/v2/models/cubic: HTTP 404")
    assert outcome.fatal


def test_x_that_is_too_large_for_fp32():
    X = np.array([[1e39, 0.0]])
    with ServerProcess() as server, HTTP(server.url, model="quadratic32") as source:
        (outcome,) = one_call(source, X)
        assert server.log() == []
    assert "finite in FP32" in outcome.error
    assert (outcome.retry, outcome.billed, outcome.fatal) == (False, False, False)


ONES = np.ones((2, 2))
HEADER = b'{"outputs": [{"name": "f", "datatype": "FP64", "shape": [2, 2], "parameters": {"binary_data_size": 32}}]}'
GARBLED = {
    "no header length": http_answer(HEADER + ONES.tobytes()),
    "long header": binary([("f", "FP64", ONES)], length=10**6),
    "negative header": binary([("f", "FP64", ONES)], length=-5),
    "text header": binary([("f", "FP64", ONES)], length="many"),
    "huge header": binary([("f", "FP64", ONES)], length="9" * 60),
    "one row": binary([("f", "FP64", np.ones((1, 2)))]),
    "three rows": binary([("f", "FP64", np.ones((3, 2)))]),
    "three dimensions": binary([("f", "FP64", np.ones((2, 1, 2)))]),
    "no values": binary([("f", "FP64", np.ones((2, 0)))]),
    "scalar": binary([("f", "FP64", np.ones(()))]),
    "integers": binary([("f", "INT64", np.ones((2, 2), int))]),
    "another name": binary([("g", "FP64", ONES)]),
    "nothing": binary([]),
    "too short": http_answer(HEADER + ONES.tobytes()[:-1], headers=[f"{HEADER_LENGTH}: {len(HEADER)}"]),
    "too long": http_answer(HEADER + ONES.tobytes() + b"!", headers=[f"{HEADER_LENGTH}: {len(HEADER)}"]),
    "unknown datatype": http_answer(b'{"outputs": [{"name": "f", "datatype": "FP80", "shape": [2, 2]}]}'),
    "bytes": http_answer(b'{"outputs": [{"name": "f", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}]}'),
    "shape of text": http_answer(b'{"outputs": [{"name": "f", "datatype": "FP64", "shape": "2", "data": [1]}]}'),
    "negative shape": http_answer(b'{"outputs": [{"name": "f", "datatype": "FP64", "shape": [-2], "data": [1, 2]}]}'),
    "huge shape": http_answer(
        b'{"outputs": [{"name": "f", "datatype": "FP64", "shape": [999999999999, 999999999999], '
        b'"parameters": {"binary_data_size": 7999999999984000000000008}}]}'
    ),
    "ragged data": http_answer(b'{"outputs": [{"name": "f", "datatype": "FP64", "shape": [2], "data": [1, [2]]}]}'),
    "text as data": http_answer(b'{"outputs": [{"name": "f", "datatype": "FP64", "shape": [2], "data": ["1", "2"]}]}'),
    "no data": http_answer(b'{"outputs": [{"name": "f", "datatype": "FP64", "shape": [2]}]}'),
    "outputs of text": http_answer(b'{"outputs": "f"}'),
    "no outputs": http_answer(b"{}"),
    "deep": http_answer(b'{"outputs": ' + b"[" * 100_000),
    "status of one row": binary([("f", "FP64", ONES), ("status", "UINT8", np.zeros(1, np.uint8))]),
}


@pytest.mark.parametrize("kind", GARBLED)
def test_garbled_answers(kind):
    metadata = described(outputs=[tensor("f"), tensor("status", "UINT8", (-1,))])
    with RawServer(Model(GARBLED[kind], metadata)) as server, HTTP(server.url, model="m") as source:
        outcomes = one_call(source, candidates(2))
    for outcome in outcomes:
        assert outcome.values is None
        assert (outcome.billed, outcome.retry, outcome.alone) == (True, True, True)
    assert source.counters.unknown == 2
    assert source.counters.evaluations == 0


# ------------------------------------------------------------------------------------------------------ tensors


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_survives_the_way_there_and_back(datatype):
    dtype = DATATYPES[datatype]
    array = np.random.default_rng(0).integers(0, 2, (3, 4)).astype(dtype)
    if datatype == "FP64":
        array[0, 0], array[1, 0] = NAN_BITS[0], -0.0
    view = np.asfortranarray(array.astype(dtype.newbyteorder(">")))
    parts, headers = encode_request([Tensor("a", datatype, view), Tensor("b", "INT64", np.arange(3)[:, None])], ["y"])
    body = b"".join(parts)
    message = json.loads(body[: int(headers[HEADER_LENGTH])])
    assert message["inputs"][1] == {
        "name": "b",
        "shape": [3, 1],
        "datatype": "INT64",
        "parameters": {"binary_data_size": 24},
    }
    assert message["outputs"] == [{"name": "y", "parameters": {"binary_data": True}}]
    message["outputs"] = message.pop("inputs")
    header = json.dumps(message).encode()
    back = decode_response(header + body[int(headers[HEADER_LENGTH]) :], str(len(header)))
    assert back["a"].tobytes() == array.tobytes()
    assert back["a"].dtype == dtype
    assert back["b"].tolist() == [[0], [1], [2]]


def test_json_data_nested_or_flat():
    body = b'{"outputs": [{"name": "f", "datatype": "FP32", "shape": [2, 2], "data": %s}]}'
    for data in (b"[[1, 2], [3, 0.1]]", b"[1, 2, 3, 0.1]"):
        f = decode_response(body % data, None)["f"]
        assert f.dtype == np.float32
        assert f.tolist() == [[1.0, 2.0], [3.0, float(np.float32(0.1))]]


def test_random_bytes_are_garbled():
    rng = np.random.default_rng(0)
    good = HEADER + ONES.tobytes()
    n_garbled = 0
    for _ in range(2000):
        body = bytearray(good)
        for i in rng.integers(0, len(HEADER), rng.integers(1, 4)):
            body[i] = rng.integers(0, 256)
        try:
            outputs = decode_response(bytes(body), str(len(HEADER)))
        except GarbledError as error:
            assert len(str(error)) < 400  # noqa: PT017
            n_garbled += 1
        else:
            assert all(array.nbytes <= len(good) for array in outputs.values())
    assert n_garbled > 1000


def test_urls():
    assert is_kserve("http://a/v2/models/b")
    assert is_kserve("http://a/x/v2")
    assert not is_kserve("http://a/v20")
    assert model_url("http://a/x/v2?k=1", "b c/d") == "http://a/x/v2/models/b%20c%2Fd?k=1"
    assert model_url("http://a/v2/models/b%20c/infer/", "b c") == "http://a/v2/models/b%20c"
