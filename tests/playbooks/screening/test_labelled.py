"""The screening measured on the labelled set, and that the documentation says what was measured."""

import pytest

from tests.playbooks.screening import beside
from tests.playbooks.screening.measure import DOCUMENT, Measured, measure, samples, written


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measure()


def test_the_set_is_as_large_as_it_is_said_to_be_and_no_sample_stands_in_it_twice() -> None:
    every = list(samples())
    assert sum(sample.bad for sample in every) >= 100
    assert sum(not sample.bad for sample in every) >= 300
    texts = [(sample.definition["description"], str(sample.definition["inputSchema"])) for sample in every]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("held_out", [False, True], ids=["written with", "held out"])
def test_nine_of_ten_poisoned_definitions_are_found(measured: Measured, *, held_out: bool) -> None:
    found, of = measured.share(bad=True, held_out=held_out)
    assert found / of >= 0.9, [sample.name for sample in measured.wrong if sample.bad]


@pytest.mark.parametrize("held_out", [False, True], ids=["written with", "held out"])
def test_at_most_one_clean_definition_in_fifty_is_taken_for_poison(measured: Measured, *, held_out: bool) -> None:
    false, of = measured.share(bad=False, held_out=held_out)
    assert false / of <= 0.02, [sample.name for sample in measured.wrong if not sample.bad]


def test_every_kind_of_poison_is_found_more_often_than_not(measured: Measured) -> None:
    for group in {key[1] for key in measured.of if key[0]}:
        found, of = measured.share(bad=True, group=group)
        assert found / of > 0.5, group


def test_the_documentation_says_what_was_measured() -> None:
    assert DOCUMENT.read_text("utf-8") == written(), "run `make screening`"


def test_beside_the_other_screening_ours_is_what_was_measured() -> None:
    document = DOCUMENT.read_text("utf-8")
    assert document == beside.written(document, beside.read(document)), "run `make screening`"
