"""What of a job is on its way."""

import threading

from dart_client.dispatcher import Dispatcher


class SlowJob:
    """Its POST is answered when the test says so."""

    name = "slow"

    def __init__(self):
        self.posting, self.answered = threading.Event(), threading.Event()

    def post_futures(self, futures, entries, traceparent):
        self.posting.set()
        assert self.answered.wait(10)


def test_what_is_under_way_is_unsent():
    """From the submission until the answer, and of this job only."""
    dispatcher, job = Dispatcher(), SlowJob()
    assert not dispatcher.has_unsent("slow")
    dispatcher.put(job, None, None, "")
    assert dispatcher.has_unsent("slow")
    assert job.posting.wait(10)
    assert dispatcher.has_unsent("slow")
    assert not dispatcher.has_unsent("another")
    job.answered.set()
    dispatcher.close(10)
    assert not dispatcher.has_unsent("slow")
