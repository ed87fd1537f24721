"""The GPU benchmark's jobs in PyTorch: eager, as CUDA graphs, or compiled. The protocol is in worker.py.

As its users would write them: channels last, cudnn.benchmark, fused attention where nothing differentiates its backward pass, fused
Adam, foreach averages; tf32 by the switches, bf16 by autocast with float32 weights.
"""
import contextlib
import time

import torch
import worker

from song_unet import Block, SongUNet, energy_grad, precondition

torch.backends.cudnn.benchmark = True


def use_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != 'fp32'


def clock(device):
    if device == 'cpu':

        def by_the_clock(calls):
            begin = time.perf_counter()
            calls()
            return time.perf_counter() - begin

        return by_the_clock

    def by_events(calls):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        calls()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    return by_events


def captured(work):
    """work() as one CUDA graph, whose replay costs one launch; and what it returned."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(worker.WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph, result


class NetworkJob:
    def __init__(self, job):
        self.job, self.device = job, job['device']
        use_precision(job['precision'])
        x, sigma = worker.inputs(job)
        last = torch.channels_last
        self.sets = [torch.from_numpy(part).to(self.device).contiguous(memory_format=last) for part in x]
        self.sigma = torch.from_numpy(sigma).to(self.device)
        self.student = self.network('weights', double_backward=job['job'] == 'distill')
        self.trains = job['job'] in ('dsm', 'distill')
        if not self.trains:
            self.student.requires_grad_(False)
        if job['job'] == 'distill':
            self.teacher = self.network('teacher', double_backward=False).requires_grad_(False)
        # a graph reads its inputs from one place
        self.x = self.sets[0].clone()
        if job['mode'] == 'compile':
            self.student.compile() if hasattr(self.student, 'compile') else self.refuse('torch.compile')

    @staticmethod
    def refuse(what):
        raise RuntimeError(f'{what}: not in PyTorch {torch.__version__}')

    def network(self, role, double_backward):
        net = SongUNet(worker.song_unet_arguments(self.job))
        weights = {name: torch.from_numpy(array) for name, array in worker.tensors(self.job[role], self.job).items()}
        net.load_state_dict(weights)
        for block in net.modules():
            if isinstance(block, Block):
                block.fused_attention = not double_backward and hasattr(torch.nn.functional, 'scaled_dot_product_attention')
        return net.to(self.device, memory_format=torch.channels_last)

    def apply(self, net):
        """net in the job's precision."""

        def call(u, noise):
            bf16 = self.job['precision'] == 'bf16'
            graphs = self.job['mode'] == 'graphs'  # the cache of cast weights would not survive the capture
            context = torch.autocast(self.device, torch.bfloat16, cache_enabled=not graphs) if bf16 else contextlib.nullcontext()
            with context:
                return net(u, noise).float()

        return call

    def denoised(self, x, sigma, net):
        _, c_in, c_skip, c_out = precondition(sigma)
        with torch.no_grad():
            return c_skip * x + c_out * self.apply(net)(c_in * x, sigma.log() / 4)

    def gradient(self, x0, x, sigma):
        """The loss, its gradient left in the parameters."""
        _, c_in, c_skip, c_out = precondition(sigma)
        u, noise = c_in * x, sigma.log() / 4
        if self.job['job'] == 'dsm':
            loss = ((self.apply(self.student)(u, noise) - (x0 - c_skip * x) / c_out) ** 2).mean()
        else:
            with torch.no_grad():
                target = self.apply(self.teacher)(u, noise)
            u = u.detach().requires_grad_()
            phi = 0.5 * (u * self.apply(self.student)(u, noise)).sum()
            (g,) = torch.autograd.grad(phi, u, create_graph=True)
            loss = ((g - target) ** 2).mean()
        for p in self.parameters():
            p.grad = None
        loss.backward()
        return loss.detach()

    def parameters(self):
        return list(self.student.parameters())

    def step(self):
        x0 = 0.3 * self.x
        sigma = (torch.randn(len(x0), device=self.device) * 1.2 - 1.2).exp()
        x = x0 + sigma[:, None, None, None] * torch.randn_like(x0)
        loss = self.gradient(x0, x, sigma)
        torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(self.average, 0.999)
            torch._foreach_add_(self.average, self.parameters(), alpha=0.001)
        return loss

    def check(self):
        x, name = self.sets[0], self.job['job']
        if name == 'denoise':
            worker.write_images(self.job, self.denoised(x, self.sigma, self.student).cpu().numpy())
            return {}
        if name == 'energyGrad':
            energy, grad = energy_grad(self.apply(self.student), x, self.sigma)
            worker.write_images(self.job, grad.cpu().numpy())
            return {'energy': energy[: worker.CHECKED].tolist()}
        loss = self.gradient(0.3 * x, x, self.sigma).item()
        squares = sum(p.grad.double().square().sum() for p in self.parameters())
        return {'loss': loss, 'gradNorm': squares.sqrt().item()}

    def work(self):
        """What one call does with the inputs in self.x."""
        if not self.trains:
            if self.job['job'] == 'denoise':
                return lambda: self.denoised(self.x, self.sigma, self.student)
            return lambda: energy_grad(self.apply(self.student), self.x, self.sigma)
        options = {'fused': True, 'capturable': True} if self.device == 'cuda' else {}
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-4, **options)
        self.average = [p.detach().clone() for p in self.parameters()]
        return self.step

    def run(self):
        outputs = self.check()
        work = self.work()
        if self.job['mode'] == 'graphs':
            graph, self.result = captured(work)
            work = graph.replay

        def turn(i):
            self.x.copy_(self.sets[i % len(self.sets)])
            work()

        return {**worker.timed(clock(self.device), self.job, turn), 'outputs': outputs}


def particle_work(job):
    """One step of a population of n particles."""
    name, n, d, device = job['job'], int(job['n']), int(job['d']), job['device']

    def uniform():
        return torch.rand(n, dtype=torch.float64, device=device)

    def propose():
        x, g = torch.randn(n, d, device=device), torch.randn(n, d, device=device)
        v, tau = 0.04, 0.03

        def step():
            noise = torch.randn(n, d, device=device)
            y = x - v * g + tau**0.5 * noise
            move = x - y
            forward = -0.5 * (noise**2).sum(1, dtype=torch.float64)
            backward = -0.5 / v * (move**2).sum(1, dtype=torch.float64)
            return y, forward, backward, (g * move).sum(1, dtype=torch.float64), (g**2).sum(1, dtype=torch.float64)

        return step

    def reweight():
        lw, terms = uniform(), [uniform() for _ in range(4)]

        def step():
            lw.add_(terms[0]).sub_(terms[1]).add_(terms[2], alpha=1e-3).sub_(terms[3], alpha=1e-3)
            weights = torch.softmax(lw, 0)
            # as ours does: the normaliser and the effective sample size, on the host
            return weights, torch.stack((torch.logsumexp(lw, 0), 1 / (weights * weights).sum())).tolist()

        return step

    def resample():
        weights, grid = uniform(), torch.arange(n, dtype=torch.float64, device=device)

        def step():
            total = torch.cumsum(weights, 0)
            points = (torch.rand((), dtype=torch.float64, device=device) + grid) * (total[-1] / n)
            return torch.searchsorted(total, points, out_int32=True).clamp_(max=n - 1)

        return step

    def gather():
        x, ancestors = torch.randn(n, d, device=device), resample()()
        return lambda: x.index_select(0, ancestors)

    make = {'propose': propose, 'reweight': reweight, 'resample': resample, 'gather': gather}[name]
    sets = [make() for _ in range(3)]  # that take turns, so that none is in a cache
    if job['mode'] == 'compile':
        sets = [torch.compile(step) for step in sets]
    return lambda i: sets[i % 3]()


def ceiling_work(job):
    """What the device reaches on one large copy, or on one large product."""
    n, device = int(job['n']), job['device']
    if job['job'] == 'copy':
        a, b = (torch.randint(0, 255, (n,), dtype=torch.uint8, device=device) for _ in range(2))
        return (lambda i: a.copy_(b) if i % 2 else b.copy_(a)), {'bytes': 2 * n}
    use_precision(job['precision'])
    dtype = torch.bfloat16 if job['precision'] == 'bf16' else torch.float32
    sets = [[torch.randn(n, n, device=device, dtype=dtype) for _ in range(2)] for _ in range(3)]
    return (lambda i: torch.matmul(*sets[i % 3])), {'operations': 2 * n**3}


def answer(job):
    if job['kind'] == 'versions':
        on_gpu = job['device'] == 'cuda'
        return {
            'torch': torch.__version__,
            'cuda': torch.version.cuda if on_gpu else None,
            'cudnn': torch.backends.cudnn.version() if on_gpu else None,
            'device': torch.cuda.get_device_name() if on_gpu else 'cpu',
            'flags': 'channels_last, cudnn.benchmark, fused Adam, autocast for bf16',
        }
    if job['kind'] == 'network':
        result = NetworkJob(job).run()
    elif job['kind'] == 'ceiling':
        work, counts = ceiling_work(job)
        result = {**worker.timed(clock(job['device']), job, work), **counts, 'outputs': {}}
    else:
        result = {**worker.timed(clock(job['device']), job, particle_work(job)), 'outputs': {}}
    if job['device'] == 'cuda':
        result['deviceBytes'] = torch.cuda.max_memory_allocated()
        result['reservedBytes'] = torch.cuda.max_memory_reserved()
    return result


def cleared():
    if hasattr(torch, '_dynamo'):
        torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == '__main__':
    worker.serve(answer, cleared)
