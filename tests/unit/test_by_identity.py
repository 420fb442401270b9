"""Results are cached by the identity of an object, and only while the object can't be another."""

from __future__ import annotations

from gateway.common.by_identity import cached_by_identity


def test_the_result_for_an_object_is_computed_once() -> None:
    calls: list[list[int]] = []

    @cached_by_identity(2)
    def doubled(numbers: list[int]) -> list[int]:
        calls.append(numbers)
        return [2 * number for number in numbers]

    first, equal = [1, 2], [1, 2]
    assert doubled(first) is doubled(first)
    assert doubled(equal) == doubled(first)
    assert doubled(equal) is not doubled(first)
    assert len(calls) == 2


def test_a_new_object_never_gets_the_result_of_an_old_one() -> None:
    """The identity of an object is free again when the object is gone."""

    @cached_by_identity(3)
    def copied(numbers: list[int]) -> tuple[int, ...]:
        return tuple(numbers)

    for number in range(1000):
        assert copied([number]) == (number,)


def test_the_cache_is_bounded() -> None:
    calls = 0

    @cached_by_identity(2)
    def count(_: object) -> int:
        nonlocal calls
        calls += 1
        return calls

    kept = [object() for _ in range(3)]
    assert [count(one) for one in kept] == [1, 2, 3]
    assert [count(one) for one in kept[1:]] == [2, 3]
    assert count(kept[0]) == 4
