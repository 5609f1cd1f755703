"""The table of open tasks."""

import pytest

from dart.broker.core.id_table import PAGE, IdTable


def table(*ids):
    made = IdTable()
    for number in ids:
        made[number] = f"value {number}"
    return made


def test_what_was_put_in_is_found_and_in_the_order_of_ids():
    """Whatever the order in which it came."""
    made = table(5 * PAGE, 3, PAGE - 1, PAGE, 2)
    assert list(made) == [2, 3, PAGE - 1, PAGE, 5 * PAGE]
    assert (made[3], made.get(4), made.get(9 * PAGE)) == ("value 3", None, None)
    assert (3 in made, 4 in made, len(made)) == (True, False, 5)


def test_walking_from_an_id_on():
    """Above it, wherever in its page it is."""
    made = table(1, 2, PAGE - 1, PAGE, PAGE + 1, 9 * PAGE + 3)
    for after in (0, 1, PAGE - 2, PAGE - 1, PAGE, 5 * PAGE, 9 * PAGE + 2, 9 * PAGE + 3, 20 * PAGE):
        assert [number for number, _ in made.items(after)] == [number for number in made if number > after]
    assert list(made.values(PAGE)) == [f"value {PAGE + 1}", f"value {9 * PAGE + 3}"]


def test_putting_in_again_replaces():
    """And counts once."""
    made = table(7)
    made[7] = "other"
    assert (made[7], len(made)) == ("other", 1)


def test_what_is_not_there_cannot_be_taken_out():
    """As with a dictionary."""
    made = table(7)
    for number in (8, 9 * PAGE):
        with pytest.raises(KeyError):
            made[number]
        with pytest.raises(KeyError):
            del made[number]
    assert made.pop(7) == "value 7"
    assert (len(made), list(made), made.get(7)) == (0, [], None)


def test_it_takes_little_memory():
    """Pages go with their last entry."""
    made = table(*range(1, 10 * PAGE))
    assert len(made._pages) == 10
    for number in list(made):
        if number % PAGE:
            del made[number]
    assert (len(made), len(made._pages)) == (9, 9)
