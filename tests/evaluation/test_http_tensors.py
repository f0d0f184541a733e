"""Tensors of the Open Inference Protocol: both directions, binary and JSON, hostile numbers."""

import json

import numpy as np
import pytest

from pyasmg.evaluation._http_protocol import GarbledError
from pyasmg.evaluation._http_tensors import (
    DATATYPES,
    HEADER_LENGTH,
    Tensor,
    decode,
    decode_response,
    encode_request,
    encode_response,
)


def in_json(data, datatype="FP32", shape=(2, 2)):
    return json.dumps({"inputs": [{"name": "x", "datatype": datatype, "shape": list(shape), "data": data}]}).encode()


def read(body, header_length=None):
    return decode(body, header_length, "inputs", "the request")[1]["x"]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_there_and_back(datatype):
    array = np.arange(6).reshape(2, 3).astype(DATATYPES[datatype])
    parts, headers = encode_request([Tensor("x", datatype, array)], ["y"], "r1", {"split": "test"})
    message, tensors = decode(b"".join(parts), headers[HEADER_LENGTH], "inputs", "the request")
    assert message["id"] == "r1"
    assert message["parameters"] == {"binary_data_output": True, "split": "test"}
    assert [output["name"] for output in message["outputs"]] == ["y"]
    np.testing.assert_array_equal(tensors["x"], array)
    assert tensors["x"].dtype == array.dtype
    parts, headers = encode_response({"id": "r1"}, [Tensor("y", datatype, array), Tensor("z", "UINT8", np.ones(2))])
    outputs = decode_response(b"".join(parts), headers[HEADER_LENGTH], {"id": "r1"})
    np.testing.assert_array_equal(outputs["y"], array)
    np.testing.assert_array_equal(outputs["z"], np.ones(2, np.uint8))
    with pytest.raises(GarbledError, match="must belong to id"):
        decode_response(b"".join(parts), headers[HEADER_LENGTH], {"id": "r2"})


def test_a_body_that_can_be_written_to():
    parts, headers = encode_request([Tensor("x", "FP32", np.ones((1, 2)))])
    np.testing.assert_array_equal(read(bytearray(b"".join(parts)), headers[HEADER_LENGTH]), np.ones((1, 2)))


@pytest.mark.parametrize("data", [[1, 2.5, 3, 4], [[1, 2.5], [3, 4]]])
def test_json_flat_and_nested(data):
    array = read(in_json(data))
    np.testing.assert_array_equal(array, np.array([[1, 2.5], [3, 4]], np.float32))


def test_a_single_number():
    assert read(in_json(7, "INT64", [])) == read(in_json([7], "INT64", [])) == 7


@pytest.mark.parametrize(
    ("data", "datatype", "words"),
    [
        ([1, 2, 3], "FP32", "got 3 elements"),
        ([[1, 2], [3]], "FP32", "for 2 of them"),
        ([[1, 2, 3], [4]], "FP32", "for 2 of them"),
        ([1, [2, 3, 4]], "FP32", "for 2 of them"),
        ([[1, 2], [3, [4]]], "FP32", r"got \[4\]"),
        ([1, 2, 3, None], "FP32", "got None"),
        (["x" * 10_000, "", "", ""], "FP32", "got 'xxx"),
        ({}, "FP32", "got {}"),
        (None, "FP32", "got None"),
        ([1, 2, 3, 1.5], "INT64", "of type int64"),
        ([1, 2, 3, -1], "UINT8", "of type uint8"),
        ([1, 2, 3, 256], "UINT8", "of type uint8"),
        ([1, 2, 3, 10**30], "INT64", "of type int64"),
        ([1, 0, 1, 2], "BOOL", "of type bool"),
    ],
)
def test_numbers_that_are_not_what_they_should_be(data, datatype, words):
    with pytest.raises(GarbledError, match=rf"input x of shape \[2, 2\] must have 4 numbers as data.*{words}"):
        read(in_json(data, datatype))


def test_too_large_for_the_datatype_is_infinite():
    np.testing.assert_array_equal(read(in_json([1e39, -1e39, 0, 1])), [[np.inf, -np.inf], [0, 1]])


def test_errors_name_the_message():
    with pytest.raises(GarbledError, match="the request must be JSON"):
        read(b"{")
    with pytest.raises(GarbledError, match="the request must hold a list `inputs`"):
        read(b"{}")
    with pytest.raises(GarbledError, match="each input must be an object with a name"):
        read(b'{"inputs": [1]}')
