"""Which seed a sampler gets: who joins or resumes a study must not draw again what was drawn."""

from pathlib import Path
from typing import Any

import pytest

from kasoku.search.study import Book
from kasoku.search.sweep import seed_of

from .test_study import book, run_one


def seeds(*books: Book) -> list[int]:
    return [seed_of(7, one, is_new=False) for one in books]


@pytest.fixture
def shared(tmp_path: Path) -> list[Book]:
    """A study as two machines see it. Their names stand for the machines."""
    books = [book(tmp_path, 6), book(tmp_path, 6)]
    for one, name in zip(books, ("first:1", "second:1"), strict=True):
        one.me = name
    return books


def test_a_new_study_has_the_seed_that_was_given(shared: list[Book]) -> None:
    assert seed_of(7, shared[0], is_new=True) == 7


def test_machines_that_join_one_that_runs_have_seeds_of_their_own(shared: list[Book]) -> None:
    """Mutants: `return seed`; the same for all who join."""
    shared[0].ask()
    assert len({7, *seeds(*shared)}) == 3


def test_machines_that_join_before_the_first_trial_have_seeds_of_their_own(shared: list[Book]) -> None:
    """Mutant: a study whose trials all wait taken for one that nobody runs."""
    assert len({7, *seeds(*shared)}) == 3


def test_who_resumes_alone_has_the_same_seed_on_every_machine_and_another_after_each_trial(shared: list[Book]) -> None:
    """Mutants: the machine in it always; the count of trials not in it, or with those that wait."""
    found: list[Any] = []
    for _ in range(3):
        run_one(shared[0])
        assert seeds(shared[0]) == seeds(shared[1])
        found += seeds(shared[0])
    assert len({7, *found}) == 4
    assert seed_of(8, shared[0], is_new=False) != found[-1]


def test_one_who_joins_draws_no_point_again(tmp_path: Path) -> None:
    """Mutant: `return seed`."""
    first = book(tmp_path, 12, seed=7)
    for _ in range(4):
        run_one(first)
    joined = book(tmp_path, 12, seed=seed_of(7, first, is_new=False))
    while run_one(joined):
        pass
    rates = [trial.params["lr"] for trial in first.finished()]
    assert len(set(rates)) == len(rates) == 12
