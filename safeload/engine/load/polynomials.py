"""NumPy's polynomials, with a dict of their own.

``ABCPolyBase.__setstate__`` makes the state itself the instance's dict. A stream keeps that dict in its memo and could put attributes into it
after they were judged: ``__array_interface__``, where NumPy finds the address of an array's memory. Rule: an instance's dict is
a copy of the state, which nobody else holds.
"""

from __future__ import annotations

from typing import Any

from numpy.polynomial import Chebyshev, Hermite, HermiteE, Laguerre, Legendre, Polynomial

__all__ = [
    "CheckedChebyshev",
    "CheckedHermite",
    "CheckedHermiteE",
    "CheckedLaguerre",
    "CheckedLegendre",
    "CheckedPolynomial",
]


def _checked(cls: Any) -> Any:
    """A subclass that a pickle makes and fills; the object is of NumPy's own class from then on."""

    def set_state(self: Any, state: dict[str, Any]) -> None:
        self.__class__ = cls
        self.__setstate__(dict(state))

    return type(f"Checked{cls.__name__}", (cls,), {"__module__": __name__, "__setstate__": set_state})


CheckedChebyshev = _checked(Chebyshev)
CheckedHermite = _checked(Hermite)
CheckedHermiteE = _checked(HermiteE)
CheckedLaguerre = _checked(Laguerre)
CheckedLegendre = _checked(Legendre)
CheckedPolynomial = _checked(Polynomial)
