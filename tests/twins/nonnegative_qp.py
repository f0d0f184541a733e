"""The active-set method for the quadratic program over non-negative variables, in numpy."""

import numpy as np

EPS = np.finfo(np.float64).eps


def nonnegative_qp(matrix, linear):
    """y, or None where the value has no bound."""
    y, has_bound = active_set(matrix, linear, False)
    return y if has_bound else None


def bounded_qp(matrix, linear):
    return active_set(matrix, linear, True)[0]


def active_set(matrix, linear, bounded):
    """Return y, and False if the value falls without bound from there."""
    m = len(linear)
    unit = 8.0 * (m + 4) * EPS
    magnitude, size = np.abs(matrix), np.abs(linear)
    y, face = np.zeros(m), np.zeros(0, dtype=np.intp)
    banned = np.zeros(m, dtype=bool)
    seen = {face.tobytes()}
    for _ in range(20 * m + 50):
        slack = matrix @ y + linear
        wanted = slack < -unit * (magnitude @ y + size)
        wanted[face] = False
        wanted[banned] = False
        if not wanted.any():
            break
        entering = int(np.where(wanted, slack, 0.0).argmin())
        moved = enter(matrix, linear, y, face, entering)
        if moved is None and not bounded:
            return y, False
        key = b"" if moved is None else np.sort(moved[1]).tobytes()
        if moved is None or key in seen:  # a violation that was rounding
            banned[entering] = True
            continue
        seen.add(key)
        y, face = moved
        banned[:] = False
    return y, True


def enter(matrix, linear, start, face, entering):
    """Walk to the minimum on the face with one more index; None where the value falls for ever."""
    y, face = start.copy(), np.append(face, entering)
    while face.size:
        block = matrix[np.ix_(face, face)]
        target = None if singular(block) else np.linalg.solve(block, -linear[face])
        if target is None or (y[entering] == 0.0 and target[-1] <= 0.0):  # the pivot of what enters is rounding
            # C z = 0, and the value falls along z as it does with the entering variable
            change = np.append(-np.linalg.lstsq(block[:-1, :-1], block[:-1, -1], rcond=None)[0], 1.0)
            falling = change < -1e-12 * np.abs(change).max()
            if not falling.any():
                return None
        else:
            if (target > 0.0).all():
                y[face] = target
                break
            change = target - y[face]
            falling = target <= 0.0
        steps = np.full(face.size, np.inf)
        steps[falling] = y[face[falling]] / np.maximum(-change[falling], np.finfo(np.float64).tiny)
        blocking = int(steps.argmin())
        y[face] = np.maximum(y[face] + steps[blocking] * change, 0.0)
        y[face[blocking]] = 0.0
        face = np.delete(face, blocking)
    return y, face


def singular(block):
    try:
        pivots = np.diag(np.linalg.cholesky(block)) ** 2
    except np.linalg.LinAlgError:
        return True
    return bool(pivots.min() <= 64.0 * len(block) * EPS)
