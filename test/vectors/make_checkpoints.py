"""Makes the checkpoints in this folder, a few KB each, with PyTorch 1.13: /usr/bin/python3 test/vectors/make_checkpoints.py

`expected.json` says of each file what its tensors are. The pickled networks imitate what NVlabs/edm writes: classes of the same
names, saved by a `torch_utils.persistence` of the same protocol, with tiny weights and a source that must never run.
"""

import collections
import io
import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
expected = {}


def describe(tensors):
    return {
        name: {
            "dtype": str(t.dtype).removeprefix("torch."),
            "shape": list(t.shape),
            "numbers": t.detach().to(torch.float64).flatten().tolist(),
        }
        for name, t in tensors.items()
    }


def numbers(*shape, start=0.0):
    count = int(np.prod(shape))
    return (torch.arange(count, dtype=torch.float32) / 8 + start).reshape(shape)


def every_kind():
    """Every type, and every way that tensors may lie in storages."""
    shared = numbers(6, 4, start=-1)
    half = torch.tensor([1.5, -0.25, 65504.0, 2.0**-24], dtype=torch.float16)
    return collections.OrderedDict(
        f64=torch.tensor([1 / 3, -1e300], dtype=torch.float64),
        f32=numbers(2, 3),
        f16=half,
        bf16=torch.tensor([1.0, -3.140625, 1e30]).to(torch.bfloat16),
        i64=torch.tensor([-(2**53), 7]),
        i32=torch.tensor([-70000, 2**31 - 1], dtype=torch.int32),
        i16=torch.tensor([-300, 300], dtype=torch.int16),
        i8=torch.tensor([-128, 127], dtype=torch.int8),
        u8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(2.5),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(numbers(3)),
        whole=shared,
        rows=shared[2:4],
        transposed=shared.t(),
        strided=shared[1::2, ::3],
        channels_last=numbers(2, 3, 2, 2, start=5).to(memory_format=torch.channels_last),
        expanded=torch.tensor([[4.0], [5.0]]).expand(2, 3),
        odd=torch.tensor([1, 2, 3], dtype=torch.uint8),
    )


def save(name, value, tensors, **options):
    torch.save(value, HERE / name, **options)
    expected[name] = describe(tensors)


LEGACY = dict(_use_new_zipfile_serialization=False)

kinds = every_kind()
save("kinds.pt", kinds, kinds)
save("kinds-legacy.pt", kinds, kinds, **LEGACY)

model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.SiLU(), torch.nn.Linear(2, 1))
with torch.no_grad():
    for i, p in enumerate(model.parameters()):
        p.copy_(numbers(*p.shape, start=i))
optimizer = torch.optim.Adam(model.parameters())
model(numbers(4, 3)).sum().backward()
optimizer.step()
state = model.state_dict()
run = dict(state_dict=state, optimizer=optimizer.state_dict(), step=np.float64(3), epoch=2, best=float("inf"))
save("training.pt", run, state)
save("protocol4-legacy.pt", state, state, pickle_protocol=4, **LEGACY)
average = {name: t / 2 for name, t in state.items()}
save("averaged.pt", dict(model=state, ema=average, note="ü"), average)
wrapped = {f"module.{name}": t for name, t in state.items()}
save("wrapped.pt", wrapped, state)

# as NVlabs/edm --------------------------------------------------------------------------------------------------------------

SOURCE = "raise SystemExit('the source of a pickle was run')"


def module(name, **content):
    made = types.ModuleType(name)
    made.__dict__.update(content)
    sys.modules[name] = made
    return made


def _reconstruct_persistent_obj(meta):
    raise SystemExit("only for writing")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
module("torch_utils")
module("torch_utils.persistence", _reconstruct_persistent_obj=_reconstruct_persistent_obj)


class EasyDict(dict):
    pass


EasyDict.__module__ = "dnnlib.util"
EasyDict.__qualname__ = "EasyDict"
module("dnnlib")
module("dnnlib.util", EasyDict=EasyDict)


class Persistent:
    """Remembers its arguments and is pickled as a description of itself with its state."""

    def __reduce__(self):
        meta = dict(type="class", version=6, module_src=SOURCE, class_name=type(self).__name__, state=self.__dict__)
        return _reconstruct_persistent_obj, (meta,), None

    def remember(self, args, kwargs):
        self._init_args = args
        self._init_kwargs = kwargs


class Conv2d(Persistent, torch.nn.Module):
    def __init__(self, in_channels, out_channels, kernel, **options):
        super().__init__()
        self.remember((in_channels, out_channels), dict(kernel=kernel, **options))
        self.weight = torch.nn.Parameter(numbers(out_channels, in_channels, kernel, kernel, start=in_channels))
        self.bias = torch.nn.Parameter(numbers(out_channels, start=-out_channels))
        self.register_buffer("resample_filter", torch.ones(1, 1, 2, 2) / 4 if options.get("down") else None)
        self.register_buffer("cache", torch.zeros(2), persistent=False)


class SongUNet(Persistent, torch.nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.remember((), kwargs)
        init = dict(init_mode="xavier_uniform", init_weight=np.sqrt(1 / 3))
        self.enc = torch.nn.ModuleDict(
            {"4x4_conv": Conv2d(2, 3, 3, init=init), "2x2_down": Conv2d(3, 3, 1, down=True, skip_scale=np.sqrt(0.5))}
        )
        self.dec = torch.nn.ModuleDict({"2x2_in0": Conv2d(3, 2, 1)})
        # not contiguous, and shares a storage
        self.map_layer0 = torch.nn.Linear(2, 3)
        self.map_layer0.weight = torch.nn.Parameter(numbers(2, 3, start=9).t())
        self.map_layer0.bias = torch.nn.Parameter(numbers(3, start=20))


class EDMPrecond(Persistent, torch.nn.Module):
    def __init__(self, img_resolution, img_channels, label_dim=0, use_fp16=False, **kwargs):
        super().__init__()
        self.remember((img_resolution, img_channels), dict(kwargs, label_dim=label_dim))
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.label_dim = label_dim
        self.use_fp16 = use_fp16
        self.sigma_min = 0
        self.sigma_max = float("inf")
        self.sigma_data = kwargs.pop("sigma_data", 0.5)
        kwargs.pop("model_type")
        self.model = SongUNet(
            img_resolution=img_resolution, in_channels=img_channels, out_channels=img_channels, label_dim=label_dim, **kwargs
        )


class AugmentPipe(Persistent):
    def __init__(self, p):
        self.remember((), dict(p=p))
        self.p = p
        self.matrix = np.arange(6, dtype=np.float32).reshape(2, 3)


class EDMLoss(Persistent):
    def __init__(self):
        self.P_mean = -1.2


network = EDMPrecond(
    4, 2, label_dim=5, sigma_data=0.25, model_type="SongUNet", channel_mult=[1, 2], attn_resolutions=[], model_channels=3, dropout=0.13
)
network.eval().requires_grad_(False)
snapshot = dict(
    ema=network,
    loss_fn=EDMLoss(),
    augment_pipe=AugmentPipe(0.12),
    dataset_kwargs=dict(EasyDict(path="data.zip", resolution=4, use_labels=True)),
    options=EasyDict(device=torch.device("cpu"), tags={"a", "b"}, size=torch.Size([2, 3])),
)
inner = network.model.state_dict()
for protocol in (2, 4, 5):
    name = f"edm-protocol{protocol}.pkl"
    (HERE / name).write_bytes(pickle.dumps(snapshot, protocol=protocol))
    expected[name] = describe(inner)
save("edm-state.pt", dict(net=network, optimizer_state=optimizer.state_dict()), inner)
# the sources of PyTorch's own modules would come along
torch.serialization.get_source_lines_and_file = None
save("edm-state-legacy.pt", dict(net=network, ema=None), inner, **LEGACY)
(HERE / "module.pkl").write_bytes(pickle.dumps(model))
expected["module.pkl"] = describe(state)

# without a framework ---------------------------------------------------------------------------------------------------------


class Runs:
    def __reduce__(self):
        import os

        return os.system, ("echo it ran",)


(HERE / "hostile-system.pkl").write_bytes(pickle.dumps(dict(ema=Runs())))
torch.save(dict(weight=numbers(2), extra=Runs()), HERE / "hostile-system.pt")
stream = io.BytesIO()
pickle.dump(dict(a=[1, -1, 2**70, -(2**70), 1.5, True, None, "ü", b"\x00\xff", (1, 2, 3, 4), {1}, frozenset([2])]), stream, protocol=0)
(HERE / "values-protocol0.pkl").write_bytes(stream.getvalue())

(HERE / "expected.json").write_text(json.dumps(expected, indent=None, separators=(",", ":")) + "\n")
