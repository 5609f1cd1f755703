"""The yardstick: about the most that a broker process in Python can do, and nothing else.

One message a task over plain ZeroMQ from a client through a router to two workers: no encryption, no durability, no
heartbeats, no retries, no REST.
"""

import collections
import os
import struct
import sys
from pathlib import Path

import bench_tasks
import msgpack
import psutil
import zmq

import harness
from dart.stdin_end import end_with_stdin

CREDIT = 64
"""Tasks that a worker holds at once."""
BURST = 256
LARGE = 64 * 1024


def make_socket(kind: int) -> zmq.Socket:
    made = zmq.Context.instance().socket(kind)
    made.linger = 0
    made.sndhwm = made.rcvhwm = 0  # a router at its limit drops silently
    return made


def drain(source: zmq.Socket, each) -> None:
    for _ in range(BURST):
        try:
            each(source.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return


def broker() -> None:
    clients, workers = make_socket(zmq.ROUTER), make_socket(zmq.ROUTER)
    print(*(side.bind_to_random_port("tcp://127.0.0.1") for side in (clients, workers)), flush=True)
    queue: collections.deque[list[bytes]] = collections.deque()
    load: dict[bytes, int] = {}

    def from_worker(parts: list[bytes]) -> None:
        worker, client, *rest = parts
        if client:
            load[worker] -= 1
            clients.send_multipart([client, *rest], copy=len(rest[-1]) < LARGE)
        else:
            load[worker] = 0

    poller = zmq.Poller()
    poller.register(clients, zmq.POLLIN)
    poller.register(workers, zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if workers in ready:
            drain(workers, from_worker)
        if clients in ready:
            drain(clients, queue.append)
        while queue and load:
            worker = min(load, key=load.__getitem__)
            if load[worker] >= CREDIT:
                break
            load[worker] += 1
            task = queue.popleft()
            workers.send_multipart([worker, *task], copy=len(task[-1]) < LARGE)


def worker(port: str) -> None:
    side = make_socket(zmq.DEALER)
    side.connect(f"tcp://127.0.0.1:{port}")
    side.send_multipart([b"", b"here"])
    while True:
        client, number, function, argument = side.recv_multipart()
        call = getattr(bench_tasks, function.decode())
        result = msgpack.packb(call(msgpack.unpackb(argument)))
        side.send_multipart([client, number, result], copy=len(result) < LARGE)


class Yardstick(harness.Peer):
    name = "raw_pyzmq"
    variants = ("credit64",)

    def start(self) -> None:
        me = (sys.executable, Path(__file__).resolve())
        self.broker = self.spawn(*me, "broker")
        clients, workers = self.broker.stdout.readline().decode().split()
        for _ in range(harness.WORKERS):
            self.spawn(*me, "worker", workers)
        self.socket = make_socket(zmq.DEALER)
        self.socket.connect(f"tcp://127.0.0.1:{clients}")
        self.number, self.done = 0, {}

    def submit_many(self, function, arguments):
        first = self.number
        name = function.__name__.encode()
        for argument in arguments:
            data = msgpack.packb(argument)
            self.socket.send_multipart([struct.pack("<Q", self.number), name, data], copy=len(data) < LARGE)
            self.number += 1
        return range(first, self.number)

    def collect(self, handle):
        for number in handle:
            while number not in self.done:
                key, data = self.socket.recv_multipart()
                self.done[struct.unpack("<Q", key)[0]] = msgpack.unpackb(data)
        return [self.done.pop(number) for number in handle]

    def role(self, process: psutil.Process) -> str:
        return "server" if process.pid == self.broker.pid else "worker"

    def stop(self) -> None:
        self.socket.close()


if __name__ == "__main__":
    if sys.argv[1:2] in (["broker"], ["worker"]):
        end_with_stdin()
    if sys.argv[1:2] == ["broker"]:
        broker()
    elif sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2])
    else:
        os.environ.setdefault("PYTHONPATH", str(Path(__file__).parent))
        sys.exit(harness.main(Yardstick))
