"""pandas frames, series and indexes as plain data, and back.

A frame is taken apart into arrays by public attributes of pandas, and put together by its constructors, which check their
arguments. Rule: a kind of column that is not named here is no plain data; no dtype is made from a text that is not in a table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safeload.sandbox.data.layout import MalformedError, NotPlainError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["frame_node", "framed"]

_MASKED = frozenset(
    "Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float32 Float64 boolean".split()  # as pandas names them
)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,60}|[+-][0-9]{2}:[0-9]{2}", re.ASCII)


def frame_node(value: Any, node: Callable[[Any], Any]) -> dict[str, Any] | None:
    """The tree's node for an object of pandas; ``None`` if it is none that is plain data.

    Raises:
        NotPlainError: a column of it is not.
    """
    import pandas as pd

    kind = type(value)
    parts: dict[str, Any]
    if kind is pd.DataFrame:
        columns = [_column(value.iloc[:, place].array) for place in range(value.shape[1])]
        parts = {"frame": columns, "columns": _index(value.columns), "index": _index(value.index)}
    elif kind is pd.Series:
        parts = {"series": _column(value.array), "index": _index(value.index), "name": value.name}
    elif isinstance(value, pd.Index):
        parts = {"alone": _index(value)}
    elif kind is pd.Timestamp or kind is pd.Timedelta:
        parts = {"stamp": _column(pd.Series([value]).array)}
    elif value is pd.NaT or value is pd.NA:
        parts = {"missing": "NaT" if value is pd.NaT else "NA"}
    else:
        return None
    return {"$frame": node(parts)}


def _column(array: Any) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    dtype = array.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return {"codes": array.codes, "categories": _index(array.categories), "ordered": bool(array.ordered)}
    if isinstance(dtype, pd.StringDtype):
        return {"texts": [text if isinstance(text, str) else None for text in array], "dtype": str(dtype)}
    if isinstance(dtype, pd.DatetimeTZDtype):
        return {"instants": array.tz_convert("UTC").tz_localize(None).to_numpy(), "zone": str(dtype.tz)}
    if str(dtype) in _MASKED:
        return {
            "values": array.to_numpy(dtype.numpy_dtype, na_value=dtype.type(0)),
            "mask": array.isna(),
            "dtype": str(dtype),
        }
    if dtype == np.dtype(object):
        return {"objects": array.to_numpy()}
    if isinstance(dtype, pd.api.extensions.ExtensionDtype) and type(dtype).__name__ != "NumpyEADtype":
        raise NotPlainError(f"a pandas column of {type(dtype).__name__}")
    return {"array": array.to_numpy()}


def _index(index: Any) -> dict[str, Any]:
    import pandas as pd

    if type(index) is pd.RangeIndex:
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    if type(index) is pd.MultiIndex:
        levels = [_index(level) for level in index.levels]
        return {
            "levels": levels,
            "codes": [codes.view() for codes in map(_plain, index.codes)],
            "names": list(index.names),
        }
    if type(index) in (pd.PeriodIndex, pd.IntervalIndex):
        raise NotPlainError(f"pandas.{type(index).__name__}")
    return {"values": _column(index.array), "name": index.name}


def _plain(codes: Any) -> Any:
    import numpy as np

    return np.asarray(codes)


def framed(parts: Any) -> Any:
    """The object of pandas that :func:`frame_node` took apart; everything in ``parts`` is plain data already.

    Raises:
        MalformedError, ValueError, TypeError, KeyError: it fits no frame.
    """
    import pandas as pd

    if type(parts) is not dict:
        raise MalformedError("a frame that is none")
    if "frame" in parts:
        index = _made_index(parts["index"])
        columns = [pd.Series(_made_column(part), index=index, copy=False) for part in _list(parts["frame"])]
        frame = pd.DataFrame(dict(enumerate(columns)), index=index)
        frame.columns = _made_index(parts["columns"])
        return frame
    if "series" in parts:
        return pd.Series(_made_column(parts["series"]), index=_made_index(parts["index"]), name=parts["name"])
    if "alone" in parts:
        return _made_index(parts["alone"])
    if "stamp" in parts:
        return pd.Series(_made_column(parts["stamp"])).iloc[0]
    if "missing" in parts:
        return {"NaT": pd.NaT, "NA": pd.NA}[parts["missing"]]
    raise MalformedError("a frame that is none")


def _made_column(part: Any) -> Any:
    import numpy as np
    import pandas as pd

    if "codes" in part:
        categories, ordered = _made_index(part["categories"]), part["ordered"] is True
        return pd.Categorical.from_codes(_flat(part["codes"]), categories=categories, ordered=ordered)
    if "texts" in part:
        if part["dtype"] not in ("str", "string"):
            raise MalformedError("a dtype of texts that is none")
        if any(type(text) not in (str, type(None)) for text in _list(part["texts"])):
            raise MalformedError("a text that is none")
        return pd.array(part["texts"], dtype=part["dtype"])
    if "zone" in part:
        if type(part["zone"]) is not str or _ZONE.fullmatch(part["zone"]) is None:
            raise MalformedError("a time zone that is none")
        return pd.DatetimeIndex(_flat(part["instants"])).tz_localize("UTC").tz_convert(part["zone"]).array
    if "mask" in part:
        if part["dtype"] not in _MASKED:
            raise MalformedError("a dtype with a mask that is none")
        made = pd.array(_flat(part["values"]), dtype=part["dtype"])
        mask = _flat(part["mask"])
        if mask.dtype != bool or len(mask) != len(made):
            raise MalformedError("a mask that is none")
        made[mask] = pd.NA
        return made
    values = _flat(part["objects"] if "objects" in part else part["array"])
    return pd.Series(values, dtype=object).array if values.dtype == np.dtype(object) else values


def _made_index(part: Any) -> Any:
    import pandas as pd

    if "range" in part:
        start, stop, step = part["range"]
        if any(type(number) is not int for number in (start, stop, step)):
            raise MalformedError("a range that is none")
        return pd.RangeIndex(start, stop, step, name=part["name"])
    if "levels" in part:
        levels = [_made_index(level) for level in _list(part["levels"])]
        codes = [_flat(codes) for codes in _list(part["codes"])]
        return pd.MultiIndex(levels=levels, codes=codes, names=_list(part["names"]), verify_integrity=True)
    return pd.Index(_made_column(part["values"]), name=part["name"])


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise MalformedError("not a list")
    return value


def _flat(value: Any) -> Any:
    import numpy as np

    if type(value) is not np.ndarray or value.ndim != 1:
        raise MalformedError("not a column")
    return value
