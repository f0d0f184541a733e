"""Philox4x32-10 and Box-Muller as their papers write them, with numpy's own log, sqrt, sin and cos."""

import numpy as np

LANES = 16


def philox4x32(counter, key):
    """counter (..., 4), key (2,) of uint32 -> (..., 4) uint32."""
    c = [np.asarray(counter[..., i], dtype=np.uint64) for i in range(4)]
    key0, key1 = (int(k) for k in key)
    mask = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        product0 = c[0] * np.uint64(0xD2511F53)
        product1 = c[2] * np.uint64(0xCD9E8D57)
        c = [
            (product1 >> np.uint64(32)) ^ c[1] ^ np.uint64(key0),
            product1 & mask,
            (product0 >> np.uint64(32)) ^ c[3] ^ np.uint64(key1),
            product0 & mask,
        ]
        key0 = (key0 + 0x9E3779B9) & 0xFFFFFFFF
        key1 = (key1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=-1).astype(np.uint32)


def normals(seed, generation, first, count, d, dtype):
    """The documented address: word w of lane l in tile t is coordinate tile_size t + 16 w + l."""
    words_per_normal = 1 if dtype == np.float32 else 2
    tile_size = 4 * LANES // words_per_normal
    tiles = -(-d // tile_size)
    block = np.arange(tiles * LANES, dtype=np.uint32)
    out = np.empty((count, d), dtype)
    for j in range(count):
        counter = np.zeros((block.size, 4), np.uint32)
        counter[:, 0] = block
        counter[:, 1] = first + j
        counter[:, 2] = generation
        word = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32)).astype(np.float64)
        if dtype == np.float32:
            pairs = [(word[:, 0] / 2**32, word[:, 1] / 2**32), (word[:, 2] / 2**32, word[:, 3] / 2**32)]
        else:
            u = (word[:, 1] // 2) / 2**31 + (word[:, 0] // 2) / 2**62  # 62 bits
            pairs = [(u, word[:, 3] / 2**32 + word[:, 2] / 2**64)]
        z = []
        for u, turn in pairs:
            radius = np.sqrt(-2 * np.log(u + (2.0**-32 if dtype == np.float32 else 2.0**-63)))
            z += [radius * np.cos(2 * np.pi * turn), radius * np.sin(2 * np.pi * turn)]
        lanes = np.stack([part.reshape(tiles, LANES) for part in z], axis=1)
        out[j] = lanes.reshape(-1)[:d]
    return out
