"""Names that CPython, NumPy and other C code look up on an instance, whatever its class is.

What is found under such a name is called, or believed. ``getattr(tz, "utcoffset")`` is how ``datetime`` asks a time zone, ``append`` how
the unpickler adds to what is no list, ``__array_interface__`` where NumPy reads the address of an array's memory: a state that sets
an attribute of that name decides what happens. Rule: the lists hold names that one interpreter or one library looks up on *any*
object; what a class itself defines is asked of the class.
"""

from __future__ import annotations

import operator
import types

__all__ = ["PROTOCOLS", "TOLD", "is_special", "is_taken"]


def is_special(name: str) -> bool:
    """Whether a name is one of those that Python keeps for itself (``__reduce__``, ``__array_struct__``)."""
    return name.startswith("__") and name.endswith("__")


def is_taken(name: str) -> bool:
    """Whether the interpreter or a library asks *any* object for this special name; others are a class's own (``__immutable__``)."""
    return name in _PYTHONS or name.startswith(_LIBRARIES)


_PYTHONS = frozenset(
    name
    for kind in (
        object, type, int, float, complex, str, bytes, bytearray, memoryview, list, tuple, dict, set, frozenset, range, slice,
        BaseException, property, types.FunctionType, types.MethodType, types.ModuleType, types.GeneratorType, types.CoroutineType,
        types.AsyncGeneratorType, types.CodeType, types.GenericAlias, operator,
    )
    for name in dir(kind)
    if is_special(name) and name != "__file__"  # of the module operator; an object may say which file it is from
) | frozenset(
    f"__{name}__"
    for name in """
    del enter exit aenter aexit await aiter anext next bool int float complex index bytes fspath copy deepcopy replace getnewargs
    getnewargs_ex getinitargs getstate setstate reduce reduce_ex set_name get set delete missing length_hint buffer release_buffer
    class_getitem mro_entries prepare instancecheck subclasscheck slots weakref wrapped signature text_signature annotations annotate
    post_init dataclass_fields dataclass_params match_args attrs_attrs conform path loader spec package builtins traceback cause
    context suppress_context notes getattr getattribute setattr delattr getitem setitem delitem dir format hash repr str unicode nonzero
    coerce cmp long hex oct div rdiv idiv radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand rxor ror round
    trunc floor ceil reversed contains iter call new init init_subclass class bases mro name qualname module doc objclass self func
    code globals closure defaults kwdefaults isabstractmethod abstractmethods orig_class orig_bases args origin parameters metadata
    supertype forward_arg mpmath numpy_ufunc sizeof divmod divmod pow typing_subst unpacked methods members all
    """.split()
)  # fmt: skip
# NumPy's, PyTorch's, Arrow's and others' protocols, addresses of memory among them; and what Cython keeps.
_LIBRARIES = tuple(
    f"__{name}"
    for name in """
    array cuda dlpack torch arrow dataframe jax numpy sklearn geo html rich ctypes c_ pyx hip sycl cupy tensor numba xpu mkl
    typing sqlalchemy json partitioned
    """.split()
)

# What is believed when it is data: ctypes passes it to a C function as an address, pandas takes an object of that kind for its own class.
TOLD = frozenset({"_as_parameter_", "_typ"})

# What is called. In this order: pickle; containers; files and codecs; dates and times; numbers; asyncio, generators, locks, contexts;
# sqlite3, ctypes, logging, import system, tracebacks; arrays (numpy.sum(x) calls x.sum()); functions that NumPy calls as methods of the
# items of an array of objects; sparse matrices and linear operators.
PROTOCOLS = frozenset(
    """
    persistent_id persistent_load find_class reducer_override dispatch_table buffer_callback dispatch save
    append extend add update setdefault keys items values get copy pop popitem clear discard remove sort reverse insert index count
    appendleft popleft extendleft rotate move_to_end fromkeys union intersection difference symmetric_difference issubset issuperset
    isdisjoint most_common elements subtract total default_factory _asdict _replace _make _missing_ join split strip encode decode format
    format_map translate casefold lower upper
    read read1 readinto readinto1 readline readlines readall peek seek tell truncate write writelines flush close detach fileno isatty
    seekable readable writable getvalue getbuffer getstate setstate reset open release tobytes tolist hex
    utcoffset tzname dst fromutc toordinal fromordinal timetuple utctimetuple timetz date time isoformat isocalendar strftime astimezone
    timestamp total_seconds localize normalize
    as_integer_ratio bit_length bit_count is_integer conjugate to_bytes from_bytes numerator denominator hypot
    send throw cancel cancelled done result exception set_result set_exception add_done_callback remove_done_callback get_loop call_soon
    call_exception_handler acquire locked wait notify notify_all start run _is_owned _release_save _acquire_restore enter_context
    execute executemany executescript fetchone fetchall fetchmany step finalize inverse value adapt conform cursor commit rollback
    from_param _check_retval_ emit filter handle handleError formatException getMessage exec_module load_module create_module get_code
    get_source get_data get_filename is_package find_spec find_module find_loader print_file_and_line mro register with_traceback
    derive subgroup
    all any argmax argmin argpartition argsort astype byteswap choose clip compress cumprod cumsum diagonal dot dump dumps fill flatten
    getfield item itemset max mean min newbyteorder nonzero partition prod ptp put ravel repeat reshape resize round searchsorted setfield
    setflags squeeze std sum swapaxes take to_device tofile tostring trace transpose var view filled harden_mask soften_mask
    to_numpy to_pandas to_pylist as_py to_arrow to_list
    absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh cbrt ceil cos cosh deg2rad degrees exp exp2 expm1 fabs floor
    frexp isfinite isinf isnan log log10 log1p log2 logical_and logical_not logical_or logical_xor modf rad2deg radians reciprocal rint
    sign signbit sin sinh sqrt square tan tanh trunc factorial gcd lcm maximum minimum
    tocsr tocsc tocoo tobsr todia tolil todok toarray todense asformat asfptype getformat matvec rmatvec matmat rmatmat adjoint _matvec
    _rmatvec _matmat _rmatmat _adjoint getH
    """.split()
)
