"""The functions of the benchmarks as tasks of Celery, at the Redis that `BENCH_REDIS` names."""

import os

import bench_tasks
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
TASKS = {
    function.__name__: app.task(name=f"bench.{function.__name__}")(function)
    for function in (bench_tasks.noop, bench_tasks.gate)
}
