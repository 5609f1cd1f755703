"""Bodies of requests, as every type that calls take: they are understood, or a `DartError` says what is wrong."""

import json

import msgpack
import msgspec

from dart.errors import DartError
from dart.rest import schemas, submission
from dart.rest.bodies import decode, decode_members

KINDS = [
    kind
    for kind in vars(schemas).values()
    if isinstance(kind, type) and issubclass(kind, schemas.Members) and kind is not schemas.Members
]
DECODERS = {
    False: (submission._ENTRY_JSON, submission._LENIENT_JSON),
    True: (submission._ENTRY_MESSAGEPACK, submission._LENIENT_MESSAGEPACK),
}
CHOICES = len(KINDS) + 2
EXAMPLES = (
    {"name": "j", "module_path": "m", "method": "run", "retention": {"seconds": 5}, "requires": ["gpu"], "priority": 3},
    {"location_and_parameters": [{"location": "w", "parameter": {"a": [1, 2.5, None, True]}, "tag": "t"}], "wait": 1},
    {"location_and_parameters": [{"each": {"worker_regex": "a.*", "requires": ["x"]}, "parameter": "p"}]},
    {"amount": "10", "worker_regex": "w", "wait": 0.5, "after": 3},
    {"hosts": ["a"], "name": "w", "capabilities": ["a", "b"]},
    {"name": "w", "public_key": "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"},
)


def seeds() -> list[bytes]:
    return [
        bytes([number]) + (msgpack.packb(example) if number % 2 else json.dumps(example).encode())
        for number in range(2 * CHOICES)
        for example in EXAMPLES[number // 2 % len(EXAMPLES) :: 3]
    ]


def check(data: bytes) -> None:
    if not data:
        return
    number, body = data[0], data[1:]
    is_packed = bool(number % 2)
    choice = number // 2 % CHOICES
    try:
        if choice < 2:
            decode(body, DECODERS[is_packed][choice], messagepack=is_packed, where="location_and_parameters[7]")
        else:
            made, unknown = schemas.read_members(decode_members(body, messagepack=is_packed), KINDS[choice - 2])
            assert isinstance(made, KINDS[choice - 2])
            assert all(isinstance(name, str) for name in unknown)
    except DartError as error:
        assert error.message
        assert len(error.message) < 10_000, len(error.message)
        msgspec.json.encode(error.message)
