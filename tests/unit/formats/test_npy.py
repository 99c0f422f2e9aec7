"""npy files: what numpy.save writes comes back the same; what it would not write is refused before memory is taken."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import safeload
from safeload.errors import FormatError, LimitExceededError, SafeloadError, TruncatedError
from safeload.formats.npy_header import literal, read_header
from safeload.source.blob import MemoryBlob

if TYPE_CHECKING:
    from pathlib import Path


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def headed(text: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + len(raw).to_bytes(width, "little") + raw + data


def plain(descr: str, shape: str = "(1,)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.flags.f_contiguous == expected.flags.f_contiguous
    assert found.flags.writeable
    assert found.flags.aligned
    if expected.dtype.hasobject:
        assert found.tolist() == expected.tolist()
    else:
        assert content(found) == content(expected)


def content(array: Any) -> list[bytes]:
    """The bytes of all fields, without what lies between them, which numpy does not keep."""
    if array.dtype.names is None:
        return [array.tobytes()]
    return [part for name in array.dtype.names for part in content(array[name])]


SCALARS = ["?", "b", "B", "<i2", ">i2", "<u4", ">i8", "<f2", ">f4", "<f8", "g", "<c8", ">c16", "G", "S5", "<U3", ">U3", "V7", "<M8[ns]",
           ">M8[D]", "m8[25s]", "M8", "S0", "U0", "V0"]  # fmt: skip
STRUCTURES = [
    [("a", "<i4"), ("b", ">f8")],
    [("x", "<f4", (2, 3)), ("y", [("z", "?"), ("w", "S3", (4,))])],
    {"names": ["a", "b"], "formats": ["i1", "<f8"], "offsets": [3, 16], "itemsize": 40},
    [(("a title", "a"), "<i4"), ("b", "M8[s]")],
    [("ü", "<i4"), ("it's", "i1"), ('"q"', "i1"), ("\\n", "i1"), ("日本", "<u2")],
    np.dtype([("a", "i1"), ("b", "<f8")], align=True),
    [(f"field{number}", "<f8") for number in range(2_000)],
    [("deep", [("deeper", [("deepest", "<i2", (1,))])])],
]


@pytest.mark.parametrize("dtype", [*SCALARS, *STRUCTURES], ids=lambda dtype: str(dtype)[:20])
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 3), (2, 0, 3)])
def test_what_numpy_writes(dtype: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Every type and shape, in both orders, from memory and from a file, mapped and not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        empty = np.zeros(shape, dtype)
        array = np.ndarray(shape, dtype, bytearray(b"\1" * (empty.nbytes + 1)))
        for made in (array, np.asfortranarray(array), array[..., ::2] if shape and shape[-1] else array):
            data = saved(made)
            expected = np.load(io.BytesIO(data), max_header_size=1_000_000)
            same(safeload.loads(data), expected)
            path = tmp_path / "x.npy"
            path.write_bytes(data)
            same(safeload.load(path), expected)
            assert content(safeload.load(path, mmap=True)) == content(expected)
            assert safeload.scan(path).verdict == "clean"


@given(hnp.arrays(hnp.scalar_dtypes() | hnp.array_dtypes(max_size=4), hnp.array_shapes(min_dims=0, min_side=0)))
def test_any_array(array: Any) -> None:
    """Whatever hypothesis thinks of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = saved(array)
        assert safeload.dumps(array, codec="npy") == data
    same(safeload.loads(data), np.load(io.BytesIO(data)))


def test_versions() -> None:
    """1.0, 2.0 and 3.0; whatever else a header announces itself as is refused."""
    array = np.arange(3, dtype="<i4")
    for version in ((1, 0), (2, 0), (3, 0)):
        made = headed(plain("'<i4'", "(3,)"), array.tobytes(), version)
        same(safeload.loads(made), array)
    for version in ((0, 0), (1, 1), (4, 0), (255, 255)):
        with pytest.raises(FormatError, match="version"):
            safeload.loads(headed(plain("'<i4'", "(3,)"), array.tobytes(), version))


def test_python_2_headers() -> None:
    """Long integers, as Python 2 wrote sizes, and any order of the keys."""
    data = np.arange(6, dtype="<i4").tobytes()
    made = headed("{'shape': (2L, 3L), 'fortran_order': False, 'descr': '<i4'}   \n", data)
    assert safeload.loads(made).shape == (2, 3)


def test_object_arrays() -> None:
    """The pickle behind the header is judged like any other, and gives what the header announces."""
    array = np.array([{"a": 1}, [2, 3], "text"], dtype=object)
    same(safeload.loads(saved(array)), array)
    fields = np.array([(1, "x"), (2, None)], dtype=[("a", "i4"), ("b", "O")])
    assert safeload.loads(saved(fields)).tolist() == fields.tolist()
    strings = getattr(np.dtypes, "StringDType", None)
    if strings is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = saved(np.array(["a", "bc"], dtype=strings()))
        assert safeload.loads(data).tolist() == ["a", "bc"]
    same(safeload.loads(saved(array), index=slice(1)), array[:1])


@pytest.mark.parametrize(
    "value", [[1, 2], np.arange(3), np.array([1], dtype=object), np.array([[1], [2]], dtype=object), None, "text"]
)
def test_an_object_array_that_is_another(value: Any) -> None:
    """A pickle that gives no array, or one of another shape or type than announced."""
    made = headed(plain("'|O'", "(2,)"), pickle.dumps(value))
    with pytest.raises(FormatError, match="announces objects"):
        safeload.loads(made)


def test_hostile_object_array(tmp_path: Path) -> None:
    """CVE-2019-6446: nothing of the pickle runs, whatever the header says of it."""
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(marker)!r}, 'w')",)

    data = saved(np.array([Evil()], dtype=object))
    assert safeload.scan(data).verdict == "malicious"
    with pytest.raises(safeload.PolicyError):
        safeload.loads(data)
    behind = saved(np.arange(3)) + pickle.dumps(Evil())
    assert safeload.scan(behind).verdict == "malformed"
    with pytest.raises(FormatError, match="follow"):
        safeload.loads(behind)
    assert not marker.exists()


def test_views_and_writes(tmp_path: Path) -> None:
    """An array of a file is private memory that can be written to; the file and the caller's bytes stay as they are."""
    array = np.arange(100_000.0)
    path = tmp_path / "x.npy"
    np.save(path, array)
    before = path.read_bytes()
    for options in ({}, {"mmap": True}):
        found = safeload.load(path, **options)
        found[:] = 0
        assert path.read_bytes() == before
    data = bytes(before)
    safeload.loads(data)[:] = 0
    assert data == before


def test_index(tmp_path: Path) -> None:
    """A part of an array, as for array[index], without the rest of the file."""
    array = np.arange(600, dtype="<i4").reshape(20, 30)
    path = tmp_path / "x.npy"
    for order in "CF":
        np.save(path, np.asarray(array, order=order))
        for index in (3, slice(2, 5), (slice(None), 4), (2, 3), ..., [1, 2], np.arange(20) > 15):
            found = safeload.load(path, index=index)
            assert np.array_equal(found, array[index])
            assert not isinstance(found, np.memmap)
    with pytest.raises(IndexError):
        safeload.load(path, index=99)
    with pytest.raises(FormatError, match="member"):
        safeload.load(path, member="a")


def test_several_arrays_in_an_open_file(tmp_path: Path) -> None:
    """As with numpy.load, each call takes one and leaves the file behind it; a path gives the first, all are judged."""
    arrays = [np.arange(3), np.array([{"a": 1}], dtype=object), np.eye(2)]
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        for array in arrays:
            np.save(file, array, allow_pickle=True)
    with path.open("rb") as file:
        for array in arrays:
            same(safeload.load(file), array)
        with pytest.raises(EOFError):
            safeload.load(file)
    data = saved(arrays[0]) + saved(arrays[2])
    same(safeload.loads(data), arrays[0])
    assert safeload.scan(data).verdict == "clean"
    with pytest.raises(LimitExceededError):
        safeload.loads(saved(arrays[0]) * 3, limits=safeload.Limits(max_members=2))


BAD_HEADERS = {
    "no dict": "[1, 2]",
    "empty": "",
    "code": plain("__import__('os').system('true')"),
    "call": "dict(descr='<i4', fortran_order=False, shape=(1,))",
    "a key too few": "{'descr': '<i4', 'shape': (1,)}",
    "a key too many": "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
    "a key twice": "{'descr': '<i4', 'descr': '<i4', 'fortran_order': False, 'shape': (1,)}",
    "key of two strings": "{'des' 'cr': '<i4', 'fortran_order': False, 'shape': (1,)}",
    "order": plain("'<i4'", order="1"),
    "shape is a list": plain("'<i4'", "[1]"),
    "shape is a number": plain("'<i4'", "1"),
    "negative": plain("'<i4'", "(-1,)"),
    "boolean": plain("'<i4'", "(True,)"),
    "fraction": plain("'<i4'", "(1.0,)"),
    "power": plain("'<i4'", "(9**9,)"),
    "too many dimensions": plain("'<i4'", "(" + "1," * 65 + ")"),
    "huge": plain("'<i4'", "(9999999999999999999,)"),
    "huge with nothing": plain("'<i4'", "(0, 9999999999999999999)"),
    "two sizes without a comma": plain("'<i4'", "(1 1)"),
    "unknown type": plain("'<q9'"),
    "type with a comma": plain("'i4,i4'"),
    "type with a shape": plain("'(2,)i4'"),
    "type by name": plain("'object'"),
    "type as a dict": plain("{'names': ['a', 'b'], 'formats': ['O', '<i8'], 'offsets': [0, 0]}"),
    "fields as a tuple": plain("(('a', '<i4'), ('b', '<i4'))"),
    "a field of four": plain("[('a', '<i4', (1,), 0)]"),
    "a field without a type": plain("[('a',)]"),
    "names twice": plain("[('a', '<i4'), ('a', '<i4')]"),
    "name is a number": plain("[(1, '<i4')]"),
    "huge field": plain("[('a', '<i4', (1000000, 1000000))]"),
    "many huge fields": plain("[" + "('', 'V2000000000')," * 3 + "]"),
    "nested": plain("[('a', " * 30 + "'<i4'" + ")]" * 30),
    "brackets": "(" * 5_000,
    "minus signs": plain("'<i4'", "(" + "-" * 3_000 + "1,)"),
    "bytes": plain("b'<i4'"),
    "format string": plain("f'<i4'"),
    "unterminated": "{'descr': '<i4",
    "behind": plain("'<i4'") + "import os",
    "null": plain("'<i4\0'"),
    "unit": plain("'<M8[zz]'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_bad_headers(case: str) -> None:
    """A header that numpy does not write is refused, and never evaluated."""
    for data in (b"", bytes(64)):
        made = headed(BAD_HEADERS[case], data)
        with pytest.raises(FormatError):
            safeload.loads(made)
        assert safeload.scan(made).verdict == "malformed"


def test_no_field_shares_bytes_with_an_object() -> None:
    """Fields lie one behind the other, so no numbers can forge a reference; where there is one all of it is a pickle."""
    header = read_header(MemoryBlob(headed(plain("[('a', '|O'), ('b', '<i8')]"), bytes(16))))
    assert header.dtype.hasobject
    assert [header.dtype.fields[name][1] for name in "ab"] == [0, 8]
    with pytest.raises(SafeloadError):
        safeload.loads(headed(plain("[('a', '|O'), ('b', '<i8')]"), b"A" * 16))


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(2, 3)", "(1000000, 1000000, 1000000)"])
def test_shapes_beyond_the_data(shape: str) -> None:
    """What is announced is not believed: no memory is taken for bytes that are not there."""
    made = headed(plain("'<f8'", shape), bytes(40))
    tracemalloc.start()
    try:
        with pytest.raises(TruncatedError):
            safeload.loads(made)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_literals() -> None:
    """The parser reads what repr writes of plain literals, and nothing else."""
    for value in ({}, (), [], (1,), [1, (2, "a")], {"a": {"b": None}}, "it's", '"', "\\", "\n", "ü日", True, 10**19):
        assert literal(repr(value)) == value
    assert literal("(1)") == 1
    for text in (
        "1 2",
        "{1: 2}",
        "[1,,2]",
        "(,)",
        "{'a' 1}",
        "{'a': 1 'b': 2}",
        "a",
        "1e5",
        "0x10",
        "'\\",
        "'\\x1'",
        "u1",
        "Truely",
    ):
        with pytest.raises(FormatError):
            literal(text)


def test_writing(tmp_path: Path) -> None:
    """The bytes of numpy.save; what numpy makes an array of is written, compressed is not."""
    for value in (np.arange(5), np.eye(3).T, np.float32(2), [1, 2], np.array(["a"], dtype=object), np.arange(10)[::2], np.zeros(3, "i4,f8"),
                  np.array("2020-01-01", "M8[s]"), np.asfortranarray(np.ones((2, 3))), np.zeros((0, 3))):  # fmt: skip
        assert safeload.dumps(value, codec="npy") == saved(value)
    safeload.dump(np.arange(5), tmp_path / "x.npy", codec="npy")
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="npz"):
        safeload.dumps(np.arange(5), codec="npy", compress=True)
    key = safeload.Key.generate("hs256")
    signed = safeload.dumps(np.arange(5), codec="npy", key=key)
    assert safeload.loads(signed, keys=safeload.KeyRing([key])).tolist() == [0, 1, 2, 3, 4]
