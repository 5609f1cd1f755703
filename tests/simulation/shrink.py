"""Finds a small part of a plan that still fails: delta debugging over its steps."""


def shrink(steps, fails, *, runs_max=400):
    """A part of these steps that fails and from which no single step can be taken, if the runs suffice.

    Args:
        steps: A list that fails.
        fails: Whether a list does.
        runs_max: How often `fails` is asked at most.
    """
    runs = 0
    pieces = 2
    while len(steps) >= 2:
        size = -(-len(steps) // pieces)
        for start in range(0, len(steps), size):
            if runs >= runs_max:
                return steps
            runs += 1
            rest = steps[:start] + steps[start + size :]
            if rest and fails(rest):
                steps = rest
                pieces = max(pieces - 1, 2)
                break
        else:
            if size == 1:
                return steps
            pieces = min(len(steps), 2 * pieces)
    return steps
