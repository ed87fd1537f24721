"""How a peer of the GPU benchmark talks and measures: a job as JSON per line of standard input, one JSON object per line back.

A job that fails, for want of memory or otherwise, is a line that says so, and the next one goes on.
"""
import gc
import json
import math
import os
import sys

import numpy as np

CHECKED = 8  # samples whose outputs are compared
WARM_UP, MOST = 3, 1000


def serve(answer, cleared=lambda: None):
    """Answers every line of standard input; what libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            result = answer(json.loads(line))
        except Exception as error:  # whatever it is, it is this job's only
            text = f'{type(error).__name__}: {error}'.strip()
            memory = 'out of memory' in text.lower() or 'RESOURCE_EXHAUSTED' in text or isinstance(error, MemoryError)
            result = {'error': {'kind': 'memory' if memory else 'failure', 'message': text[:400]}}
        gc.collect()
        cleared()
        print(json.dumps(result), file=out, flush=True)


def timed(clock, job, work):
    """Median and quartiles of work(0), work(1), ... by clock(calls), which gives seconds. As bench/native/timing.h."""
    index = 0

    def calls(n):
        nonlocal index
        for _ in range(n):
            work(index)
            index += 1

    calls(WARM_UP)
    once = clock(lambda: calls(1))
    repeats = min(1000, max(1, math.ceil(1e-3 / max(once, 1e-9))))
    times = []
    while len(times) < job['least'] or (sum(times) * repeats < job['seconds'] and len(times) < MOST):
        times.append(clock(lambda: calls(repeats)) / repeats)
    times.sort()
    n = len(times)
    return {'seconds': times[n // 2], 'quartiles': [times[n // 4], times[3 * n // 4]], 'runs': n}


def song_unet_arguments(job):
    """The network of a job, by the names of NVlabs/edm."""
    return {
        'img_resolution': job['resolution'],
        'in_channels': job['channels'],
        'out_channels': job['channels'],
        'model_channels': job['width'],
        'channel_mult': job['mult'],
        'channel_mult_emb': 4,
        'channel_mult_noise': 1,
        'num_blocks': job['blocks'],
        'attn_resolutions': job['attention'],
    }


def tensors(path, job):
    """{name: array in PyTorch's layout} from a file of numbers and the list of what they are."""
    with open(job['parameters'], encoding='utf8') as file:
        entries = json.load(file)
    flat = np.fromfile(path, np.float32)
    return {p['name']: flat[p['offset'] : p['offset'] + p['size']].reshape(p['shape']) for p in entries}


def inputs(job):
    """x [sets, batch, channels, height, width] and sigma [batch]."""
    shape = [job['sets'], job['batch'], job['channels'], job['resolution'], job['resolution']]
    x = np.fromfile(job['x'], np.float32, count=math.prod(shape)).reshape(shape)
    return x, np.fromfile(job['sigma'], np.float32, count=job['batch'])


def write_images(job, images):
    """The first samples, channels first, for the comparison with the other sides."""
    np.ascontiguousarray(images[:CHECKED], np.float32).tofile(job['outputs'])
