"""What every method claims, on its first step; see _cases.py."""

from __future__ import annotations

import pytest

import pyasmg.mtl as mtl
from tests.mtl import _properties as properties
from tests.mtl._cases import CASES, named


def test_every_method_has_a_case() -> None:
    tested = {type(case.make(2)).__name__ for case in CASES.values()}
    assert set(mtl.METHODS) <= tested


def test_names_and_aliases() -> None:
    assert all(name == method.__name__ for name, method in mtl.METHODS.items())
    assert set(mtl.METHODS) <= set(mtl.__all__)
    assert list(mtl.METHODS) == sorted(mtl.METHODS, key=str.casefold)
    assert mtl.LS is mtl.EW


@pytest.mark.parametrize("name", named(lambda case: case.symmetric))
def test_permutation(name: str) -> None:
    properties.assert_permutation(CASES[name])


@pytest.mark.parametrize("name", named(lambda case: case.degree is not None))
def test_degree(name: str) -> None:
    properties.assert_degree(CASES[name])


@pytest.mark.parametrize("name", named(lambda case: case.units))
def test_units(name: str) -> None:
    properties.assert_units(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_zero_gradients(name: str) -> None:
    properties.assert_zero_gradients(CASES[name])


@pytest.mark.parametrize("name", named(lambda case: case.twins))
def test_twins(name: str) -> None:
    properties.assert_twins(CASES[name])


@pytest.mark.parametrize("name", named(lambda case: case.common_descent))
def test_common_descent(name: str) -> None:
    properties.assert_common_descent(CASES[name])


@pytest.mark.parametrize("name", named(lambda case: case.stationary is not None))
def test_stationary(name: str) -> None:
    properties.assert_stationary(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_single_precision(name: str) -> None:
    properties.assert_single_precision(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_heads(name: str) -> None:
    properties.assert_heads(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_combination(name: str) -> None:
    properties.assert_combination(CASES[name])
