"""Writes autoencoder.safetensors: an autoencoder with diffusers' names and what PyTorch computes with it, in float64.

Needs torch; run it again only to change the fixture: python3 test/vectors/autoencoder.py
"""

import json
import math
import os
import struct

import torch
from torch import nn
from torch.nn import functional as F

GROUPS, EPS = 4, 1e-6


class Resnet(nn.Module):
    def __init__(self, inner, outer):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inner, eps=EPS)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, outer, eps=EPS)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        if inner != outer:
            self.conv_shortcut = nn.Conv2d(inner, outer, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Attention(nn.Module):
    """One head over all pixels."""

    def __init__(self, channels):
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, channels, eps=EPS)
        for name in ("to_q", "to_k", "to_v"):
            setattr(self, name, nn.Linear(channels, channels))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x):
        rows = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.to_q(rows), self.to_k(rows), self.to_v(rows)
        weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), dim=-1)
        return x + self.to_out[0](weights @ v).transpose(1, 2).reshape(x.shape)


class Resample(nn.Module):
    def __init__(self, channels, up):
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1 if up else 0)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else F.pad(x, (0, 1, 0, 1)))


class Block(nn.Module):
    def __init__(self, inner, outer, layers, resampler, up):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(inner if i == 0 else outer, outer) for i in range(layers)])
        self.name = ("upsamplers" if up else "downsamplers") if resampler else None
        if resampler:
            setattr(self, self.name, nn.ModuleList([Resample(outer, up)]))

    def forward(self, x):
        for resnet in self.resnets:
            x = resnet(x)
        return getattr(self, self.name)[0](x) if self.name else x


class Middle(nn.Module):
    def __init__(self, channels, attention):
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(channels, channels) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels)] if attention else [])

    def forward(self, x):
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class Half(nn.Module):
    """The encoder, or with `up` the decoder."""

    def __init__(self, inner, outer, channels, layers, attention, up):
        super().__init__()
        self.up = up
        order = channels[::-1] if up else channels
        self.conv_in = nn.Conv2d(inner, order[0], 3, padding=1)
        blocks = [
            Block(order[max(0, i - 1)], n, layers + up, i < len(order) - 1, up) for i, n in enumerate(order)
        ]
        setattr(self, "up_blocks" if up else "down_blocks", nn.ModuleList(blocks))
        self.mid_block = Middle(channels[-1], attention)
        self.conv_norm_out = nn.GroupNorm(GROUPS, order[-1], eps=EPS)
        self.conv_out = nn.Conv2d(order[-1], outer, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        if self.up:
            x = self.mid_block(x)
        for block in self.up_blocks if self.up else self.down_blocks:
            x = block(x)
        if not self.up:
            x = self.mid_block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class AutoencoderKL(nn.Module):
    def __init__(self, image, latent, channels, layers, attention):
        super().__init__()
        self.encoder = Half(image, 2 * latent, channels, layers, attention, False)
        self.decoder = Half(latent, image, channels, layers, attention, True)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)

    def moments(self, x):
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z))


def write_safetensors(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        content = tensor.detach().to(torch.float32).contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    torch.manual_seed(1)
    args = {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "block_out_channels": [8, 12],
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": GROUPS,
        "scaling_factor": 0.5,
        "latents_mean": [0.1, -0.2, 0.3, 0.0],
        "latents_std": [0.7, 1.2, 0.9, 1.5],
    }
    net = AutoencoderKL(3, 4, args["block_out_channels"], args["layers_per_block"], True)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "norm" in name:
                p.add_(0.3 * torch.randn_like(p))
            p.copy_(p.to(torch.float32))
        net.quant_conv.bias[4] = 30.0  # beyond what the log variance is clamped to
        net.quant_conv.bias[5] = -40.0
        weights = {name: p.clone() for name, p in net.state_dict().items()}
        net.double()
        x = torch.randn(2, 3, 16, 8).double()
        mean, log_variance = net.moments(x)
        row = lambda values: torch.tensor(values, dtype=torch.float64).reshape(1, 4, 1, 1)
        latents = (mean - row(args["latents_mean"])) * args["scaling_factor"] / row(args["latents_std"])
        z = torch.randn(2, 4, 8, 4).double().float().double()
        decoded = net.decode(z * row(args["latents_std"]) / args["scaling_factor"] + row(args["latents_mean"]))
    results = dict(x=x, mean=mean, log_variance=log_variance, latents=latents, z=z, decoded=decoded)
    tensors = {**{f"model.{name}": p for name, p in weights.items()}, **results}
    config = {"class": "AutoencoderKL", "args": args, "shape": [3, 16, 8]}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "autoencoder.safetensors")
    write_safetensors(path, tensors, {"config": json.dumps(config)})


main()
