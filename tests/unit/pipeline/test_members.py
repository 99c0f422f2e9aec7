"""Members of an artifact: equal ones are judged once, and all of them have one budget."""

from __future__ import annotations

import collections
import gzip
import io
import pickle
import tarfile
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

import safeload
from safeload import LimitExceededError, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EVIL = b"cposix\nsystem\n(S'true'\ntR."


def counter(number: int) -> bytes:
    """A small pickle that calls something."""
    return pickle.dumps(collections.OrderedDict(a=number))


def zipped(files: Iterable[bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(files):
            archive.writestr(str(number), data)
    return file.getvalue()


def tarred(files: Iterable[bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, data in enumerate(files):
            info = tarfile.TarInfo(str(number))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_equal_members_are_judged_once(pack: Callable[[Iterable[bytes]], bytes]) -> None:
    """The work for one of them is all that fifty cost; fifty different ones are over the same limit."""
    limits = Limits(max_work=5_000)
    same = safeload.scan(pack([counter(0)] * 50), limits=limits)
    assert (same.verdict, len(same.members)) == ("clean", 50)
    assert len({member.sha256 for member in same.members}) == 1
    packed = pack(map(counter, range(50)))
    report = safeload.scan(packed, limits=Limits(max_work=5_000))
    if len(packed) * 16 < 50 * 2_000:  # not out of proportion in a tar archive, each of whose files takes a kilobyte
        assert report.verdict == "unknown"
        assert "limit.work" in [finding.rule_id for finding in report.findings]
        assert not report.was_scanned
    else:
        assert report.verdict == "clean"


def test_a_repeated_member_says_where_it_was_judged() -> None:
    """Each of them has the verdict, and the first one the reasons."""
    report = safeload.scan(zipped([counter(0), EVIL, counter(0), EVIL]))
    assert report.verdict == "malicious"
    assert [str(member.verdict) for member in report.members] == ["clean", "malicious", "clean", "malicious"]
    first, again = report.members[1], report.members[3]
    assert "posix.system" in first.globals
    assert [finding.rule_id for finding in again.findings] == ["archive.repeated"]
    assert "'1'" in again.findings[0].message
    assert (again.path, again.sha256, again.size) == ("3", first.sha256, len(EVIL))


@pytest.mark.parametrize(("leaf", "verdict"), [(counter(0), "clean"), (EVIL, "malicious")])
def test_a_tree_of_equal_members(leaf: bytes, verdict: str) -> None:
    """A few hundred bytes hold 65,536 pickles: they are judged once, and the report does not list each of them."""
    for _ in range(4):
        leaf = zipped([leaf] * 16)
    limits = Limits(max_work=5_000)
    report = safeload.scan(leaf, limits=limits)
    assert report.verdict == verdict
    assert len(report.to_json()) < 100_000
    assert safeload.scan(leaf, limits=Limits(max_members=60_000)).findings[0].rule_id == "limit.members"


def test_a_limit_ends_the_walk() -> None:
    """Once the budget is used up no member is judged any more, in no container around it either."""
    inner = [zipped(counter(100 * outer + number) for number in range(20)) for outer in range(20)]
    report = safeload.scan(zipped(inner), limits=Limits(max_work=20_000))
    assert report.verdict == "unknown"
    assert len(report.members) < 10


def test_streams_of_one_file_have_one_budget() -> None:
    """An npz file with eighty arrays of objects has not eighty budgets; scan and load agree."""

    def saved(count: int) -> bytes:
        array = np.full(30_000, None)
        file = io.BytesIO()
        np.savez_compressed(file, **{str(number): array for number in range(count)})
        return file.getvalue()

    limits = Limits(max_work=100_000)
    assert safeload.scan(saved(2), limits=limits).verdict == "clean"
    assert len(safeload.loads(saved(2), limits=limits)) == 2
    assert safeload.scan(saved(80), limits=limits).verdict == "unknown"
    with pytest.raises(LimitExceededError) as caught:
        safeload.loads(saved(80), limits=limits)
    assert caught.value.code == "limit.work"


def test_many_pickles_in_one_file() -> None:
    """One pickle behind the other in a small compressed file: they are counted together, not each for itself."""
    packed = gzip.compress(b"".join(counter(0) for _ in range(2_000)))
    report = safeload.scan(packed, limits=Limits(max_work=200_000))
    assert report.verdict == "unknown"
    assert "limit.work" in [finding.rule_id for member in report.members for finding in member.findings]
