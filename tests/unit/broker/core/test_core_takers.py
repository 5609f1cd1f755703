"""What placing a task costs: looks at agents are counted, not seconds."""

import pytest

from dart.broker.core import placement
from dart.broker.core.capabilities import Capabilities
from dart.broker.core.commands import SendTasks
from dart.broker.core.events import TasksSubmitted
from dart.broker.core.model import TaskPolicy, TaskSpec
from dart.broker.core.takers import KEYS_KEPT
from harness.recorder import Recorder


class Looks:
    """Counts how often placement looks at an agent: what it can take, and what it can do."""

    def __init__(self, monkeypatch):
        self.amount = 0
        for owner, name in ((placement, "room_of"), (Capabilities, "cover")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, function):
        def call(*arguments):
            self.amount += 1
            return function(*arguments)

        return call

    def of(self, r, event):
        """Of one turn, and how many tasks it gave; without the checks that follow each turn of a test otherwise."""
        before = self.amount
        commands = r.reactor.handle(event, r.now)
        given = sum(len(c.leases) for c in commands if isinstance(c, SendTasks))
        return self.amount - before, given


def submission(amount=1, **policy):
    return TasksSubmitted(99, "job", (TaskSpec(TaskPolicy(**policy), b"p"),) * amount, amount)


def connected(amount, **members):
    """So many idle agents, every tenth of which has a camera."""
    r = Recorder()
    r.define()
    for number in range(amount):
        capabilities = ("camera",) if number % 10 == 0 else ()
        r.agent(f"w{number}", capabilities=capabilities, **members)
    return r


@pytest.mark.parametrize("policy", [{}, {"requires": ("camera",)}, {"requires": ("machine=test",)}, {"location": "w7"}])
def test_a_task_costs_the_same_however_many_agents_there_are(monkeypatch, policy):
    """With three times the agents a submission looks at as many of them."""
    costs = []
    for agents in (30, 90):
        r = connected(agents, slots=3, credit=30)
        looks = Looks(monkeypatch)
        looks.of(r, submission(**policy))  # whoever first asks for something makes the list
        found = [looks.of(r, submission(**policy)) for _ in range(5)]
        monkeypatch.undo()
        assert [given for _, given in found] == [1] * 5
        costs.append(max(cost for cost, _ in found))
    assert costs[0] == costs[1] <= 12


def test_a_large_submission_looks_at_as_many_as_it_has_tasks_for(monkeypatch):
    """And gives each of them one."""
    r = connected(60, slots=1, credit=5)
    looks = Looks(monkeypatch)
    looks.of(r, submission())
    cost, given = looks.of(r, submission(20))
    assert given == 20
    assert cost <= 20 * 12
    assert sorted(len(agent.leases) for agent in r.core.agents.values()) == [0] * 39 + [1] * 21


def test_full_agents_are_not_looked_at(monkeypatch):
    """Where nobody has room a task is queued without asking anybody."""
    r = connected(50, slots=1, credit=1)
    r.submit(60)
    looks = Looks(monkeypatch)
    assert looks.of(r, submission(10)) == (0, 0)


def test_those_that_waited_longest_come_first():
    """Tasks go round among idle agents."""
    r = connected(4, slots=1, credit=9)
    agents = [r.puppets[session] for session in r.puppets]
    for _ in range(3):
        for agent in agents:
            (task,) = r.submit()
            assert [ref.task_id for ref in agent.given] == [task]
            agent.finish(*agent.given)
            agent.given.clear()
            agent.credit(9)


def test_an_agent_that_said_hello_again_is_found():
    """With what it can do now, and not with what it could do before."""
    r = Recorder()
    r.define()
    agent = r.agent("w", slots=1, credit=5, capabilities=("camera",))
    other = r.agent("v", slots=1, credit=5, capabilities=("camera",))
    r.submit(2, requires=("camera",))
    agent.finish(*agent.given)
    other.finish(*other.given)
    agent.capabilities = ()
    agent.lose()
    agent.hello()
    agent.credit(5)
    (task,) = r.submit(1, requires=("camera",))
    assert other.given[-1].task_id == task
    tasks = r.submit(2)
    assert agent.given[-1].task_id in tasks


def test_lists_are_bounded():
    """Of requirements that nobody asks for any more none are kept, and those that are used stay."""
    r = connected(3, slots=1, credit=1000)
    for number in range(KEYS_KEPT + 2):
        r.submit(1, requires=(f"machine!=x{number}",))
        r.submit(1)
    kept = [key for key, _ in r.core.takers.items()]
    assert len(kept) == KEYS_KEPT
    assert ("", ()) in kept
    r.submit(1, location="w1")
    assert ("w1", ()) in [key for key, _ in r.core.takers.items()]
    next(puppet for puppet in r.puppets.values() if puppet.name == "w1").lose()
    assert ("w1", ()) not in [key for key, _ in r.core.takers.items()]
