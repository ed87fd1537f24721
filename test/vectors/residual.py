"""Writes residual.safetensors: a labelled network and what PyTorch computes of the residual energy on it, in float64.

E = |x - D_h|^2 / (2 sigma^2) as it stands, its gradient by autograd, the distillation loss's by autograd through that gradient.
Needs torch; run it again only to change the fixture: python3 test/vectors/residual.py
"""

import json
import math
import os
import struct
import sys

import torch
import torch.nn.functional as F
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../bench/peers"))
from song_unet import Block, SongUNet  # noqa: E402

SD = 0.5
ARGS = {
    "attn_resolutions": [4],
    "augment_dim": 0,
    "channel_mult": [1, 2],
    "channel_mult_emb": 2,
    "channel_mult_noise": 1,
    "decoder_type": "standard",
    "dropout": 0,
    "embedding_type": "positional",
    "encoder_type": "standard",
    "img_resolution": 8,
    "in_channels": 2,
    "label_dim": 3,
    "label_dropout": 0,
    "model_channels": 4,
    "num_blocks": 1,
    "out_channels": 2,
    "resample_filter": [1, 1],
}


class Labelled(SongUNet):
    """With class labels, and all of it in the weights' own precision."""

    def __init__(self, args):
        super().__init__(args)
        self.label_dim = args["label_dim"]
        self.map_label = nn.Linear(self.label_dim, self.noise_channels)

    def forward(self, x, noise, labels):
        half = self.noise_channels // 2
        t = noise[:, None] * (1 / 10000) ** (torch.arange(half, dtype=x.dtype) / (half - 1))
        emb = torch.cat([t.sin(), t.cos()], dim=1) + self.map_label(labels * math.sqrt(self.label_dim))
        emb = F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))
        skips = []
        for layer in self.enc.values():
            x = layer(x, emb) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for name, layer in self.dec.items():
            if name.endswith("aux_norm"):
                x = F.silu(layer(x))
            elif name.endswith("aux_conv"):
                x = layer(x)
            else:
                x = layer(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, emb)
        return x


def rows(values):
    return values.sum((1, 2, 3))


def write_safetensors(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    # float64 first, for its alignment
    for name, tensor in sorted(tensors.items(), key=lambda item: not item[0].endswith(".f64")):
        kept = torch.float64 if name.endswith(".f64") else torch.float32
        content = tensor.detach().to(kept).contiguous().numpy().tobytes()
        kind = "F64" if kept == torch.float64 else "F32"
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    generator = torch.Generator().manual_seed(3)
    randn = lambda *shape: torch.randn(*shape, generator=generator).double()
    net = Labelled(ARGS)
    with torch.no_grad():
        for name, p in net.named_parameters():
            scale = 0.1 if p.ndim == 1 else 1 / math.sqrt(p[0].numel())
            p.copy_(scale * torch.randn(p.shape, generator=generator) + (1 if "norm" in name and name.endswith("weight") else 0))
    weights = {name: p.clone() for name, p in net.state_dict().items()}
    net.double()
    sigma = torch.tensor([0.002, 0.03, 0.4, 2.5, 80.0]).double()
    batch = len(sigma)
    s = sigma[:, None, None, None]
    c_skip, c_out, c_in = SD**2 / (s**2 + SD**2), s * SD / (s**2 + SD**2).sqrt(), 1 / (s**2 + SD**2).sqrt()
    x = (SD * randn(batch, 2, 8, 8) + s * randn(batch, 2, 8, 8)).float().double().requires_grad_()
    v = randn(batch, 2, 8, 8).float().double()
    labels = F.one_hot(torch.tensor([0, 2, 1, 2, 0]), 3).double()
    labels[3] = 0  # no class

    h = net(c_in * x, sigma.log() / 4, labels)
    denoised = c_skip * x + c_out * h
    energy = rows((x - denoised) ** 2) / (2 * sigma**2)
    (grad,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
    own = x - s**2 * grad
    target = (c_skip * x + c_out * randn(batch, 2, 8, 8)).detach().float().double()
    loss = rows(((own - target) / c_out) ** 2).sum() / x.numel()
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    tensors = {
        **{f"model.{name}": p for name, p in weights.items()},
        **{"x": x, "sigma": sigma, "class_labels": labels, "v": v, "T": target, "F": h, "D": denoised},
        "residual.E.f64": energy,
        "residual.F_s.f64": (rows(x**2) / (2 * (sigma**2 + SD**2)) - energy) * sigma / SD,
        "residual.gradE": grad,
        "residual.D": own,
        "residual.gradF": (own - c_skip * x) / c_out,
        "residual.jvpE.f64": rows(grad * v),
        "residual.L.f64": loss.reshape(1),
        **{f"residual.grad.{name}": g for (name, _), g in zip(net.named_parameters(), gradients)},
    }
    config = {"network": {"class": "SongUNet", "args": ARGS}, "precond": {"sigma_data": SD, "type": "EDM"}, "shape": [2, 8, 8]}
    write_safetensors(os.path.join(HERE, "residual.safetensors"), tensors, {"config": json.dumps(config)})


main()
