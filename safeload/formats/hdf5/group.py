"""What an HDF5 group is loaded as: a dict that also has the attributes of the file.

Rule: arrays stay plain arrays, so that nothing computes differently because it came from HDF5; whoever wants attributes
asks the group for them.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Group"]


class Group(dict[str, Any]):
    """A group: its members by name, nested groups as :class:`Group`.

    ``dump(group, ..., codec="hdf5")`` writes all of it again. A plain dict is written as a group without attributes.

    Attributes:
        attrs: the attributes of the group itself.
        member_attrs: the attributes of its datasets, by the dataset's name; only of those that have any.
    """

    __slots__ = ("attrs", "member_attrs")

    attrs: dict[str, Any]
    member_attrs: dict[str, dict[str, Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.attrs = {}
        self.member_attrs = {}
