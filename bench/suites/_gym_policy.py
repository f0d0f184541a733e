"""Linear policies on MO-Gymnasium: episodes, in worker processes, and the normalisation of observations."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """One episode: where, how long at most, whose policy, how observations are normalised, which start."""

    environment: str
    steps: int
    policy: FloatArray  # (d,) = (actions * observations,)
    shift: FloatArray  # (observations,)
    scale: FloatArray  # (observations,)
    seed: int


@dataclass(frozen=True)
class Episode:
    """What came of it; observations as number, sum and sum of squares."""

    returns: FloatArray  # (m,)
    length: int
    total: FloatArray
    squares: FloatArray


@lru_cache(maxsize=4)
def environment(name: str, steps: int) -> Any:
    """Return the environment, made once per process."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import mo_gymnasium
    import mujoco

    mujoco.set_mju_user_warning(lambda message: None)  # the default writes MUJOCO_LOG.TXT into the current folder
    return mo_gymnasium.make(name, max_episode_steps=steps)


def sizes(name: str, steps: int) -> tuple[int, int, int]:
    """Return the numbers of actions, observations and objectives."""
    env = environment(name, steps)
    return env.action_space.shape[0], env.observation_space.shape[0], env.unwrapped.reward_space.shape[0]


def units(name: str, steps: int) -> FloatArray:
    """Return what Gymnasium multiplies each reward by when it adds them up, (m,): the cost of control has a weight."""
    env = environment(name, steps).unwrapped
    weights = np.ones(env.reward_space.shape[0])
    weights[-1] = env._ctrl_cost_weight
    return weights


def play(order: Order) -> Episode:
    """Play one episode with the policy clip(W (observation - shift) / scale)."""
    env = environment(order.environment, order.steps)
    low, high = env.action_space.low, env.action_space.high
    observation, _ = env.reset(seed=order.seed)
    weights = order.policy.reshape(len(low), len(observation)) / order.scale
    returns: Any = 0.0
    total, squares, length, over = np.zeros(len(observation)), np.zeros(len(observation)), 0, False
    while not over:
        total += observation
        squares += observation**2
        action = np.clip(weights @ (observation - order.shift), low, high)
        observation, reward, terminated, truncated, _ = env.step(action)
        returns = returns + np.asarray(reward, dtype=np.float64)
        length += 1
        over = terminated or truncated
    return Episode(returns, length, total, squares)


class Players:
    """Worker processes that play episodes; with ``jobs=1`` this process does. The answers do not depend on it."""

    def __init__(self, jobs: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(jobs, mp_context=context) if jobs > 1 else None
        self._jobs = jobs

    def play(self, orders: Sequence[Order]) -> list[Episode]:
        """Return the episodes in the order of the orders."""
        if self._pool is None:
            return [play(order) for order in orders]
        return list(self._pool.map(play, orders, chunksize=max(1, len(orders) // (2 * self._jobs))))

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown()


class Normaliser:
    """Running mean and standard deviation of all observations of a run; they change between generations only."""

    def __init__(self, n_observations: int) -> None:
        self._count = 0
        self._total, self._squares = np.zeros(n_observations), np.zeros(n_observations)

    def learn(self, episodes: Sequence[Episode]) -> None:
        """Take the observations of these episodes in, in their order."""
        for episode in episodes:
            self._count += episode.length
            self._total += episode.total
            self._squares += episode.squares

    @property
    def shift(self) -> FloatArray:
        """Mean of each observation; 0 before the first episode."""
        return self._total / max(self._count, 1)

    @property
    def scale(self) -> FloatArray:
        """Standard deviation of each observation, 1 where it does not vary and before the first episode."""
        if self._count == 0:
            return np.ones_like(self._total)
        variance = self._squares / self._count - self.shift**2
        return np.where(variance > 1e-8, np.sqrt(np.maximum(variance, 0.0)), 1.0)
