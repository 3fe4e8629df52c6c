"""A running sum that forgets nothing to rounding."""

from __future__ import annotations


class CompensatedSum:
    """A sum to which terms are added and taken away millions of times.

    Keeps what each addition rounded off (Neumaier 1974), so that the error stays that of one
    addition.
    """

    __slots__ = ("_carry", "_total")

    def __init__(self) -> None:
        self._total = 0.0
        self._carry = 0.0

    def add(self, term: float) -> None:
        total = self._total + term
        if abs(self._total) >= abs(term):
            self._carry += (self._total - total) + term
        else:
            self._carry += (term - total) + self._total
        self._total = total

    @property
    def value(self) -> float:
        return self._total + self._carry
