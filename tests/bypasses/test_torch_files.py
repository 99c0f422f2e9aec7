"""PyTorch files as carriers: a payload in any pickle of them, around them, and behind what only PyTorch looks at.

The legacy format has five pickles that torch.load loads one behind the other, the tar format dozens; scanners have looked at one.
torch.load(weights_only=True) was itself a way in (CVE-2025-32434); here it is nobody's.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch_files as files
from pickle_parts import STOP, arguments, call, glob, proto
from torch_files import dict_of, number, storage, tar_storage, tar_tensor, tensor, text

import safeload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = struct.pack("<6f", *range(6))
POLICIES = (None, ["data", "numpy", "torch"])


@pytest.fixture
def evil(marker: Path) -> bytes:
    """The opcodes of a payload that creates the marker and leaves one object."""
    return call(glob("posix", "system"), f"touch {marker}")


def refused(data: bytes, marker: Path, verdict: str = "malicious") -> safeload.Report:
    """Named for what it is, not loaded under any policy, in any form, and without effect."""
    for policy in POLICIES:
        report = safeload.scan(data, policy=policy)
        assert report.verdict == verdict, report.findings
        for arrays in (None, "numpy"):
            with pytest.raises(safeload.SafeloadError):
                safeload.loads(data, policy=policy, arrays=arrays)
    assert not marker.exists()
    return report


def zipped(body: bytes) -> bytes:
    return files.zip_file(body, {"0": DATA})


def test_in_the_object(evil: bytes, marker: Path) -> None:
    """Before, between and behind tensors, as an argument, and as a storage's class."""
    weight = tensor(storage("0", 6), 0, (6,), (1,))
    for body in (
        evil,
        dict_of(w=weight, x=evil),
        evil + b"0" + weight,
        tensor(evil, 0, (1,), (1,)),
        tensor(storage("0", 6), 0, (6,), (1,), b"\x89", evil),
    ):
        refused(zipped(body), marker)
        legacy = body.replace(b"tQ", b"NtQ") if b"tQ" in body else body
        refused(files.legacy_file(legacy, {"0": (6, DATA)}), marker)
    refused(files.legacy_file(evil), marker)


def test_inside_an_id(evil: bytes, marker: Path) -> None:
    """A persistent id is built before anybody compares it with anything."""
    for pid in (evil, files.tuple_of(text("storage"), evil, text("0"), text("cpu"), number(6)), files.tuple_of(evil)):
        refused(zipped(pid + b"Q"), marker)
        refused(files.legacy_file(pid + b"Q", {"0": (6, DATA)}), marker)


def test_legacy_streams(evil: bytes, marker: Path) -> None:
    """Each of the five pickles, also behind a number that is what PyTorch expects."""
    whole = proto(2) + evil + STOP
    quiet = proto(2) + evil + b"0" + number(1001) + STOP
    body = dict_of(w=tensor(storage("0", 6, view=b"N"), 0, (6,), (1,)))
    refused(files.legacy_file(body, {"0": (6, DATA)}, protocol=quiet), marker)
    refused(files.legacy_file(body, {"0": (6, DATA)}, sys_info=whole), marker)
    refused(files.legacy_file(body, {"0": (6, DATA)}, sys_info=proto(2) + evil + b"0}" + STOP), marker)
    refused(files.legacy_file(body, {"0": (6, DATA)}, keys=proto(2) + evil + b"0](" + text("0") + b"e" + STOP), marker)
    magic = files.MAGIC[:-1].replace(b"\x80\x02", b"\x80\x02" + evil + b"0")
    data = files.legacy_file(body, {"0": (6, DATA)}).replace(files.MAGIC, magic + STOP)
    refused(data, marker)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_broken_behind_the_payload(evil: bytes, marker: Path, cut: int) -> None:
    """nullifAI: the payload has run when torch.load notices that the rest is missing."""
    body = evil + b"0" + dict_of(w=number(1), x=text("padding" * 9))
    broken = (proto(2) + body + STOP)[:-cut]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", broken)
        archive.writestr("archive/version", b"3\n")
    refused(file.getvalue(), marker)
    refused(files.legacy_file(body)[: -cut - 40 if cut > 8 else -cut], marker)
    refused(files.MAGIC + files.whole(number(1001)) + files.SYS_INFO + broken, marker)


def test_second_pickle(evil: bytes, marker: Path) -> None:
    """A pickle behind the pickle, and one behind the storages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", files.whole(number(1)) + files.whole(evil))
    refused(file.getvalue(), marker, "malformed")
    body = dict_of(w=tensor(storage("0", 6, view=b"N"), 0, (6,), (1,)))
    refused(files.legacy_file(body, {"0": (6, DATA)}) + files.whole(evil), marker, "malformed")


def test_tar_members(evil: bytes, marker: Path) -> None:
    """Every pickle in every file of the tar format."""
    whole = proto(2) + evil + STOP
    body = dict_of(a=text("8") + b"Q")
    place, view = tar_storage(7, "torch.FloatStorage", 6, DATA), tar_tensor(8, 7, 0, (6,), (1,))
    good = files.tar_parts(body, [place], [view])
    bad = [
        {**good, "sys_info": whole},
        {**good, "pickle": whole},
        {**good, "storages": whole + good["storages"]},
        {**good, "tensors": whole + good["tensors"]},
        {**good, "storages": whole},
        files.tar_parts(body, [whole + place], [view]),
        files.tar_parts(body, [proto(2) + files.tuple_of(number(7), text("cpu"), evil) + STOP + place[-32:]], [view]),
        files.tar_parts(body, [place], [whole + view]),
        files.tar_parts(body, [place], [view], b"]" + evil + b"a"),
        files.tar_parts(evil + b"Q", [place], [view]),
    ]
    for parts in bad:
        refused(files.tar_file(parts), marker)


def test_hidden_pickles(evil: bytes, marker: Path) -> None:
    """Other names, other directories, an entry that no storage names, a second archive root, and an archive inside."""
    whole = proto(2) + evil + STOP
    inner = zipped(evil)
    for name in (
        "archive/extra.pkl",
        "archive/data/1",
        "archive/data.pkl.bak",
        "other/data.pkl",
        "data.pkl",
        "archive/.hidden",
    ):
        refused(files.zip_file(number(1), {"0": DATA}, more={name: whole}), marker)
        report = refused(files.zip_file(number(1), {"0": DATA}, more={name: inner}), marker)
        assert report.members


def test_twice(evil: bytes, marker: Path) -> None:
    """Two data.pkl, of which one reader takes the first and another the last: neither is believed."""
    for first, second in ((evil, number(1)), (number(1), evil)):
        for name in ("archive/data.pkl", "archive/DATA.pkl"):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive, pytest.MonkeyPatch.context() as patch:
                patch.setattr("warnings.warn", lambda *_args, **_options: None)
                archive.writestr("archive/data.pkl", files.whole(first))
                archive.writestr(name, files.whole(second))
            refused(file.getvalue(), marker, "malformed")


def test_load_from_bytes(evil: bytes, marker: Path) -> None:
    """pickle.dump of a storage writes a call of torch.load on bytes: a pickle inside a pickle that no policy sees."""
    inner = files.legacy_file(evil)
    body = files.glob("torch.storage._load_from_bytes") + b"(B" + struct.pack("<I", len(inner)) + inner + b"tR"
    for data in (proto(3) + body + STOP, files.zip_file(body)):
        for policy in POLICIES:
            assert safeload.scan(data, policy=policy).verdict != "clean"
            with pytest.raises(safeload.PolicyError):
                safeload.loads(data, policy=policy)
    assert not marker.exists()


def test_setattr_by_rebuild(evil: bytes, marker: Path) -> None:
    """Functions of PyTorch that make instances of any class, or set any attribute, are not in the pack."""
    del evil
    for name, parts in (
        ("torch._utils._rebuild_wrapper_subclass", (glob("subprocess", "Popen"),)),
        ("torch._utils._set_obj_state", (glob("collections", "OrderedDict"), dict_of(update=glob("posix", "system")))),
        ("torch._tensor._rebuild_from_type", (glob("posix", "system"), glob("torch", "Tensor"), files.tuple_of(text("x")), b"}")),
        ("torch._tensor._rebuild_from_type_v2", (glob("posix", "system"), glob("torch", "Tensor"), files.tuple_of(text("x")), b"}")),
        ("torch.nn.parameter.Parameter", (text("x"),)),
        ("torch.jit.unsupported_tensor_ops.execWrapper", (text("1"), b"}", b"}")),
    ):  # fmt: skip
        data = files.zip_file(files.call(files.glob(name), *parts))
        for policy in POLICIES:
            assert safeload.scan(data, policy=policy).verdict in ("unknown", "malicious")
            with pytest.raises(safeload.PolicyError):
                safeload.loads(data, policy=policy)
    assert not marker.exists()
    assert arguments is not None


def test_copies_without_end(isolated: Callable[..., Any]) -> None:
    """Views of one storage cost nothing; a conjugate as an array, and a tensor that is moved, is a copy each."""
    count, times = 60_000, 10_000
    view = tensor(b"h\x01", 0, (count,), (1,), b"\x89", b"h\x02", b"}" + text("conj") + b"\x88s")
    first = storage("0", count, "torch.ComplexFloatStorage") + b"q\x010" + files.HOOKS + b"q\x020"
    conjugates = files.zip_file(first + b"(" + view * times + b"l", {"0": bytes(8 * count)})
    moved = tensor(storage("0", 2 * count), 0, (2 * count,), (1,))
    move = [b"h\x01", files.glob("torch.float64"), text("cpu"), b"\x89"]
    each = files.call(files.glob("torch._utils._rebuild_device_tensor_from_cpu_tensor"), *move)
    for data in (
        conjugates,
        files.zip_file(moved + b"q\x010(" + each * times + b"l", {"0": bytes(8 * count)}),
    ):
        for arrays in (None, "numpy"):
            outcome = isolated(data, memory=1 << 30, policy=POLICIES[1], arrays=arrays)
            assert outcome.kind == "refused"
            assert outcome.code in ("policy.argument", "torch.no-array")
    for few in (first + view, moved + b"q\x010" + each):
        assert safeload.scan(files.zip_file(few, {"0": bytes(8 * count)}), policy=POLICIES[1]).verdict == "clean"
