"""The GPU benchmark's jobs in JAX: jitted, channels last, the state of the training donated. The protocol is in worker.py.

One job per process: XLA's peak memory is not reset. Times are by the clock around calls that are waited for at the end, as JAX shows no
events.
"""
import functools
import os
import time

os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

import jax
import jax.numpy as jnp
import numpy as np
import worker

from jax_unet import denoised, energy_grad, loss, song_unet, to_jax

PRECISION = {'fp32': 'highest', 'tf32': 'tensorfloat32', 'bf16': 'tensorfloat32'}


def adam(state, grads):
    """Clipping by the global norm, Adam, and the average of the weights."""
    p, m, v, average, count = state
    count = count + 1
    norm = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(grads)))
    scale = jnp.minimum(1.0, 1.0 / (norm + 1e-6))
    m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * scale * g, m, grads)
    v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * jnp.square(scale * g), v, grads)
    c1, c2 = 1 - 0.9**count, 1 - 0.999**count
    p = jax.tree.map(lambda w, a, b: w - 1e-4 * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), p, m, v)
    average = jax.tree.map(lambda a, w: 0.999 * a + 0.001 * w, average, p)
    return p, m, v, average, count


class NetworkJob:
    def __init__(self, job):
        self.job = job
        dtype = jnp.bfloat16 if job['precision'] == 'bf16' else jnp.float32
        arguments = worker.song_unet_arguments(job)
        self.net = lambda p, x, noise: song_unet(p, arguments, x, noise, dtype)
        self.params = self.read('weights')
        self.teacher = self.read('teacher') if job['job'] == 'distill' else None
        x, sigma = worker.inputs(job)
        self.sets = [jnp.asarray(part.transpose(0, 2, 3, 1)) for part in x]
        self.sigma = jnp.asarray(sigma)

    def read(self, role):
        return {name: to_jax(name, array) for name, array in worker.tensors(self.job[role], self.job).items()}

    def evaluation(self):
        f = denoised if self.job['job'] == 'denoise' else energy_grad
        call = jax.jit(functools.partial(f, self.net))
        result = call(self.params, self.sets[0], self.sigma)
        images = result if self.job['job'] == 'denoise' else result[1]
        worker.write_images(self.job, np.asarray(images).transpose(0, 3, 1, 2))
        outputs = {} if self.job['job'] == 'denoise' else {'energy': np.asarray(result[0])[: worker.CHECKED].tolist()}
        return outputs, lambda x: call(self.params, x, self.sigma)

    def training(self):
        def gradient(p, teacher, x0, x, sigma):
            return jax.value_and_grad(lambda q: loss(self.net, q, teacher, x0, x, sigma))(p)

        def step(state, teacher, images, key):
            key, for_sigma, for_noise = jax.random.split(key, 3)
            x0 = 0.3 * images
            sigma = jnp.exp(jax.random.normal(for_sigma, (len(x0),)) * 1.2 - 1.2)
            x = x0 + sigma[:, None, None, None] * jax.random.normal(for_noise, x0.shape)
            value, grads = gradient(state[0], teacher, x0, x, sigma)
            return adam(state, grads), key, value

        x = self.sets[0]
        value, grads = jax.jit(gradient)(self.params, self.teacher, 0.3 * x, x, self.sigma)
        squares = sum(np.square(np.asarray(g, np.float64)).sum() for g in jax.tree.leaves(grads))
        outputs = {'loss': float(value), 'gradNorm': float(np.sqrt(squares))}
        del grads
        call = jax.jit(step, donate_argnums=(0, 3))
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        copy = functools.partial(jax.tree.map, jnp.copy)
        self.state = (self.params, zeros(self.params), zeros(self.params), copy(self.params), jnp.zeros(()))
        self.key = jax.random.key(0)

        def turn(x):
            self.state, self.key, value = call(self.state, self.teacher, x, self.key)
            return value

        return outputs, turn

    def run(self):
        outputs, call = self.training() if self.job['job'] in ('dsm', 'distill') else self.evaluation()
        last = None

        def turn(i):
            nonlocal last
            last = call(self.sets[i % len(self.sets)])

        def clock(calls):
            begin = time.perf_counter()
            calls()
            jax.block_until_ready(last)
            return time.perf_counter() - begin

        turn(0)  # compiles
        jax.block_until_ready(last)
        return {**worker.timed(clock, self.job, turn), 'outputs': outputs}


def answer(job):
    device = jax.devices()[0]
    if job['kind'] == 'versions':
        return {
            'jax': jax.__version__,
            'device': device.device_kind,
            'flags': 'jit, donated state, NHWC, no preallocation; bf16: products in bfloat16',
        }
    if (device.platform == 'cpu') != (job['device'] == 'cpu'):
        raise RuntimeError(f'JAX runs on {device.platform} here')
    if job['kind'] != 'network':
        raise ValueError(f'{job["job"]}: networks only')
    with jax.default_matmul_precision(PRECISION[job['precision']]):
        result = NetworkJob(job).run()
    result['deviceBytes'] = (device.memory_stats() or {}).get('peak_bytes_in_use', 0)
    return result


if __name__ == '__main__':
    worker.serve(answer)
