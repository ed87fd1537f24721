"""Noised procedural pictures of 12 x 12 and what their exact law says of them, by brute force in float64, into shapes.json beside this file.

python3 make_shapes.py    numpy alone; independent of packages/lab/src/experiments/exact-shapes.ts: brightness by Gauss-Legendre, one fine grid, nothing left out.
"""
import json, os
import numpy as np

SIDE, NEAR, RADIUS, SHIFT, STRETCH = 12, .3125, .25, .045, .09
GRID = (37, 31)
nodes, weights = np.polynomial.legendre.leggauss(24)
LIGHT, LIGHT_WEIGHTS = .9 + .1 * nodes, weights / 2


def cover(kind, sx, sy, sr):
    """[k, 144] of parameters [k] from -1 to 1"""
    shape, place = divmod(kind, 4)
    centre = np.arange(SIDE) + .5
    x = ((1 - NEAR if place % 2 else NEAR) + sx * SHIFT) * SIDE
    y = ((1 - NEAR if place >= 2 else NEAR) + sy * SHIFT) * SIDE
    r = (RADIUS * SIDE * (1 + sr * STRETCH))[:, None, None]
    dx, dy = np.abs(centre[None, None, :] - x[:, None, None]), np.abs(centre[None, :, None] - y[:, None, None])
    if shape == 0: d = np.abs(np.hypot(dx, dy) - .8 * r) - .22 * r
    elif shape == 1: d = np.maximum(dx, dy) - .88 * r
    else: d = np.maximum(np.maximum(dx, dy) - 1.1 * r, np.minimum(dx, dy) - .33 * r)
    return np.clip(.5 - d, 0, 1).reshape(len(sx), -1)


def mids(n): return (np.arange(n) + .5) / n * 2 - 1


points = [(sigma, kind, share) for sigma in (5, 1, .4, .15) for kind, share in ((2, 1), (9, .5 ** .5))]
rng = np.random.default_rng(7)
X = []
for sigma, kind, share in points:
    sx, sy, sr, b = rng.uniform(-1, 1, 4)
    clean = 2 * (.9 + .1 * b) * cover(kind, *(np.array([v]) for v in (sx, sy, sr)))[0] - 1
    X.append((clean + sigma * share * rng.standard_normal(SIDE * SIDE)).astype(np.float32))
Y = np.stack(X).astype(float) + 1
S = np.array([sigma for sigma, _, _ in points])
axes = np.meshgrid(mids(GRID[0]), mids(GRID[0]), mids(GRID[1]), indexing='ij')
logs, means, seconds = [], [], []
for kind in range(12):
    c = cover(kind, *(a.ravel() for a in axes))
    cc, yc, yy = (c * c).sum(1), Y @ c.T, (Y * Y).sum(1)
    for i, sigma in enumerate(S):
        e = -(yy[i] - 4 * LIGHT[:, None] * yc[i] + 4 * LIGHT[:, None] ** 2 * cc) / (2 * sigma ** 2) + np.log(LIGHT_WEIGHTS)[:, None]
        top = e.max()
        w = np.exp(e - top)
        logs.append(top + np.log(w.sum() / len(c)))
        means.append(2 * (w * LIGHT[:, None]).sum(0) @ c / w.sum())
        seconds.append(4 * (w * LIGHT[:, None] ** 2 * cc).sum() / w.sum())
out = []
for i, sigma in enumerate(S):
    l, m, q = (np.array(v[i::len(S)]) for v in (logs, means, seconds))
    top = l.max()
    k = np.exp(l - top)
    energy = -(top + np.log(k.mean())) + SIDE ** 2 / 2 * np.log(2 * np.pi * sigma ** 2)
    k /= k.sum()
    d = k @ m
    out.append({'sigma': float(sigma), 'x': [float(v) for v in X[i]], 'energy': round(float(energy), 6), 'dimension': round(float((k @ q - d @ d) / sigma ** 2), 6),
                'kinds': [round(float(v), 6) for v in k], 'denoised': [round(float(v), 5) for v in d - 1]})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'shapes.json'), 'w') as file:
    file.write('[\n' + ',\n'.join(json.dumps(o) for o in out) + '\n]\n')
