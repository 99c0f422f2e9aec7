"""HDF5 files load as nested dicts of arrays, whole or in part, and nothing outside the file is ever touched."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

import safeload
from safeload.findings import Verdict

h5py = pytest.importorskip("h5py")
from safeload.formats.hdf5 import Group


def make(fill, *, userblock=0, **options):
    """The bytes of a file that ``fill(file)`` has written."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=userblock, **options) as file:
        fill(file)
    return buffer.getvalue()


def rules(data):
    """The rule ids of a scan that is not clean."""
    report = safeload.scan(data)
    assert report.verdict is not Verdict.CLEAN
    return {finding.rule_id for finding in report.findings if finding.verdict is not Verdict.CLEAN}


def refused(data, **options):
    """The code with which a load is refused."""
    with pytest.raises(safeload.SafeloadError) as caught:
        safeload.loads(data, **options)
    return caught.value.code


class TestValues:
    @pytest.mark.parametrize(
        "array",
        [
            np.arange(12, dtype="<i4").reshape(3, 4),
            np.arange(5, dtype=">f8"),
            np.array([1 + 2j, 3 - 4j]),
            np.array([True, False, True]),
            np.array([b"abc", b"d"]),
            np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "<i2"), ("b", "<f4")]),
            np.zeros((0, 3), "u1"),
            np.float16([1, 2]),
            np.array([[1, 2], [3, 4]], dtype="u8")[:, ::-1],
        ],
    )
    @pytest.mark.parametrize("compress", [None, "gzip", "lzf"])
    def test_arrays_come_back(self, array, compress):
        """What h5py writes is read equal, in type and value, whatever the storage."""
        options = {"compression": compress, "chunks": True} if compress and array.size else {}
        loaded = safeload.loads(make(lambda file: file.create_dataset("x", data=array, **options)))["x"]
        assert loaded.dtype == array.dtype
        assert loaded.shape == array.shape
        np.testing.assert_array_equal(loaded, array)

    def test_texts_scalars_and_nothing(self):
        """Text is str, bytes stay bytes, scalars are scalars, and an empty dataspace is None."""

        def fill(file):
            file["text"] = "grün"
            file["texts"] = np.array(["a", "", "ß"], object)
            file["fixed"] = np.bytes_(b"abc")
            file["number"] = 2.5
            file["nothing"] = h5py.Empty("f4")
            file.create_dataset("ragged", (2,), h5py.vlen_dtype("i4"))
            file["ragged"][0] = [1, 2, 3]

        loaded = safeload.loads(make(fill))
        assert loaded["text"] == "grün"
        assert list(loaded["texts"]) == ["a", "", "ß"]
        assert loaded["fixed"] == b"abc"
        assert loaded["number"] == 2.5
        assert loaded["nothing"] is None
        assert list(loaded["ragged"][0]) == [1, 2, 3]

    def test_enums_opaque_and_arrays_in_types(self):
        """Less usual types that h5py reads are read."""
        colours = h5py.enum_dtype({"RED": 0, "BLUE": 7}, basetype="i2")
        moments = np.array(["2026-01-02", "2027-03-04"], "M8[D]")

        def fill(file):
            file.create_dataset("enum", data=np.array([0, 7]), dtype=colours)
            file.create_dataset("when", data=moments.astype(h5py.opaque_dtype(moments.dtype)))
            file.create_dataset("grid", (2,), np.dtype(("<i4", (3,))))[...] = np.arange(6).reshape(2, 3)
            file["kind"] = np.dtype("f4")

        loaded = safeload.loads(make(fill))
        assert list(loaded["enum"]) == [0, 7]
        assert h5py.check_enum_dtype(loaded["enum"].dtype) == {"RED": 0, "BLUE": 7}
        np.testing.assert_array_equal(loaded["when"], moments)
        assert loaded["grid"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert loaded["kind"] == np.dtype("f4")

    def test_compound_with_text(self):
        """Variable lengths inside a compound are found where they lie in the file."""
        kind = np.dtype([("id", "i1"), ("name", h5py.string_dtype()), ("x", "f8"), ("note", h5py.string_dtype())])
        rows = np.array([(1, "a", 0.5, "long note"), (2, "bb", 1.5, "")], kind)
        loaded = safeload.loads(make(lambda file: file.create_dataset("x", data=rows, chunks=(1,))))["x"]
        assert loaded["x"].tolist() == [0.5, 1.5]
        assert loaded["note"].tolist() == ["long note", ""]

    def test_groups_and_attributes(self):
        """Groups nest; attributes of groups and datasets are kept beside the arrays."""

        def fill(file):
            file["a/b/x"] = [1, 2]
            file.attrs["title"] = "run"
            file["a"].attrs["n"] = np.int64(3)
            file["a/b/x"].attrs["unit"] = "m"
            file["a/b/x"].attrs["names"] = ["p", "q"]
            file["a/b/x"].attrs["empty"] = h5py.Empty("f4")

        loaded = safeload.loads(make(fill))
        assert isinstance(loaded, Group)
        assert isinstance(loaded, dict)
        assert loaded.attrs == {"title": "run"}
        assert loaded["a"].attrs["n"] == 3
        attrs = loaded["a"]["b"].member_attrs["x"]
        assert attrs["unit"] == "m"
        assert list(attrs["names"]) == ["p", "q"]
        assert attrs["empty"] is None

    @pytest.mark.parametrize("libver", ["earliest", "latest"])
    def test_both_generations_of_the_file_format(self, libver):
        """Object headers of both versions are read, with continuations of attributes."""

        def fill(file):
            for number in range(7):
                file.attrs[f"name{number}"] = "text" * number
            file.create_dataset("x", data=np.arange(1000), chunks=(100,), compression=4)

        loaded = safeload.loads(make(fill, libver=libver))
        assert loaded.attrs["name6"] == "text" * 6
        assert loaded["x"].sum() == 499500

    def test_shared_objects_are_shared(self):
        """Two hard links, and a soft link, to one array are one array."""

        def fill(file):
            file["x"] = np.arange(4)
            file["same"] = file["x"]
            file["soft"] = h5py.SoftLink("/x")

        loaded = safeload.loads(make(fill))
        assert loaded["x"] is loaded["same"] is loaded["soft"]

    def test_user_block(self):
        """A file that begins behind a user block is recognised, and addresses count from there."""

        def fill(file):
            file["x"] = np.arange(10)
            file.create_dataset("y", data=np.arange(100), chunks=(10,), compression="gzip")
            file.attrs["text"] = "variable"

        for size in (512, 1024, 4096):
            data = make(fill, userblock=size)
            assert safeload.scan(data).container == "hdf5"
            loaded = safeload.loads(data)
            assert loaded["x"].tolist() == list(range(10))
            assert loaded["y"].sum() == 4950
            assert loaded.attrs["text"] == "variable"

    def test_missing_chunks_have_the_fill_value(self):
        """What was never written is the fill value, and costs nothing to store."""

        def fill(file):
            data = file.create_dataset("x", (10, 10), "f4", chunks=(4, 4), fillvalue=7)
            data[5, 5] = 1

        loaded = safeload.loads(make(fill))["x"]
        assert loaded[0, 0] == 7
        assert loaded[5, 5] == 1

    @pytest.mark.parametrize("filters", [
        {"compression": "gzip", "shuffle": True, "fletcher32": True}, {"compression": "lzf", "shuffle": True},
        {"fletcher32": True}, {"shuffle": True}, {"scaleoffset": 0}, {"compression": "szip"},
    ])  # fmt: skip
    def test_filters(self, filters):
        """Every filter of HDF5 itself, and lzf, is read; partial chunks too."""
        array = np.random.default_rng(1).integers(0, 90, (103, 17)).astype("i4")
        loaded = safeload.loads(make(lambda file: file.create_dataset("x", data=array, chunks=(20, 10), **filters)))
        np.testing.assert_array_equal(loaded["x"], array)


class TestParts:
    DATA = np.arange(600).reshape(30, 20)

    @pytest.fixture(params=["contiguous", "chunked", "texts"])
    def stored(self, request, tmp_path):
        path = tmp_path / "part.h5"
        array = self.DATA.astype(object).astype(str).astype(object) if request.param == "texts" else self.DATA
        kind = h5py.string_dtype() if request.param == "texts" else None
        chunks = {"chunks": (7, 6), "compression": "gzip"} if request.param == "chunked" else {}
        with h5py.File(path, "w") as file:
            file.create_dataset("g/x", data=array, dtype=kind, **chunks)
            file["other"] = np.arange(3)
        return path, array

    @pytest.mark.parametrize("index", [
        0, -1, slice(3, 9), slice(None, None, -3), (slice(2, 4), 5), (..., slice(1, 20, 7)), (3, 4), slice(5, 5), ...,
        (slice(20, 2, -4), slice(None)),
    ])  # fmt: skip
    def test_index(self, stored, index):
        """A part is what NumPy's indexing gives of the whole."""
        path, array = stored
        np.testing.assert_array_equal(safeload.load(path, member="/g/x", index=index), array[index])

    def test_member(self, stored):
        """A group or dataset by its path, without the rest."""
        path, array = stored
        np.testing.assert_array_equal(safeload.load(path, member="g")["x"], array)
        assert set(safeload.load(path, member="/")) == {"g", "other"}

    def test_only_the_part_is_read(self, tmp_path):
        """A part of an array that is far beyond the limits loads; the array does not."""
        path = tmp_path / "large.h5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset("x", (1 << 40,), "f8", chunks=(1 << 10,), compression="gzip")
            data[1 << 30] = 5
        part = safeload.load(path, member="x", index=slice((1 << 30) - 2, (1 << 30) + 2))
        assert part.tolist() == [0, 0, 5, 0]
        with pytest.raises(safeload.LimitExceededError):
            safeload.load(path)
        with pytest.raises(safeload.LimitExceededError):
            safeload.load(path, member="x", index=slice(0, 1 << 38))

    def test_mistakes_of_the_caller(self, stored):
        """A wrong name, place or kind of index says so, as the exception that a dict or an array raises."""
        path, _ = stored
        with pytest.raises(KeyError, match="nope"):
            safeload.load(path, member="nope")
        with pytest.raises(IndexError):
            safeload.load(path, member="g/x", index=99)
        with pytest.raises(TypeError):
            safeload.load(path, member="g/x", index="a")
        with pytest.raises(ValueError, match="member"):
            safeload.load(path, member="g", index=0)

    def test_mapped(self, stored):
        """With mmap an array stays in the file where it lies there as it is."""
        path, array = stored
        np.testing.assert_array_equal(safeload.load(path, member="g/x", mmap=True), array)

    def test_the_way_to_a_member_leads_over_no_link(self, tmp_path):
        """A link in the path of member= is not followed."""
        path = tmp_path / "links.h5"
        with h5py.File(path, "w") as file:
            file["away"] = h5py.ExternalLink("/etc/passwd", "/")
        with pytest.raises(safeload.FormatError):
            safeload.load(path, member="away/x")


class TestWriting:
    TREE = {
        "numbers": np.arange(4000.0).reshape(40, 100), "nested": {"deep": {"flags": np.array([True, False])}},
        "text": "ä", "raw": b"ab\0\0", "none": None, "one": 3, "texts": np.array(["x", "yy"]), "z": np.array([1j]),
        "when": np.array(["2026-01-01"], "M8[s]"), "empty": {}, "no bytes": b"x",
    }  # fmt: skip

    @pytest.mark.parametrize("compress", [None, True, 9, "gzip", "lzf", "szip", ("gzip", 1)])
    def test_roundtrip(self, compress):
        """What dump writes, load gives back."""
        loaded = safeload.loads(safeload.dumps(self.TREE, codec="hdf5", compress=compress))
        np.testing.assert_array_equal(loaded["numbers"], self.TREE["numbers"])
        assert loaded["nested"]["deep"]["flags"].tolist() == [True, False]
        assert loaded["text"] == "ä"
        assert bytes(loaded["raw"]) == b"ab\0\0"
        assert loaded["none"] is None
        assert loaded["one"] == 3
        assert list(loaded["texts"]) == ["x", "yy"]
        np.testing.assert_array_equal(loaded["when"], self.TREE["when"])
        assert loaded["empty"] == {}

    def test_attributes_survive(self):
        """Loading and dumping keeps attributes."""
        data = make(
            lambda file: (file.create_dataset("x", data=[1]), file["x"].attrs.update(a="b"), file.attrs.update(c=2))
        )
        again = safeload.loads(safeload.dumps(safeload.loads(data), codec="hdf5"))
        assert again.attrs == {"c": 2}
        assert again.member_attrs["x"] == {"a": "b"}

    def test_in_an_envelope(self):
        """The codec's name is under the signature, and the payload is judged like a file."""
        key = safeload.Key.generate("hs256")
        sealed = safeload.dumps({"x": np.arange(3)}, codec="hdf5", key=key)
        assert safeload.loads(sealed, keys=key)["x"].tolist() == [0, 1, 2]
        assert safeload.scan(sealed, keys=safeload.KeyRing([key])).verdict is Verdict.CLEAN

    @pytest.mark.parametrize("wrong", [
        [1], {"a/b": 1}, {1: 2}, {"x": np.array([object()])}, {"x": [1, "a", None]}, {"x": "a\0b"}, {"": 1},
    ])  # fmt: skip
    def test_what_would_not_come_back_is_not_written(self, wrong):
        """Nothing is pickled, renamed or cut off silently."""
        with pytest.raises((TypeError, ValueError)):
            safeload.dumps(wrong, codec="hdf5")

    def test_compress_is_checked(self):
        """A compression that does not exist is a mistake of the caller."""
        with pytest.raises(ValueError, match="compress"):
            safeload.dumps({}, codec="hdf5", compress="zip")

    def test_a_dict_in_itself(self):
        """A circle is refused before anything is written."""
        circle = {}
        circle["me"] = circle
        with pytest.raises(ValueError, match="itself"):
            safeload.dumps(circle, codec="hdf5")


class TestOutside:
    def test_external_link(self, tmp_path):
        """A link into another file is reported and not followed."""
        other = tmp_path / "other.h5"
        other.write_bytes(make(lambda file: file.create_dataset("secret", data=[1])))
        data = make(lambda file: file.__setitem__("away", h5py.ExternalLink(str(other), "/secret")))
        assert rules(data) == {"hdf5.external-link"}
        assert refused(data) == "hdf5.external-link"

    def test_external_storage(self, tmp_path):
        """Array bytes in another file are reported and not read."""
        raw = tmp_path / "raw.bin"
        raw.write_bytes(bytes(80))
        data = make(lambda file: file.create_dataset("x", (10,), "f8", external=[(str(raw), 0, 80)]))
        assert rules(data) == {"hdf5.external-storage"}
        assert refused(data) == "hdf5.external-storage"

    @pytest.mark.parametrize("shape", [(10,), (None,)])
    def test_virtual_dataset(self, tmp_path, shape):
        """A dataset made of others is reported; its sources are not opened, not even to learn its shape."""
        other = tmp_path / "source.h5"
        with h5py.File(other, "w") as file:
            file.create_dataset("x", data=np.arange(10), maxshape=(None,))
        layout = h5py.VirtualLayout((10,), "i8", maxshape=shape)
        source = h5py.VirtualSource(str(other), "x", (10,), maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED if shape[0] is None else 10] = source[
            : h5py.h5s.UNLIMITED if shape[0] is None else 10
        ]
        data = make(lambda file: file.create_virtual_dataset("v", layout), libver="latest")
        opened = []
        sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" and opened is not None else None)
        assert rules(data) == {"hdf5.virtual-dataset"}
        assert str(other) not in opened
        assert refused(data) == "hdf5.virtual-dataset"

    def test_references(self):
        """Object and region references are reported and not given out."""

        def fill(file):
            file["x"] = [1, 2]
            file.create_dataset("object", data=file["x"].ref, dtype=h5py.ref_dtype)
            file.create_dataset("region", data=file["x"].regionref[:1], dtype=h5py.regionref_dtype)
            file["x"].attrs["ref"] = file["x"].ref

        assert rules(make(fill)) == {"hdf5.reference"}
        assert len([f for f in safeload.scan(make(fill)).findings if f.rule_id == "hdf5.reference"]) == 3
        assert refused(make(fill)) == "hdf5.reference"

    def test_a_reference_in_an_attribute_is_left_out(self):
        """The palette of an image: the dataset on which it stands loads, and a dataset of references is named by the error."""

        def fill(file):
            file["palette"] = np.zeros((4, 3), "u1")
            file["image"] = np.ones((2, 2), "u1")
            file["image"].attrs["PALETTE"] = file["palette"].ref

        def more(file):
            fill(file)
            file.create_dataset("cells", data=file["palette"].ref, dtype=h5py.ref_dtype)

        assert safeload.scan(make(fill)).verdict is Verdict.CLEAN
        assert safeload.loads(make(fill))["image"].tolist() == [[1, 1], [1, 1]]
        with pytest.raises(safeload.PolicyError, match="cells"):
            safeload.loads(make(more))
        assert safeload.loads(make(more), member="image").tolist() == [[1, 1], [1, 1]]

    def test_dimension_scales_are_left_out(self):
        """The references that netCDF files have everywhere are noted; the arrays load."""

        def fill(file):
            file["x"], file["scale"] = np.arange(3), np.arange(3)
            file["scale"].make_scale("s")
            file["x"].dims[0].attach_scale(file["scale"])

        report = safeload.scan(make(fill))
        assert report.verdict is Verdict.CLEAN
        assert {finding.rule_id for finding in report.findings} == {"hdf5.reference"}
        loaded = safeload.loads(make(fill))
        assert "DIMENSION_LIST" not in loaded.member_attrs.get("x", {})

    def test_user_defined_filter(self):
        """A filter that only a plugin has is reported, and no plugin is loaded for it."""

        def fill(file):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((10,))
            properties.set_filter(305, h5py.h5z.FLAG_OPTIONAL, (1,))
            space = h5py.h5s.create_simple((10,))
            h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, space, properties)

        assert rules(make(fill)) == {"hdf5.filter"}
        assert refused(make(fill)) == "hdf5.filter"

    def test_plugins_of_the_process_survive(self):
        """The plugin directories of the process are as they were, afterwards."""
        before = [h5py.h5pl.get(index) for index in range(h5py.h5pl.size())]
        safeload.loads(make(lambda file: file.create_dataset("x", data=[1])))
        assert [h5py.h5pl.get(index) for index in range(h5py.h5pl.size())] == before

    def test_soft_links(self):
        """A soft link to nothing is left out and noted; one to an external link does not lead out."""

        def dangling(file):
            file["nowhere"] = h5py.SoftLink("/not/there")
            file["up"] = h5py.SoftLink("../../etc/passwd")

        assert safeload.loads(make(dangling)) == {}
        assert {finding.rule_id for finding in safeload.scan(make(dangling)).findings} == {"hdf5.soft-link"}

        def outside(file):
            file["away"] = h5py.ExternalLink("other.h5", "/")
            file["via"] = h5py.SoftLink("/away/x")

        assert refused(make(outside)) == "hdf5.external-link"

    def test_circles(self):
        """A group that contains itself, by a hard or a soft link, is refused."""

        def hard(file):
            file.create_group("a/b")
            file["a/b/again"] = file["a"]

        def soft(file):
            file.create_group("a")
            file["a/again"] = h5py.SoftLink("/a")

        assert refused(make(hard)) == "hdf5.circle"
        assert refused(make(soft)) == "hdf5.circle"

    def test_many_links_to_one_group_cost_nothing(self):
        """A lattice of hard links has 2**60 paths and 60 objects."""

        def fill(file):
            group = file
            for _ in range(60):
                below = group.create_group("l")
                group["r"] = below
                group = below

        loaded = safeload.loads(make(fill))
        assert loaded["l"] is loaded["r"]


class Boom:
    """What a hostile pickle is made of."""

    def __reduce__(self):
        return os.system, ("true",)


class TestPickles:
    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("place", ["attribute", "opaque", "text", "fixed", "bytes", "ragged", "compound"])
    def test_hostile_pickles_are_found_wherever_they_are(self, protocol, place):
        """A pickled value is judged by the engine, whatever type it is stored as."""
        data = pickle.dumps(Boom(), protocol)

        def fill(file):
            if place == "attribute":
                file.attrs["state"] = np.bytes_(data)
            elif place == "opaque":
                file["x"] = np.void(data)
            elif place == "text":
                file["x"] = np.array([b"first", data], dtype=h5py.string_dtype("utf-8", len(data)))
            elif place == "fixed":
                file["x"] = np.array([b"some", data + bytes(5)])
            elif place == "bytes":
                file["x"] = np.frombuffer(data, "u1")
            elif place == "ragged":
                values = file.create_dataset("x", (2,), h5py.vlen_dtype("u1"), chunks=(1,))
                values[1] = np.frombuffer(data, "u1")
            else:
                file["x"] = np.array([(1, data)], [("n", "i4"), ("o", f"S{len(data)}")])

        hostile = make(fill)
        if place == "bytes" and protocol < 2:
            return  # an array of bytes without a pickle's first two is nothing but numbers
        assert safeload.scan(hostile).verdict is Verdict.MALICIOUS
        with pytest.raises(safeload.PolicyError):
            safeload.loads(hostile)

    def test_harmless_pickles_are_reported_and_stay_bytes(self):
        """PyTables keeps Python objects as pickles: they are noted, judged, and not unpickled."""
        data = pickle.dumps({"a": (1, 2)}, 0)
        artifact = make(lambda file: file.attrs.__setitem__("state", np.bytes_(data)))
        report = safeload.scan(artifact)
        assert report.verdict is Verdict.CLEAN
        assert "hdf5.pickled" in {finding.rule_id for finding in report.findings}
        assert safeload.loads(artifact).attrs["state"] == data

    def test_a_payload_before_a_broken_end(self):
        """What would act before it breaks is judged although it is no whole pickle."""
        data = pickle.dumps(Boom(), 2)[:-1] + b"\xff"
        assert safeload.scan(make(lambda file: file.attrs.__setitem__("s", np.void(data)))).verdict is not Verdict.CLEAN

    @pytest.mark.parametrize("text", ["cat sat.", "(none)", "I1", "N.", "K", "This is text.", "c\nd\n", "\x80"])
    def test_ordinary_texts_are_no_pickles(self, text):
        """Words do not refuse a file."""
        loaded = safeload.loads(make(lambda file: file.attrs.__setitem__("s", text)))
        assert loaded.attrs["s"] == text


class TestBombs:
    def test_announced_and_not_stored(self):
        """2**60 elements of nothing are refused from the announcement."""
        data = make(lambda file: file.create_dataset("x", (1 << 20, 1 << 20, 1 << 20), "f8", chunks=(64, 64, 64)))
        assert refused(data) == "limit.unpacked-bytes"
        assert "limit.unpacked-bytes" in rules(data)

    def test_many_datasets_together(self):
        """Datasets that are small enough one by one count together."""

        def fill(file):
            for number in range(40):
                file.create_dataset(f"x{number}", (1 << 20,), "f8", chunks=(1 << 10,))

        assert refused(make(fill)) == "limit.ratio"

    def test_chunk_that_unpacks_to_more(self):
        """A chunk is unpacked to its own size and no further."""

        def fill(file):
            data = file.create_dataset("x", (1000,), "f8", chunks=(1000,), compression="gzip")
            data.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 28)))

        assert refused(make(fill)) == "hdf5.chunk"

    @pytest.mark.parametrize("options", [{"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {}])
    @pytest.mark.parametrize("mask", [0, 1])
    @pytest.mark.parametrize("kind", ["f8", "S8", "text"])
    def test_chunk_that_unpacks_to_less(self, options, mask, kind):
        """A short chunk makes libhdf5 read beyond its memory (it crashes): it is refused before."""

        def fill(file):
            dtype = h5py.string_dtype() if kind == "text" else kind
            data = file.create_dataset("x", (1000, 1000), dtype, chunks=(1000, 1000), **options)
            short = {"gzip": zlib.compress(b"\1" * 80), "lzf": b"\0\1" * 40}.get(options.get("compression"), b"\1" * 80)
            data.id.write_direct_chunk((0, 0), short, filter_mask=mask if options else 0)

        assert refused(make(fill)) in {"hdf5.chunk", "hdf5.filter", "limit.ratio"}

    def test_twice_compressed(self):
        """Two compressions multiply; no writer does that."""

        def fill(file):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_chunk((10,))
            properties.set_deflate(1)
            properties.set_filter(h5py.h5z.FILTER_LZF, 0, (4, 261, 80))
            h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((10,)), properties)

        assert rules(make(fill)) == {"hdf5.filter"}

    @pytest.mark.parametrize("length", [5000, 1 << 28, 0xFFFFFFF0])
    @pytest.mark.parametrize("place", ["dataset", "chunked", "attribute", "compound"])
    def test_variable_length_that_is_not_there(self, length, place):
        """libhdf5 takes the memory that a length announces: the length is looked at before."""
        kind = np.dtype([("n", "i8"), ("s", h5py.string_dtype())])

        def fill(file):
            if place == "attribute":
                file.attrs["s"] = "needle" * 7
            elif place == "compound":
                file.create_dataset("s", data=np.array([(1, "needle" * 7)], kind))
            else:
                file.create_dataset(
                    "s", data=["needle" * 7], dtype=h5py.string_dtype(), chunks=(1,) if place == "chunked" else None
                )

        data = bytearray(make(fill))
        wanted = struct.pack("<I", 42)
        places = [
            at for at in range(len(data)) if data[at : at + 4] == wanted and data[at + 12 : at + 16] == b"\1\0\0\0"
        ]
        assert places
        for at in places:
            data[at : at + 4] = struct.pack("<I", length)
        assert refused(bytes(data)) == "format.malformed"

    def test_variable_lengths_that_share_their_bytes(self):
        """A thousand elements that are the same megabytes count as often as they are."""

        def fill(file):
            file.create_dataset("s", data=["x" * (1 << 20)] + ["y"] * 999, dtype=h5py.string_dtype())

        data = bytearray(make(fill))
        with h5py.File(io.BytesIO(bytes(data))) as file:
            at = file["s"].id.get_offset()
        data[at : at + 16000] = bytes(data[at : at + 16]) * 1000
        assert safeload.loads(bytes(data), limits=safeload.Limits(max_ratio=2000))["s"][999] == "x" * (1 << 20)
        assert refused(bytes(data), limits=safeload.Limits(max_ratio=100)) == "limit.ratio"

    def test_too_many_objects(self):
        """Groups count as members."""
        data = make(lambda file: [file.create_group(str(number)) for number in range(50)])
        assert refused(data, limits=safeload.Limits(max_members=40)) == "limit.members"

    def test_too_deep(self):
        """Depth is bounded."""
        data = make(lambda file: file.create_group("/".join("a" * 60)))
        assert refused(data, limits=safeload.Limits(max_nesting=50)) == "limit.depth"

    def test_opaque_type_that_claims_to_be_objects(self):
        """h5py makes a dtype of an opaque type's tag; ``O`` would turn bytes of the file into pointers."""

        def fill(file):
            kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
            kind.set_tag(b"NUMPY:|O")
            h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create_simple((4,)))
            h5py.h5a.create(file.id, b"a", kind, h5py.h5s.create_simple((4,)))

        assert rules(make(fill)) == {"hdf5.opaque"}
        assert refused(make(fill)) == "hdf5.opaque"


class TestBrokenFiles:
    def whole(self):
        """A small file with a bit of everything."""

        def fill(file):
            file["a/x"] = np.arange(20)
            file.create_dataset("a/y", data=np.arange(100), chunks=(10,), compression="gzip", shuffle=True)
            file.create_dataset("s", data=["aa", "bbb"], dtype=h5py.string_dtype())
            file.attrs["t"] = "text"
            file["c"] = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])

        return make(fill)

    def test_truncated(self):
        """Every truncation is refused with an error of safeload."""
        data = self.whole()
        for size in [*range(8, 200, 7), *range(200, len(data) - 1, 97)]:
            with pytest.raises(safeload.SafeloadError):
                safeload.loads(data[:size])

    def test_mutated(self):
        """A changed file is refused or loads; nothing else happens (in a process of its own: libhdf5 is C)."""
        program = (
            "import sys, random, safeload\n"
            "data = sys.stdin.buffer.read(); chance = random.Random(7)\n"
            "for _ in range(120):\n"
            "    copy = bytearray(data)\n"
            "    for _ in range(chance.choice((1, 1, 2, 5))): copy[chance.randrange(len(copy))] = chance.randrange(256)\n"
            "    try: safeload.scan(bytes(copy)); safeload.loads(bytes(copy))\n"
            "    except safeload.SafeloadError: pass\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], input=self.whole(), capture_output=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def test_polyglots(self):
        """A pickle in the user block, which pickle.load would execute, is refused."""
        data = bytearray(make(lambda file: file.create_dataset("x", data=[1]), userblock=512))
        for protocol in (0, 2):
            payload = pickle.dumps(Boom(), protocol)
            both = bytes(payload + data[len(payload) :])
            assert safeload.scan(both).verdict is not Verdict.CLEAN
            with pytest.raises(safeload.SafeloadError):
                safeload.loads(both)

    def test_family_files(self):
        """A file that announces a driver, and so other files, is not opened."""
        data = bytearray(self.whole())
        data[48:56] = struct.pack("<Q", 96)
        assert refused(bytes(data)) == "format.unsupported"

    def test_without_h5py(self, monkeypatch):
        """Without h5py the message names the extra, and the file counts as not scanned."""
        monkeypatch.setitem(sys.modules, "h5py", None)
        report = safeload.scan(self.whole_bytes)
        assert report.verdict is Verdict.SKIPPED
        with pytest.raises(safeload.SafeloadError, match=r"safeload\[hdf5\]"):
            safeload.loads(self.whole_bytes)

    @property
    def whole_bytes(self):
        return self.whole() if sys.modules.get("h5py") else _KEPT


_KEPT = TestBrokenFiles().whole()
