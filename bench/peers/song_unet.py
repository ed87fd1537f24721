"""DDPM++ (NVlabs/edm's SongUNet) in PyTorch, written from its description with its parameter names, and the energy on it."""
import math

import torch
import torch.nn.functional as F
from torch import nn


def group_norm(channels):
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class Block(nn.Module):
    fused_attention = False  # its backward pass cannot be differentiated again

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
        if self.fused_attention:
            q, k, v = (t.transpose(1, 2).unsqueeze(1).contiguous() for t in (q, k, v))
            a = F.scaled_dot_product_attention(q, k, v).squeeze(1).transpose(1, 2)
        else:
            w = torch.softmax(torch.einsum('ncq,nck->nqk', q, k / math.sqrt(c)), dim=2)
            a = torch.einsum('nqk,nck->ncq', w, v)
        return (self.proj(a.reshape(b, c, height, width)) + x) * math.sqrt(0.5)


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
        freqs = (1 / 10000) ** (torch.arange(half, dtype=torch.float32, device=noise.device) / (half - 1))
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


SD = 0.5


def precondition(sigma):
    """sigma, c_in, c_skip and c_out of EDM (Karras et al. 2022, table 1), to multiply images by."""
    s = sigma[:, None, None, None]
    return s, 1 / (s**2 + SD**2).sqrt(), SD**2 / (s**2 + SD**2), s * SD / (s**2 + SD**2).sqrt()


@torch.no_grad()
def denoise(net, x, sigma):
    """D(x, sigma)."""
    _, c_in, c_skip, c_out = precondition(sigma)
    return c_skip * x + c_out * net(c_in * x, sigma.log() / 4)


def energy_grad(net, x, sigma):
    """E(x, sigma) and its gradient for the dot head: Phi = <u, h(u)> / 2."""
    s, c_in, _, c_out = precondition(sigma)
    u = (c_in * x).detach().requires_grad_()
    phi = 0.5 * (u * net(u, sigma.log() / 4)).sum((1, 2, 3))
    (g,) = torch.autograd.grad(phi.sum(), u)
    energy = 0.5 * (u.double() ** 2).sum((1, 2, 3)) - (SD / sigma) * phi
    return energy.detach(), x / (s**2 + SD**2) - (c_out / s**2) * g
