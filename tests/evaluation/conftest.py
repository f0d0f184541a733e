"""Dask clusters for the tests of its source."""

import pytest


@pytest.fixture(scope="module")
def cluster():
    from tests.evaluation.dask_calls import make_cluster

    with make_cluster(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    from tests.evaluation.dask_calls import distributed

    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def empty_client():
    from tests.evaluation.dask_calls import distributed, make_cluster

    with make_cluster(0) as cluster, distributed.Client(cluster) as client:
        yield client
