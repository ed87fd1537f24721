"""Writes metrics.json, what NumPy computes in float64 by other ways than lib/metrics, and features.onnx, a small network.

Run it again only to change them: python3 test/vectors/make_metrics.py
"""

import json
import os
import struct

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)


def points(n, dim, shift=0.0, scale=1.0):
    """Multiples of 1/64: exact in float32 and short in JSON."""
    mixed = rng.normal(size=(n, dim)) @ (np.eye(dim) + 0.5 * rng.normal(size=(dim, dim)) / np.sqrt(dim))
    return np.round((shift + scale * mixed) * 64) / 64


def frechet(a, b):
    """By the root of the first covariance, or where that is regular by the eigenvalues of the product: both must agree."""
    s1, s2 = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    values, vectors = np.linalg.eigh(s1)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    trace = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ s2 @ root), 0)).sum()
    if values[0] > 1e-9:
        assert abs(np.sqrt(np.linalg.eigvals(s1 @ s2)).sum().real - trace) < 1e-9 * trace
    shift = a.mean(0) - b.mean(0)
    return shift @ shift + np.trace(s1) + np.trace(s2) - 2 * trace


def kid(x, y):
    n, dim = x.shape
    k = lambda p, q: (p @ q.T / dim + 1) ** 3
    off = lambda m: (m.sum() - np.trace(m)) / (n * (n - 1))
    return off(k(x, x)) + off(k(y, y)) - 2 * k(x, y).mean()


def kernel(a, b, size):
    count = min(len(a), len(b)) // size
    values = [kid(a[s * size : (s + 1) * size], b[s * size : (s + 1) * size]) for s in range(count)]
    return {"mean": np.mean(values), "standardError": np.std(values, ddof=1) / np.sqrt(count), "subsets": count}


def distances(a, b):
    return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))


def radii(x, k):
    return np.sort(distances(x, x), axis=1)[:, k]  # the nearest is the point itself


def precision_recall(samples, data, k):
    d = distances(samples, data)
    return {
        "precision": (d <= radii(data, k)[None]).any(1).mean(),
        "recall": (d <= radii(samples, k)[:, None]).any(0).mean(),
    }


def density_coverage(samples, data, k):
    inside = distances(samples, data) <= radii(data, k)[None]
    return {"density": inside.sum() / (k * len(samples)), "coverage": inside.any(0).mean()}


def sliced(a, b, directions, counts_a, counts_b):
    """Weights are whole numbers over their sum, so that repeated points make both sides equally many and equally weighted."""
    n, m = counts_a.sum(), counts_b.sum()
    common = np.lcm(n, m)
    x = np.sort(np.repeat(a, counts_a * (common // n), axis=0) @ directions.T, axis=0)
    y = np.sort(np.repeat(b, counts_b * (common // m), axis=0) @ directions.T, axis=0)
    return np.sqrt(((x - y) ** 2).mean())


def mmd(a, b, w, v, bandwidths):
    k = lambda p, q: sum(np.exp(-distances(p, q) ** 2 / (2 * s * s)) for s in bandwidths)
    within = lambda x, p: (p @ (k(x, x) * (1 - np.eye(len(x)))) @ p) / (1 - p @ p)
    return within(a, w) + within(b, v) - 2 * w @ k(a, b) @ v


def metrics():
    a, b = points(61, 7), points(45, 7, 0.3, 1.2)
    b[1] = b[0]  # a ball of no radius, for k = 1
    flat, wide = points(9, 16), points(21, 16, 0.2)
    many, more = points(301, 2), points(150, 2, 0.3)  # more than a block of lib/metrics/blocks.ts
    directions = rng.normal(size=(5, 7))
    directions = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    counts_a, counts_b = rng.integers(0, 4, 61), rng.integers(1, 3, 45)
    ones = lambda x: np.ones(len(x), dtype=int)
    share = lambda c: c / c.sum()
    pooled = np.concatenate([a, b])
    median = np.median(distances(pooled, pooled)[np.triu_indices(len(pooled), 1)])
    widths = [0.8, 2.5]
    both = lambda f: {"plain": f(ones(a), ones(b)), "weighted": f(counts_a, counts_b)}
    return {
        "inputs": {
            **{"dim": 7, "a": a, "b": b, "flat": flat, "wide": wide, "directions": directions},
            **{"many": many, "more": more},
            **{"countsA": counts_a, "countsB": counts_b, "bandwidths": widths},
        },
        "frechet": {"ab": frechet(a, b), "flatWide": frechet(flat, wide), "one": frechet(a[:, :1], b[:, :1])},
        "kernel": kernel(a, b, 14),
        "precisionRecall": {k: precision_recall(a, b, k) for k in (1, 3)},
        "densityCoverage": {k: density_coverage(a, b, k) for k in (1, 5)},
        "slicedWasserstein": both(lambda p, q: sliced(a, b, directions.astype(float), p, q)),
        "blocks": {
            "precisionRecall": precision_recall(many, more, 3),
            "densityCoverage": density_coverage(many, more, 5),
            "mmd": mmd(many, more, share(ones(many)), share(ones(more)), widths),
            "kernel": kernel(many, np.concatenate([more, more + 1 / 64]), 150),
        },
        "mmd": {**both(lambda p, q: mmd(a, b, share(p), share(q), widths)), "median": median},
    }


# ONNX is protobuf: fields of a number and a wire type (0 varint, 2 bytes), so a few lines write a network


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def number(field, value):
    return varint(field << 3) + varint(value)


def text(field, value):
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def ints(name, values):
    return text(5, text(1, name) + b"".join(number(8, v) for v in values) + number(20, 7))


def node(op, inputs, output, attributes=b""):
    return text(1, b"".join(text(1, i) for i in inputs) + text(2, output) + text(4, op) + attributes)


def value(field, name, dims):
    shape = b"".join(text(1, text(2, d) if isinstance(d, str) else number(1, d)) for d in dims)
    return text(field, text(1, name) + text(2, text(1, number(1, 1) + text(2, shape))))


def tensor(name, array):
    raw = array.astype("<f4").tobytes()
    return text(5, b"".join(number(1, d) for d in array.shape) + number(2, 1) + text(8, name) + text(9, raw))


def network():
    """Conv 2x2, ReLU, mean over the image: [n, 3, 4, 4] -> [n, 5]."""
    weight = np.round(rng.normal(size=(5, 3, 2, 2)) * 64) / 64
    graph = (
        node("Conv", ["images", "weight"], "c", ints("kernel_shape", [2, 2]) + ints("strides", [2, 2]))
        + node("Relu", ["c"], "r")
        + node("GlobalAveragePool", ["r"], "p")
        + node("Flatten", ["p"], "features")
        + text(2, "features")
        + tensor("weight", weight)
        + value(11, "images", ["n", 3, 4, 4])
        + value(12, "features", ["n", 5])
    )
    model = number(1, 8) + text(7, graph) + text(8, text(1, "") + number(2, 13))
    with open(os.path.join(HERE, "features.onnx"), "wb") as file:
        file.write(model)
    pixels = rng.integers(0, 256, size=(3, 3, 4, 4))
    mean, std = np.array([0.5, 0.25, 0.75]), np.array([0.5, 2.0, 1.0])
    x = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    patches = x.reshape(3, 3, 2, 2, 2, 2).transpose(0, 2, 4, 1, 3, 5)  # image, row, column, channel, 2, 2
    features = np.maximum(np.einsum("nhwcij,ocij->nhwo", patches, weight), 0).mean((1, 2))
    return {"pixels": pixels.ravel(), "mean": mean, "std": std, "features": features.ravel()}


def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    return value.item() if isinstance(value, np.generic) else value


with open(os.path.join(HERE, "metrics.json"), "w") as file:
    json.dump(plain({**metrics(), "onnx": network()}), file)
    file.write("\n")
