"""The benchmark's jobs in PyTorch on the CPU: what its users would write, eager, double backward by autograd.

Speaks over standard input and output as ../worker.mjs does.
"""
import json
import math
import os
import re
import resource
import struct
import sys
import time

import numpy as np
import torch

from song_unet import SongUNet, denoise, energy_grad, precondition


def load(path):
    """Model file -> (network arguments, {name: tensor})."""
    with open(path, 'rb') as f:
        (n,) = struct.unpack('<Q', f.read(8))
        header = json.loads(f.read(n))
        data = f.read()
    info = json.loads(header.pop('__metadata__')['feynkac'])
    tensors = {}
    for name, t in header.items():
        begin, end = t['data_offsets']
        tensors[name] = torch.from_numpy(np.frombuffer(data[begin:end], np.float32).reshape(t['shape']).copy())
    return info['network']['args'], tensors


def network(path, channels_last):
    args, tensors = load(path)
    net = SongUNet(args)
    net.load_state_dict(tensors)
    return net.to(memory_format=torch.channels_last) if channels_last else net


class Training:
    def __init__(self, job, objective):
        self.student = network(job['model'], job['channels_last'])
        if objective == 'distill':
            self.teacher = network(job['teacher'], job['channels_last']).requires_grad_(False)
        self.objective = objective
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=1e-4)
        self.average = [p.detach().clone() for p in self.student.parameters()]

    def gradient(self, x0, x, sigma):
        s, c_in, c_skip, c_out = precondition(sigma)
        u, noise = c_in * x, sigma.log() / 4
        if self.objective == 'dsm':
            loss = ((self.student(u, noise) - (x0 - c_skip * x) / c_out) ** 2).mean()
        else:
            with torch.no_grad():
                target = self.teacher(u, noise)
            u = u.detach().requires_grad_()
            phi = 0.5 * (u * self.student(u, noise)).sum()
            (g,) = torch.autograd.grad(phi, u, create_graph=True)
            loss = ((g - target) ** 2).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()

    def step(self, x0):
        sigma = (torch.randn(len(x0)) * 1.2 - 1.2).exp()
        x = x0 + sigma[:, None, None, None] * torch.randn_like(x0)
        loss = self.gradient(x0, x, sigma)
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(self.average, 0.999)
            torch._foreach_add_(self.average, list(self.student.parameters()), alpha=0.001)
        return loss


def numbers(path, shape):
    return torch.from_numpy(np.fromfile(path, np.float32).reshape(shape))


def unet_job(job):
    x = numbers(job['x'], job['shape'])
    sigma = numbers(job['sigma'], [len(x)])
    x = x.contiguous(memory_format=torch.channels_last) if job['channels_last'] else x
    if job['job'] in ('denoise', 'energyGrad'):
        net = network(job['model'], job['channels_last']).requires_grad_(False)
    if job['job'] == 'denoise':
        return lambda: denoise(net, x, sigma), {'norm': denoise(net, x, sigma).double().norm().item()}
    if job['job'] == 'energyGrad':
        energy, grad = energy_grad(net, x, sigma)
        return lambda: energy_grad(net, x, sigma), {'energy': energy.tolist(), 'norm': grad.double().norm().item()}
    training = Training(job, job['job'])
    loss = training.gradient(0.3 * x, x, sigma).item()
    return lambda: training.step(0.3 * x), {'loss': loss}


def systematic(weights):
    """particles-style: ordered points against the running sum."""
    n = len(weights)
    points = (np.random.rand() + np.arange(n)) / n
    return np.minimum(np.searchsorted(np.cumsum(weights), points), n - 1)


def resample_job(job):
    weights = np.exp(np.random.randn(job['n']))
    weights /= weights.sum()
    return lambda: systematic(weights), {}


def smc_job(job):
    n, d, v, tau = job['n'], job['d'], 0.04, 0.03
    x, grad = torch.randn(n, d), torch.randn(n, d)
    u_before, u_after = torch.randn(n, dtype=torch.float64), torch.randn(n, dtype=torch.float64)

    def step():
        noise = torch.randn(n, d)
        y = x - v * grad + math.sqrt(tau) * noise
        log_m = -0.5 * (noise**2).sum(1, dtype=torch.float64)
        log_l = -0.5 / v * ((y - x) ** 2).sum(1, dtype=torch.float64)
        w = u_before - u_after + (log_l - log_m) * 1e-3
        w = (w - torch.logsumexp(w, 0)).exp()
        ancestors = torch.from_numpy(systematic(w.numpy()))
        return y[ancestors], grad[ancestors]

    return step, {}


def peak():
    """Peak resident memory since reset_peak, in bytes; where the system cannot reset it, since the start of the process."""
    if sys.platform != 'linux':
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
    with open('/proc/self/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmHWM')) * 1024


def reset_peak():
    """Makes what is resident now the peak, and returns it in bytes."""
    if sys.platform != 'linux':
        return peak()
    with open('/proc/self/clear_refs', 'w') as f:
        f.write('5')
    with open('/proc/self/statm') as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def capability():
    """The instruction set that PyTorch's own kernels use: AVX2, AVX512 or such."""
    return re.search(r'CPU capability usage: (\w+)', torch.__config__.show()).group(1)


def blas():
    """The library of matrix products that is loaded, where the system tells: Debian's package takes the reference one if no other is there."""
    if sys.platform != 'linux':
        return None
    with open('/proc/self/maps') as f:
        names = {os.path.basename(line.split()[-1]) for line in f if '/' in line}
    return ' '.join(sorted(name for name in names if re.search('blas|mkl_(rt|core)|blis', name))) or None


def make(job):
    return {'resample': resample_job, 'smc': smc_job}.get(job['job'], unet_job)(job)


def main():
    torch.manual_seed(0)
    start, work = 0, None
    for line in sys.stdin:
        asked = json.loads(line)
        torch.set_num_threads(asked['threads'])
        if 'job' in asked:
            small, _ = make({**asked, **asked['small']})
            small()
            start = reset_peak()
            work, outputs = make(asked)
            said = {'version': torch.__version__, 'capability': capability(), 'outputs': outputs}
            print(json.dumps(said), flush=True)
        else:
            begin = time.perf_counter()
            for _ in range(asked['calls']):
                work()
            print(json.dumps({'seconds': time.perf_counter() - begin}), flush=True)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({'bytes': peak() - start, 'cpu': used.ru_utime + used.ru_stime}), flush=True)


if __name__ == '__main__':
    main()
