"""The benchmark's jobs in PyTorch on the CPU: what its users would write, eager, double backward by autograd.

Reads one job as JSON from standard input and prints one JSON line: median seconds, peak memory over the start, and outputs to
compare. The network is DDPM++ (NVlabs/edm's SongUNet) written from its description, with its parameter names.
"""
import json
import math
import resource
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def group_norm(channels):
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class Block(nn.Module):
    def __init__(self, cin, cout, emb, attention=False, resample=None):
        super().__init__()
        self.resample = resample
        self.norm0 = group_norm(cin)
        self.conv0 = nn.Conv2d(cin, cout, 3, padding=1)
        self.affine = nn.Linear(emb, cout)
        self.norm1 = group_norm(cout)
        self.conv1 = nn.Conv2d(cout, cout, 3, padding=1)
        self.skip = nn.Conv2d(cin, cout, 1) if cin != cout or resample else None
        if attention:
            self.norm2 = group_norm(cout)
            self.qkv = nn.Conv2d(cout, 3 * cout, 1)
            self.proj = nn.Conv2d(cout, cout, 1)
        self.attention = attention

    def resized(self, x):
        if self.resample == 'up':
            return F.interpolate(x, scale_factor=2, mode='nearest')
        return F.avg_pool2d(x, 2) if self.resample == 'down' else x

    def forward(self, x, emb):
        h = self.conv0(self.resized(F.silu(self.norm0(x))))
        h = self.conv1(F.silu(self.norm1(h + self.affine(emb)[:, :, None, None])))
        x = (h + (self.skip(self.resized(x)) if self.skip else x)) * math.sqrt(0.5)
        if not self.attention:
            return x
        b, c, height, width = x.shape
        q, k, v = self.qkv(self.norm2(x)).reshape(b, c, 3, height * width).unbind(2)
        w = torch.softmax(torch.einsum('ncq,nck->nqk', q, k / math.sqrt(c)), dim=2)
        a = torch.einsum('nqk,nck->ncq', w, v).reshape(b, c, height, width)
        return (self.proj(a) + x) * math.sqrt(0.5)


class SongUNet(nn.Module):
    def __init__(self, a):
        super().__init__()
        width, emb = a['model_channels'], a['model_channels'] * a['channel_mult_emb']
        self.noise_channels = width * a['channel_mult_noise']
        self.map_layer0 = nn.Linear(self.noise_channels, emb)
        self.map_layer1 = nn.Linear(emb, emb)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        channels, skips = a['in_channels'], []
        for level, mult in enumerate(a['channel_mult']):
            res = a['img_resolution'] >> level
            name = f'{res}x{res}'
            if level == 0:
                self.enc[f'{name}_conv'] = nn.Conv2d(channels, width, 3, padding=1)
                channels = width
            else:
                self.enc[f'{name}_down'] = Block(channels, channels, emb, resample='down')
            skips.append(channels)
            for i in range(a['num_blocks']):
                self.enc[f'{name}_block{i}'] = Block(channels, width * mult, emb, res in a['attn_resolutions'])
                channels = width * mult
                skips.append(channels)
        for level, mult in reversed(list(enumerate(a['channel_mult']))):
            res = a['img_resolution'] >> level
            name = f'{res}x{res}'
            if level == len(a['channel_mult']) - 1:
                self.dec[f'{name}_in0'] = Block(channels, channels, emb, True)
                self.dec[f'{name}_in1'] = Block(channels, channels, emb)
            else:
                self.dec[f'{name}_up'] = Block(channels, channels, emb, resample='up')
            for i in range(a['num_blocks'] + 1):
                attention = i == a['num_blocks'] and res in a['attn_resolutions']
                self.dec[f'{name}_block{i}'] = Block(channels + skips.pop(), width * mult, emb, attention)
                channels = width * mult
        name = f"{a['img_resolution']}x{a['img_resolution']}"
        self.dec[f'{name}_aux_norm'] = group_norm(channels)
        self.dec[f'{name}_aux_conv'] = nn.Conv2d(channels, a['out_channels'], 3, padding=1)

    def forward(self, x, noise):
        half = self.noise_channels // 2
        freqs = (1 / 10000) ** (torch.arange(half, dtype=torch.float32) / (half - 1))
        t = noise[:, None] * freqs
        emb = F.silu(self.map_layer0(torch.cat([t.sin(), t.cos()], dim=1)))
        emb = F.silu(self.map_layer1(emb))
        skips = []
        for layer in self.enc.values():
            x = layer(x, emb) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for name, layer in self.dec.items():
            if name.endswith('aux_norm'):
                x = F.silu(layer(x))
            elif name.endswith('aux_conv'):
                x = layer(x)
            else:
                x = layer(torch.cat([x, skips.pop()], dim=1) if '_block' in name else x, emb)
        return x


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


SD = 0.5


def precondition(x, sigma):
    s = sigma[:, None, None, None]
    return s, 1 / (s**2 + SD**2).sqrt(), SD**2 / (s**2 + SD**2), s * SD / (s**2 + SD**2).sqrt()


def energy_grad(net, x, sigma):
    """E(x, sigma) and its gradient for the dot head: Phi = <u, h(u)> / 2."""
    s, c_in, _, c_out = precondition(x, sigma)
    u = (c_in * x).detach().requires_grad_()
    phi = 0.5 * (u * net(u, sigma.log() / 4)).sum((1, 2, 3))
    (g,) = torch.autograd.grad(phi.sum(), u)
    energy = 0.5 * (u.double() ** 2).sum((1, 2, 3)) - (SD / sigma) * phi
    return energy.detach(), x / (s**2 + SD**2) - (c_out / s**2) * g


class Training:
    def __init__(self, job, objective):
        self.student = network(job['model'], job['channels_last'])
        self.teacher = network(job['teacher'], job['channels_last']).requires_grad_(False)
        self.objective = objective
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=1e-4)
        self.average = [p.detach().clone() for p in self.student.parameters()]

    def gradient(self, x0, x, sigma):
        s, c_in, c_skip, c_out = precondition(x, sigma)
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
    if job['job'] == 'energyGrad':
        net = network(job['model'], job['channels_last']).requires_grad_(False)
        energy, grad = energy_grad(net, x, sigma)
        return lambda: energy_grad(net, x, sigma), {'energy': energy.tolist(), 'gradNorm': grad.double().norm().item()}
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


def main():
    job = json.load(sys.stdin)
    torch.set_num_threads(job['threads'])
    torch.manual_seed(0)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    make = {'resample': resample_job, 'smc': smc_job}.get(job['job'], unet_job)
    work, outputs = make(job)
    for _ in range(job['warmup']):
        work()
    times = []
    while len(times) < job['repeats'] or sum(times) < job['seconds']:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024
    print(json.dumps({'seconds': sorted(times)[len(times) // 2], 'bytes': peak, 'version': torch.__version__, **outputs}))


if __name__ == '__main__':
    main()
