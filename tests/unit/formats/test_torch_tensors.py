"""PyTorch files with PyTorch: what torch.save writes comes back as torch.load makes it, under the pack ``torch``."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch_files as files
from torch_files import call, dict_of, glob, number, numbers, storage, tensor, text, tuple_of

import safeload

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

if TYPE_CHECKING:
    from pathlib import Path

PACKS = ["data", "numpy", "torch"]


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def load(data: bytes, **options: Any) -> Any:
    return safeload.loads(data, policy=PACKS, **options)


def same(found: Any, expected: Any) -> bool:
    """Equal in type, structure, dtype, strides and values."""
    if type(found) is not type(expected):
        return False
    if isinstance(found, torch.Tensor):
        if found.layout is not torch.strided or found.is_meta:
            return repr(found) == repr(expected)
        alike = (found.dtype, found.shape, found.stride(), found.requires_grad, found.__dict__)
        if alike != (expected.dtype, expected.shape, expected.stride(), expected.requires_grad, expected.__dict__):
            return False
        return found.is_quantized or bool(torch.equal(found, expected))
    if isinstance(found, torch.nn.Module):
        states = [
            {key: part for key, part in vars(one).items() if key != "_flat_weight_refs"} for one in (found, expected)
        ]
        return same(*states)
    if isinstance(found, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in found)
    if isinstance(found, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(found, torch.storage.TypedStorage | torch.UntypedStorage):
        return list(found) == list(expected)
    return np.array_equal(found, expected) if isinstance(found, np.ndarray) else bool(found == expected)


def quietly(make: Any) -> Any:
    """Without PyTorch's warnings about what is beta or deprecated; they come while tests are collected too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def _values() -> dict[str, Any]:
    base = torch.arange(12.0).reshape(3, 4)
    marked = torch.nn.Parameter(torch.ones(2))
    marked.sequence_parallel = True
    noted = torch.ones(2)
    noted.note = "x"
    return {
        "tensor": base,
        "views": [base, base.t(), base[1:, ::2], base[0].expand(5, 4)],
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(3),
        "parameter": torch.nn.Parameter(base),
        "frozen": torch.nn.Parameter(torch.arange(3), requires_grad=False),
        "marked": marked,
        "noted": noted,
        "bfloat16": base.bfloat16(),
        "float8": base.to(torch.float8_e4m3fn).view(torch.uint8),
        "uint16": torch.ones(3, dtype=torch.uint16),
        "bool": base > 3,
        "complex": torch.complex(base, base),
        "conj": torch.complex(base, base).conj(),
        "sparse": base.to_sparse(),
        "csr": base.to_sparse_csr(),
        "meta": torch.empty(2, 3, device="meta"),
        "quantized": torch.quantize_per_tensor(base, 0.1, 3, torch.quint8),
        "channels": torch.quantize_per_channel(base, torch.ones(3), torch.zeros(3), 0, torch.qint8),
        "values": [
            torch.Size([1, 2]),
            torch.float16,
            torch.device("cuda:1"),
            torch.sparse_coo,
            torch.per_tensor_affine,
        ],
        "storage": base.untyped_storage(),
        "data": {"epoch": 3, "best": 0.5, "names": ["a", ("b",)], "array": np.arange(3), "np": np.float64(2)},
    }


@pytest.mark.parametrize("name", quietly(_values))
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 5}])
def test_values(name: str, options: dict[str, Any]) -> None:
    """Every kind of tensor and value, in both formats."""
    value = _values()[name]
    data = saved(value, **options)
    report = safeload.scan(data, policy=PACKS)
    assert report.verdict == "clean", report.findings
    if not options.get("_use_new_zipfile_serialization", True) and name in ("uint16", "storage"):
        expected = torch.load(io.BytesIO(saved(value)), weights_only=False)  # of these torch.load reads no old files
    else:
        expected = torch.load(io.BytesIO(data), weights_only=False)
    assert same(load(data), expected)


def _models() -> dict[str, Any]:
    nn = torch.nn
    rnn = nn.LSTM(3, 4, 2, bidirectional=True)
    shared = nn.Linear(2, 2)
    return {
        "sequential": nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)),
        "rnn": rnn,
        "transformer": nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 1, enable_nested_tensor=False),
        "lists": nn.ModuleDict({"a": nn.ModuleList([shared, shared]), "p": nn.ParameterList([torch.ones(2)])}),
        "others": nn.ModuleList(
            [nn.GRU(2, 2), nn.Embedding(3, 2), nn.Upsample(2), nn.Softmax(1), nn.AvgPool3d(2), nn.MSELoss()]
        ),
    }


@pytest.mark.parametrize("name", quietly(_models))
@pytest.mark.parametrize("new", [True, False])
def test_models(name: str, new: bool) -> None:
    """Whole models of torch.nn's own modules come back, and compute."""
    model = _models()[name].eval()
    data = saved(model, _use_new_zipfile_serialization=new)
    loaded = load(data)
    assert same(loaded.state_dict(), model.state_dict())
    assert same(loaded, torch.load(io.BytesIO(data), weights_only=False))
    if name == "rnn":
        assert torch.equal(loaded(torch.ones(2, 3))[0], model(torch.ones(2, 3))[0])


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "LBFGS"])
def test_optimizers(kind: str) -> None:
    """A checkpoint of a training run: model, optimizer and scheduler as state dicts."""
    model = torch.nn.Linear(3, 2)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    loss = lambda: model(torch.ones(1, 3)).sum()  # noqa: E731
    loss().backward()
    optimizer.step(loss)
    scheduler.step()
    value = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    data = saved(value)
    assert same(load(data), torch.load(io.BytesIO(data), weights_only=False))


def test_sharing(tmp_path: Path) -> None:
    """Tensors of one storage share it, loaded from memory, from a file, and mapped; the file stays as it is."""
    base = torch.arange(100_000.0)
    path = tmp_path / "x.pt"
    path.write_bytes(saved({"a": base, "b": base[10:20]}))
    before = path.read_bytes()
    for loaded in (load(before), *(safeload.load(path, policy=PACKS, mmap=mmap) for mmap in (False, True))):
        assert loaded["a"].untyped_storage().data_ptr() == loaded["b"].untyped_storage().data_ptr()
        loaded["a"][10] = -1
        assert loaded["b"][0] == -1
    assert path.read_bytes() == before


def test_memory_is_not_the_callers() -> None:
    """Tensors loaded from bytes can be written to, and the bytes do not change."""
    data = saved(torch.zeros(1000))
    copy = bytes(bytearray(data))
    load(data).fill_(7)
    assert data == copy


def test_numpy_is_the_same() -> None:
    """``arrays="numpy"`` has the same numbers, strides and shapes."""
    base = torch.arange(12.0).reshape(3, 4)
    value = {"a": base.t(), "b": base[1:, ::2], "c": torch.complex(base, base).conj(), "p": torch.nn.Parameter(base)}
    loaded = load(saved(value), arrays="numpy")
    for name, expected in value.items():
        wanted = expected.detach().resolve_conj().numpy()
        assert np.array_equal(loaded[name], wanted)
    assert loaded["a"].strides == (4, 16)


def test_big_endian() -> None:
    """Swapped bytes give the same tensors as torch.load gives."""
    body = dict_of(
        a=tensor(storage("0", 2), 0, (2,), (1,)), c=tensor(storage("1", 1, "torch.ComplexDoubleStorage"), 0, (1,), (1,))
    )
    parts = {"0": struct.pack(">2f", 1, 2), "1": struct.pack(">2d", 3, 4)}
    data = files.zip_file(body, parts, more={"archive/byteorder": b"big"})
    assert same(load(data), torch.load(io.BytesIO(data), weights_only=True))


def test_tar() -> None:
    """A file of 0.1.10 as torch.load reads it."""
    parts = files.tar_parts(
        dict_of(a=text("8") + b"Q"),
        [files.tar_storage(7, "torch.FloatStorage", 6, struct.pack("<6f", *range(6)))],
        [files.tar_tensor(8, 7, 1, (2, 2), (3, 1))],
    )
    loaded = load(files.tar_file(parts))["a"]
    assert loaded.tolist() == [[1, 2], [4, 5]]
    assert loaded.stride() == (3, 1)


def test_codec() -> None:
    """``codec="torch"`` writes what torch.save writes, plain and in an envelope."""
    value = OrderedDict(w=torch.ones(2, 3))
    data = safeload.dumps(value, codec="torch")
    assert same(torch.load(io.BytesIO(data), weights_only=True), value)
    key = safeload.Key.generate("ed25519")
    sealed = safeload.dumps(value, codec="torch", key=key)
    assert same(safeload.loads(sealed, keys=safeload.KeyRing([key]), policy=PACKS), value)


def test_safetensors_codec() -> None:
    """Tensors of PyTorch are written as the safetensors library writes them."""
    value = {"w": torch.ones(2, 3).bfloat16().t(), "s": torch.tensor(1), "e": torch.empty(0, 2)}
    data = safeload.dumps(value, codec="safetensors")
    library = pytest.importorskip("safetensors.torch")
    assert data == library.save({name: part.contiguous() for name, part in value.items()})
    assert safeload.loads(data)["w"].dtype.metadata == {"torch": "bfloat16"}


def _sparse(indices: list[int], size: int, kind: str = "torch.sparse_coo") -> bytes:
    count = len(indices)
    body = call(
        glob("torch._utils._rebuild_sparse_tensor"),
        call(glob("torch.serialization._get_layout"), text(kind)),
        tuple_of(
            tensor(storage("0", count, "torch.LongStorage"), 0, (1, count), (count, 1)),
            tensor(storage("1", count), 0, (count,), (1,)),
            call(glob("torch.Size"), numbers(size)),
        ),
    )
    return files.zip_file(body, {"0": struct.pack(f"<{count}q", *indices), "1": bytes(4 * count)})


def test_sparse_indices() -> None:
    """Indices are looked at when the tensor is made: outside of the size there is no tensor."""
    assert load(_sparse([0, 5], 6)).size() == (6,)
    for indices in ([0, 6], [-1, 0], [1 << 40]):
        with pytest.raises(safeload.LoadError):
            load(_sparse(indices, 6))


def test_replaced_while_loading(tmp_path: Path) -> None:
    """Storages are read from the file that was opened."""
    path = tmp_path / "x.pt"
    path.write_bytes(saved(torch.ones(3)))
    with path.open("rb") as file:
        path.unlink()
        path.write_bytes(b"x")
        assert safeload.load(file, policy=PACKS).tolist() == [1, 1, 1]


def test_optimizer_objects_are_refused() -> None:
    """An Optimizer calls methods that its state can replace; the message names the class."""
    data = saved(torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1))
    with pytest.raises(safeload.PolicyError, match=r"torch\.optim\.sgd\.SGD"):
        load(data)


@pytest.mark.parametrize(
    "state",
    [
        {"num_layers": 1 << 40, "_all_weights": [[1]], "bias": True, "bidirectional": False, "proj_size": 0},
        {"num_layers": 1, "_all_weights": {0: 1}},
        {"num_layers": 1, "_flat_weights": range(3)},
        {"num_layers": "1"},
    ],
)
def test_recurrent_states(state: dict[str, Any]) -> None:
    """An RNN makes the names of all weights from its number of layers."""
    lstm = glob("torch.nn.modules.rnn.LSTM") + b")\x81" + pickle.dumps(state, 2)[2:-1] + b"b"
    with pytest.raises(safeload.PolicyError):
        load(files.zip_file(lstm))


def test_gadgets_on_modules() -> None:
    """Children that are no dict, and a second state."""
    relu = glob("torch.nn.modules.activation.ReLU") + b")\x81"
    load(files.zip_file(relu + b"}b"))
    for state in (
        dict_of(_modules=glob("torch.Tensor")),
        dict_of(_parameters=text("x")),
        dict_of(_buffers=number(1)),
        b"N",
        text("x"),
        b"}" + number(1) + number(1) + b"s",
    ):
        with pytest.raises(safeload.PolicyError):
            load(files.zip_file(relu + state + b"b"))
    with pytest.raises(safeload.PolicyError):
        load(files.zip_file(relu + b"}b}b"))
