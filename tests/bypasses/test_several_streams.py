"""Streams that share a memo: what one adds to an object of an earlier one is weighed like what it makes itself.

A second stream can take a dict out of the memo and put further keys into it. Where only new containers are looked at, a few bytes
crash the process (a key nested a million deep) or stall it.
"""

from __future__ import annotations

import io
import struct

import pytest

import safeload
from tests.bypasses.pickle_parts import glob
from tests.bypasses.pickle_parts import short as text

HEAD = b"\x80\x04"
DEEP = b"N" + b"\x85" * 200_000
SHARED = b"N\x85" + b"2\x86" * 100
PRIME = (1 << 61) - 1
DECIMAL = glob("decimal", "Decimal")


def number(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + raw


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def refusal(*streams: bytes) -> safeload.SafeloadError:
    """What refuses the last of the streams, which one unpickler reads."""
    unpickler = safeload.Unpickler(io.BytesIO(b"".join(HEAD + stream for stream in streams)))
    for _ in streams[:-1]:
        unpickler.load()
    with pytest.raises(safeload.SafeloadError) as caught:
        unpickler.load()
    return caught.value


@pytest.mark.parametrize("key", [DEEP, SHARED], ids=["deep", "shared"])
@pytest.mark.parametrize(
    ("first", "before", "behind"),
    [
        (b"}\x94.", b"h\x00", b"Ns."),
        (b"}\x94.", b"h\x00(", b"Nu."),
        (b"\x8f\x94.", b"h\x00(", b"\x90."),
        (glob("collections", "OrderedDict") + b")R\x94(K\x01Nu.", b"h\x00", b"Ns."),
        (b"}\x94(K\x01Nu.", b"h\x00K\x020", b"0h\x00" + DEEP + b"Ns."),
    ],
    ids=["setitem", "setitems", "additems", "made by a call", "not empty"],
)
def test_keys_are_added_later(first: bytes, before: bytes, behind: bytes, key: bytes) -> None:
    """Keys that a later stream puts into a dict or set of an earlier one are weighed."""
    assert refusal(first, before + key + behind).code in ("limit.tuple-depth", "limit.hash-work")


def test_keys_collide_with_those_of_an_earlier_stream() -> None:
    """Collisions are counted over all keys of a dict, whichever stream put them in."""
    parts = [
        b"".join(number((index + 1) * PRIME) + b"N" for index in range(start, start + 900))
        for start in range(0, 5_400, 900)
    ]
    assert (
        refusal(b"}\x94(" + parts[0] + b"u.", *(b"h\x00(" + part + b"u." for part in parts[1:2])).code == "limit.probes"
    )


def test_keys_are_objects_of_an_earlier_stream() -> None:
    """A stream that calls nothing, whose keys are decimals that an earlier one made: their hashes are asked too."""
    made = DECIMAL + b"\x940(" + b"".join(b"h\x00" + text(str((i + 1) * PRIME)) + b"\x85R\x94" for i in range(1_500))
    used = b"}(" + b"".join(get(index + 1) + b"N" for index in range(1_500)) + b"u."
    assert refusal(made + b"l.", used).code == "limit.probes"


@pytest.mark.parametrize(("keys", "dicts"), [(512, 400), (900, 100)])
def test_many_dicts_that_collide_a_little(keys: int, dicts: int) -> None:
    """Hundreds of dicts with the same few hundred colliding keys: no chain is long, all together take as long as a long one."""
    made = DECIMAL + b"\x940" + b"".join(b"h\x00" + text(str((i + 1) * PRIME)) + b"\x85R\x940" for i in range(keys))
    one = b"}(" + b"".join(get(index + 1) + b"N" for index in range(keys)) + b"u"
    assert refusal(made + b"(" + one * dicts + b"t.").code == "limit.constructed-keys"


def test_honest_streams() -> None:
    """What is memoized may be added to."""
    stream = safeload.Unpickler(io.BytesIO(HEAD + b"}\x94." + HEAD + b"h\x00(K\x01Nu." + HEAD + b"h\x00K\x02Ns."))
    assert [dict(stream.load()) for _ in range(3)] == [{}, {1: None}, {1: None, 2: None}]
