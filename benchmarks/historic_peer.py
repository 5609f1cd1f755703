"""DART through the historic REST calls, as old programs use them: one POST, then a look every 0.2 s for all results."""

import sys
import time
import warnings

import requests
from dart_peer import Dart

import harness

POLL_SECONDS = 0.2


class Historic(Dart):
    name = "dart_historic"
    variants = ("agents2",)

    def start(self) -> None:
        super().start()
        warnings.simplefilter("ignore")  # of not verifying, as those programs did
        self.session = requests.Session()
        state = self.folder / "server"
        self.key = (state / "admin.key").read_text().strip()
        self.url = self.client.url

    def call(self, verb: str, path: str, /, **body) -> dict:
        answer = self.session.request(verb, self.url + path, json={"key": self.key, **body}, verify=False, timeout=300)
        answer.raise_for_status()
        return answer.json()

    def submit_many(self, function, arguments):
        # A job of its own for each: nothing is deleted, and `amount` counts from the first result on.
        name = f"historic-{time.monotonic_ns()}"
        self.call("POST", "/job/", name=name, module_path="bench_tasks", method=function.__name__)
        pairs = [{"location": "", "parameter": argument} for argument in arguments]
        return name, self.call("POST", f"/job/{name}/tasks/", location_and_parameters=pairs)["tasks"]

    def one(self, function, argument):
        return self.collect(self.submit_many(function, [argument]))[0]

    def collect(self, handle):
        name, ids = handle
        while True:
            results = self.call("GET", f"/job/{name}/results/", amount=len(ids), worker_regex="")["results"]
            if len(results) == len(ids):
                break
            time.sleep(POLL_SECONDS)
        found = {result["id"]: result["success"] for result in results}
        return [found[str(number)] for number in ids]


if __name__ == "__main__":
    sys.exit(harness.main(Historic))
