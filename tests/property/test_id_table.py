"""The table of open tasks does what a dictionary does, in the order of ids."""

from hypothesis import given
from hypothesis import strategies as st

from dart.broker.core.id_table import IdTable

IDS = st.integers(1, 100) | st.integers(1, 2**63 - 1)


@given(st.lists(st.tuples(st.booleans(), IDS)), IDS)
def test_as_a_dictionary(steps, after):
    """Put in and taken out in any order, near each other and far apart."""
    made, model = IdTable(), {}
    for puts, number in steps:
        if puts:
            made[number] = model[number] = str(number)
        elif number in model:
            assert made.pop(number) == model.pop(number)
        assert (made.get(number), number in made, len(made)) == (model.get(number), number in model, len(model))
    assert list(made.items()) == sorted(model.items())
    assert list(made.values(after)) == [value for number, value in sorted(model.items()) if number > after]
