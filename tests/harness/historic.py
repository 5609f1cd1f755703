"""A client as programs of 2021 have it: `requests`, JSON bodies on every method, key in the body, no verification."""

from typing import Any

import requests


class HistoricClient:
    """One method a historic call; answers as decoded JSON; anything but 200 is an error."""

    def __init__(self, server: str, key: str) -> None:
        self.server, self.key = server, key

    def call(self, method: str, path: str, /, **body: Any) -> requests.Response:
        return requests.request(method, self.server + path, json={"key": self.key, **body}, verify=False, timeout=60)

    def good(self, method: str, path: str, /, **body: Any) -> Any:
        answer = self.call(method, path, **body)
        assert answer.status_code == requests.codes.ok, (method, path, answer.status_code, answer.text[:2000])
        return answer.json()

    def workers(self) -> list[dict[str, Any]]:
        return self.good("GET", "/worker/")["workers"]

    def add_job(self, name: str, module_path: str, method: str) -> None:
        self.good("POST", "/job/", name=name, module_path=module_path, method=method)

    def status(self, job: str) -> int:
        answer = self.call("GET", f"/job/{job}/status/")
        if answer.status_code == requests.codes.not_found:
            return 0
        assert answer.status_code == requests.codes.ok, answer.text
        return int(answer.json()["job"]["status"])

    def add_tasks(self, job: str, *location_and_parameter: tuple[str, str]) -> list[str]:
        pairs = [{"location": location, "parameter": parameter} for location, parameter in location_and_parameter]
        return self.good("POST", f"/job/{job}/tasks/", location_and_parameters=pairs)["tasks"]

    def results(self, job: str, amount: int, worker_regex: str = "") -> list[dict[str, Any]]:
        return self.good("GET", f"/job/{job}/results/", amount=amount, worker_regex=worker_regex)["results"]

    def delete_result(self, job: str, result: str) -> None:
        self.good("DELETE", "/job/" + job + "/results/" + result + "/")

    def stop_job(self, job: str) -> None:
        self.good("DELETE", f"/job/{job}/")
