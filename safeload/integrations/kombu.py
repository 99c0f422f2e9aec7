"""Celery and kombu: the serializer ``safeload``.

kombu finds it by its entry point, so a Celery application says ``task_serializer="safeload"``, ``result_serializer="safeload"`` and
``accept_content=["safeload"]``, and no more. Messages are judged under the policy of the default loader, and signed if that has keys.
What is refused is a ``kombu.exceptions.DecodeError`` there, as any message is that cannot be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from safeload.integrations.values import Values

if TYPE_CHECKING:
    from safeload.api.loader import Loader

__all__ = ["CONTENT_TYPE", "register", "serializer"]

CONTENT_TYPE: Final = "application/x-safeload"
_PURPOSE: Final = "kombu"


def _functions(values: Values) -> tuple[Any, Any]:
    def loads(data: Any) -> Any:
        return values.loads(data.encode("latin-1") if isinstance(data, str) else data)

    return values.dumps, loads


# What the entry point "kombu.serializers" names: the arguments of kombu's register().
serializer: Final = (*_functions(Values(purpose=_PURPOSE)), CONTENT_TYPE, "binary")


def register(loader: Loader | None = None, *, name: str = "safeload") -> None:
    """Register a serializer with a loader of its own; without one, what the entry point registers.

    Args:
        loader: judges messages; one with keys signs them and takes no others.
        name: of the serializer, to be used for ``task_serializer``; its content type carries the name if it is another one.
    """
    from kombu.serialization import register as register_serializer

    dumps, loads = _functions(Values(loader, purpose=_PURPOSE))
    content_type = CONTENT_TYPE if name == "safeload" else f"{CONTENT_TYPE}-{name}"
    register_serializer(name, dumps, loads, content_type=content_type, content_encoding="binary")
