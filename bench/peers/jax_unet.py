"""DDPM++ (NVlabs/edm's SongUNet) in plain jax.numpy, channels last, and the energy and the losses on it.

Parameters are a dictionary by NVlabs/edm's names, convolutions [height, width, in, out], linear layers [in, out]. Products are taken in
`dtype`; group norm, softmax and the parameters are float32.
"""
import math

import jax
import jax.numpy as jnp
from jax import lax

SD = 0.5


def to_jax(name, array):
    """PyTorch's layout to the one here."""
    if array.ndim == 4:
        return jnp.asarray(array.transpose(2, 3, 1, 0))
    return jnp.asarray(array.T if array.ndim == 2 else array)


def conv(p, name, x, dtype):
    w = p[f'{name}.weight'].astype(dtype)
    y = lax.conv_general_dilated(x.astype(dtype), w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    return y + p[f'{name}.bias'].astype(dtype)


def linear(p, name, x, dtype):
    return x.astype(dtype) @ p[f'{name}.weight'].astype(dtype) + p[f'{name}.bias'].astype(dtype)


def group_norm(p, name, x):
    b, h, w, c = x.shape
    groups = min(32, c // 4)
    parts = x.astype(jnp.float32).reshape(b, h * w, groups, c // groups)
    mean = parts.mean((1, 3), keepdims=True)
    variance = jnp.square(parts - mean).mean((1, 3), keepdims=True)
    y = ((parts - mean) * lax.rsqrt(variance + 1e-6)).reshape(x.shape)
    return y * p[f'{name}.weight'] + p[f'{name}.bias']


def resized(x, resample):
    b, h, w, c = x.shape
    if resample == 'up':
        return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4)) if resample == 'down' else x


def attention(p, name, x, dtype):
    b, h, w, c = x.shape
    qkv = conv(p, f'{name}.qkv', group_norm(p, f'{name}.norm2', x), dtype).reshape(b, h * w, c, 3)
    q, k, v = (qkv[..., i] for i in range(3))
    scores = jnp.einsum('bqc,bkc->bqk', q, k / math.sqrt(c), preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores, axis=-1).astype(dtype)
    return conv(p, f'{name}.proj', jnp.einsum('bqk,bkc->bqc', weights, v).reshape(x.shape), dtype)


def block(p, name, x, emb, dtype, resample=None):
    """One UNetBlock; its parameters say whether it has a skip convolution and attention."""
    h = conv(p, f'{name}.conv0', resized(jax.nn.silu(group_norm(p, f'{name}.norm0', x)), resample), dtype)
    h = h + linear(p, f'{name}.affine', emb, dtype)[:, None, None, :]
    h = conv(p, f'{name}.conv1', jax.nn.silu(group_norm(p, f'{name}.norm1', h)), dtype)
    x = resized(x, resample)
    x = (h + (conv(p, f'{name}.skip', x, dtype) if f'{name}.skip.weight' in p else x)) * math.sqrt(0.5)
    if f'{name}.qkv.weight' in p:
        x = (attention(p, name, x, dtype) + x) * math.sqrt(0.5)
    return x


def song_unet(p, a, x, noise, dtype):
    """h(x), float32; `a` the arguments of NVlabs/edm's SongUNet."""
    half = a['model_channels'] * a['channel_mult_noise'] // 2
    t = noise[:, None] * (1 / 10000) ** (jnp.arange(half, dtype=jnp.float32) / (half - 1))
    emb = jax.nn.silu(linear(p, 'map_layer0', jnp.concatenate([jnp.sin(t), jnp.cos(t)], 1), dtype))
    emb = jax.nn.silu(linear(p, 'map_layer1', emb, dtype))
    levels = range(len(a['channel_mult']))
    skips = []
    for level in levels:
        name = f'enc.{a["img_resolution"] >> level}x{a["img_resolution"] >> level}'
        x = conv(p, f'{name}_conv', x, dtype) if level == 0 else block(p, f'{name}_down', x, emb, dtype, 'down')
        skips.append(x)
        for i in range(a['num_blocks']):
            x = block(p, f'{name}_block{i}', x, emb, dtype)
            skips.append(x)
    for level in reversed(levels):
        name = f'dec.{a["img_resolution"] >> level}x{a["img_resolution"] >> level}'
        if level == levels[-1]:
            x = block(p, f'{name}_in1', block(p, f'{name}_in0', x, emb, dtype), emb, dtype)
        else:
            x = block(p, f'{name}_up', x, emb, dtype, 'up')
        for i in range(a['num_blocks'] + 1):
            x = block(p, f'{name}_block{i}', jnp.concatenate([x, skips.pop()], -1), emb, dtype)
    name = f'dec.{a["img_resolution"]}x{a["img_resolution"]}'
    return conv(p, f'{name}_aux_conv', jax.nn.silu(group_norm(p, f'{name}_aux_norm', x)), dtype).astype(jnp.float32)


def precondition(sigma):
    s = sigma[:, None, None, None]
    return s, lax.rsqrt(s**2 + SD**2), SD**2 / (s**2 + SD**2), s * SD * lax.rsqrt(s**2 + SD**2)


def denoised(net, p, x, sigma):
    _, c_in, c_skip, c_out = precondition(sigma)
    return c_skip * x + c_out * net(p, c_in * x, jnp.log(sigma) / 4)


def phi_and_gradient(net, p, u, noise):
    """Phi = <u, h(u)> / 2 of every sample, and its gradient."""

    def total(v):
        phi = 0.5 * (v * net(p, v, noise)).sum((1, 2, 3))
        return phi.sum(), phi

    g, phi = jax.grad(total, has_aux=True)(u)
    return phi, g


def energy_grad(net, p, x, sigma):
    s, c_in, _, c_out = precondition(sigma)
    u = c_in * x
    phi, g = phi_and_gradient(net, p, u, jnp.log(sigma) / 4)
    energy = 0.5 * (u**2).sum((1, 2, 3)) - (SD / sigma) * phi
    return energy, x / (s**2 + SD**2) - (c_out / s**2) * g


def loss(net, p, teacher, x0, x, sigma):
    """Denoising score matching, or distillation where there is a teacher."""
    _, c_in, c_skip, c_out = precondition(sigma)
    u, noise = c_in * x, jnp.log(sigma) / 4
    if teacher is None:
        return jnp.square(net(p, u, noise) - (x0 - c_skip * x) / c_out).mean()
    target = lax.stop_gradient(net(teacher, u, noise))
    return jnp.square(phi_and_gradient(net, p, u, noise)[1] - target).mean()
