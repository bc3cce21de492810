"""Requests that mean harm, as bytes: each is answered by a refusal or served, never by an error of the server."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from typing import NamedTuple

EVENTS, LISTS, INFER = "/v1/events", "/v1/recommendations", "/v2/models/score/infer"
EDGES = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-0.0", "0", "-1", "1e-400", "0x10", "01", "+1", "1.", ".5", "1_000"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("18446744073709551615", "18446744073709551616", "4294967296", "9" * 400, "true", "null", "[]", "{}", '""'),
    *(
        r'"\u0000"',
        r'"\ud800"',
        r'"\udc00\ud800"',
        '"\x00"',
        '"\x7f"',
        '"' + "x" * 300 + '"',
        '"' + "\u00fc" * 200 + '"',
    ),
    *(
        "'a'",
        "undefined",
        '"2026-13-45"',
        '"0000-00-00T00:00:00Z"',
        '"9999-12-31T23:59:59.999999+14:00"',
        '["a",["b"]]',
    ),
]
FIELDS = (
    "user",
    "item",
    "event_id",
    "time",
    "sequence",
    "source",
    "recommend",
    "exclude_seen",
    "exclude",
    "only",
    "where",
    "events",
    "k",
    "users",
    "history",
    "now",
    "__proto__",
)
FILTERS = ["year >=", "(" * 3000, "not " * 3000 + "x", "1 == 1", "a has 'b", "popularity >= 1e999", "\x00", "x" * 9000]
PATHS = [
    "/%00",
    "/v1/users/%FF",
    "/v1/users/%ED%A0%80",
    "/v1/users/" + "a" * 9000,
    "/..%2f..%2fetc/passwd",
    "//",
    "/v1/users/",
    "/v1/users//recommendations",
    "/v1/users/a/recommendations?" + "k=1&" * 500,
    "/v1/users/a/recommendations?where=" + "(" * 900,
    "/v1/users/a/recommendations?k=%00",
    "/v1/users/a/recommendations?k=1;k=2",
    "/v2/models/step/infer/../../..",
    "/v2/models/%00",
    "/v2/models/step/versions/99/ready",
    "/v1/users/a%2Frecommendations",
    "/openapi.json?x=%zz",
    "*",
    "http://other/v1/events",
]
HEADERS = [
    b"X: " + b"a" * 20_000,
    b"X-Request-Id: " + b"a" * 500,
    b"X-Request-Id: a\tb",
    b"X\x00: a",
    b"X: a\x00b",
    b" X: folded",
    b"Content-Type: text/xml",
    b"Content-Type: application/json; charset=utf-16",
    b"Content-Encoding: gzip, br",
    b"Authorization: Bearer " + b"x" * 5000,
    b"Expect: 100-continue",
    b"Expect: nonsense",
    b"Upgrade: websocket\r\nConnection: upgrade",
    b"Host: a\r\nHost: b",
    b"Inference-Header-Content-Length: -1",
    b"Inference-Header-Content-Length: 99999999999999999999",
    b"Range: bytes=0-0",
    b"Connection: close, keep-alive",
    b"Transfer-Encoding: identity",
]


class Hostile(NamedTuple):
    """One connection's bytes. user: who would be written if the request were served, "" where anybody may be; whole:
    whether an answer must come, or else the connection's end."""

    kind: str
    content: bytes
    user: str = ""
    whole: bool = True


class Requests:
    """Hostile requests without end, the same for every seed."""

    def __init__(self, seed: int, item: str) -> None:
        self.draw, self.number, self.item = random.Random(seed), 0, item
        self.kinds: list[Callable[[str], Hostile]] = [
            *(self.mutated, self.edges, self.deep, self.encoded, self.sized, self.paths, self.methods, self.headers),
            *(self.framed, self.chunked, self.smuggled, self.slow, self.tensors, self.filters),
        ]

    def next(self) -> Hostile:
        self.number += 1
        return self.kinds[self.number % len(self.kinds)](f"hostile-{self.number}")

    def mutated(self, user: str) -> Hostile:
        """A sound body with bytes changed, cut out and doubled."""
        path, text = self.draw.choice(self.sound(user))
        body = bytearray(text.encode())
        for _ in range(self.draw.randint(0, 3)):
            at = self.draw.randrange(len(body) + 1)
            new = [
                self.draw.choice(EDGES).encode("utf-8", "surrogatepass"),
                self.draw.randbytes(2),
                body[at : at + 9] * 2,
            ]
            body[at : at + self.draw.randint(0, 6)] = self.draw.choice(new)
        return Hostile("mutated", post(path, bytes(body)))

    def edges(self, user: str) -> Hostile:
        """Values at the edge of their types, in any field."""
        chosen = {name: self.draw.choice(EDGES) for name in self.draw.sample(FIELDS, self.draw.randint(1, 3))}
        fields = {"user": json.dumps(user), "item": json.dumps(self.item), **chosen}
        text = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
        return Hostile("edges", post(self.draw.choice((EVENTS, LISTS)), text.encode("utf-8", "surrogatepass")))

    def deep(self, user: str) -> Hostile:
        """JSON within JSON."""
        opened = self.draw.choice((b"[", b'{"a":', b'{"events":[', b'{"where":['))
        depth = self.draw.choice((50, 1000, 100_000))
        body = b'{"user":"%b","item":' % user.encode() + opened * depth
        return Hostile("deep", post(self.draw.choice((EVENTS, LISTS, INFER)), body[: 2**20]), user)

    def encoded(self, user: str) -> Hostile:
        """Other encodings than UTF-8, declared or not."""
        text = json.dumps({"user": user, "item": self.item})
        bodies = [
            (text.encode("utf-16"), b""),
            (text.encode("utf-32"), b""),
            (b"\xef\xbb\xbf" + text.encode(), b""),
            (text.replace(self.item, "\u00fc").encode("latin-1"), b""),
            (text.encode().replace(self.item.encode(), b"\xc0\xb1"), b""),
            (gzip.compress(text.encode(), mtime=0), b"Content-Encoding: gzip\r\n"),
            (gzip.compress(b" " * 10**7, mtime=0), b"Content-Encoding: gzip\r\n"),
            (gzip.compress(text.encode(), mtime=0), b""),
        ]
        body, header = self.draw.choice(bodies)
        return Hostile("encoded", post(EVENTS, body, header), user)

    def sized(self, user: str) -> Hostile:
        """More of everything than there may be."""
        event = {"user": user, "item": self.item}
        bodies: list[object] = [
            {"events": [event] * 1001},
            {"users": [user] * 1001},
            {"history": [self.item] * 10_001},
            {"user": user * 60, "item": self.item},
            {**event, "event_id": "e" * 300},
            {**event, "recommend": 10**6},
            {**event, "recommend": 3, "only": [self.item] * 10_001},
            {**event, "padding": "x" * 10**6 * 2},
        ]
        path = self.draw.choice((EVENTS, LISTS))
        return Hostile("sized", post(path, json.dumps(self.draw.choice(bodies)).encode()), user)

    def paths(self, user: str) -> Hostile:
        """Targets that are none."""
        method = self.draw.choice(("GET", "POST", "HEAD", "PUT"))
        return Hostile("paths", head(method, self.draw.choice(PATHS)) + b"\r\n")

    def methods(self, user: str) -> Hostile:
        """First lines that are none."""
        lines = [
            b"get / HTTP/1.1",
            b"TRACE / HTTP/1.1",
            b"CONNECT a:1 HTTP/1.1",
            b"PRI * HTTP/2.0",
            b"GET / HTTP/9.9",
            b"GET /",
            b"G" * 9000 + b" / HTTP/1.1",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET  / HTTP/1.1",
            b"POST /v1/events HTTP/1.0",
            b"OPTIONS * HTTP/1.1",
            b"PATCH /v1/events HTTP/1.1",
            b"GET\x00/ HTTP/1.1",
            self.draw.randbytes(40),
        ]
        return Hostile("methods", self.draw.choice(lines) + b"\r\nHost: x\r\n\r\n", whole=False)

    def headers(self, user: str) -> Hostile:
        """Headers too long, too many, doubled or broken."""
        many = b"\r\n".join(b"X-%d: y" % n for n in range(3000))
        extra = self.draw.choice([*HEADERS, many])
        return Hostile("headers", post(EVENTS, b'{"user":"%b"}' % user.encode(), extra + b"\r\n"), user)

    def framed(self, user: str) -> Hostile:
        """Lengths that are none, or of another body."""
        length = self.draw.choice(
            (b"-1", b"+5", b"0x10", b"1e3", b"99999999999", b"9" * 40, b"5, 5", b"5\r\nContent-Length: 6", b" ")
        )
        body = json.dumps({"user": user, "item": self.item}).encode()
        return Hostile(
            "framed", head("POST", EVENTS) + b"Content-Length: " + length + b"\r\n\r\n" + body, user, whole=False
        )

    def chunked(self, user: str) -> Hostile:
        """Chunks that are none."""
        body = json.dumps({"user": user, "item": self.item}).encode()
        size = self.draw.choice(
            (b"-5", b"ffffffffffffffff", b"fffffffff", b"zz", b"5;" + b"x" * 9000, b"%x" % (len(body) + 1), b"0")
        )
        start = head("POST", EVENTS) + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        return Hostile("chunked", start + size + b"\r\n" + body + b"\r\n0\r\n\r\n", user, whole=False)

    def smuggled(self, user: str) -> Hostile:
        """A second request within the first one's body, by two lengths that differ."""
        hidden = post(EVENTS, json.dumps({"user": user, "item": self.item}).encode())
        framing = self.draw.choice(
            [
                b"Content-Length: 4\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: chunked\r\nContent-Length: 4",
                b"Transfer-Encoding: xchunked",
                b"Transfer-Encoding: chunked, identity",
                b"Transfer-Encoding : chunked",
                b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 3",
            ]
        )
        return Hostile("smuggled", head("POST", EVENTS) + framing + b"\r\n\r\n0\r\n\r\n" + hidden, user, whole=False)

    def slow(self, user: str) -> Hostile:
        """A body of which the rest never comes."""
        body = json.dumps({"user": user, "item": self.item}).encode()
        whole = post(EVENTS, body)
        return Hostile("slow", whole[: len(whole) - self.draw.randint(1, len(body))], user)

    def tensors(self, user: str) -> Hostile:
        """Tensors whose sizes, types and data do not fit."""
        shape = self.draw.choice(([1], [2**40], [-1], [0], [1, 2**31], [2**62, 2], [], [1.5], "x"))
        data = self.draw.choice(([1], [], [2**63], ["a"], [[1]], [1e999], None))
        kind = self.draw.choice(("INT64", "FP32", "BYTES", "BOOL", "", "FP8"))
        name = self.draw.choice(("user", "k", "item_id", "exclude_items", "other"))
        tensor = {"name": name, "shape": shape, "datatype": kind, "data": data}
        if self.draw.random() < 0.3:
            tensor["parameters"] = {"binary_data_size": self.draw.choice((8, -1, 2**63, "x"))}
            del tensor["data"]
        body = json.dumps({"inputs": [tensor] * self.draw.choice((1, 2, 50))}).encode()
        length = self.draw.choice(
            (b"", b"Inference-Header-Content-Length: %d\r\n" % (len(body) - self.draw.choice((0, 1, -9))))
        )
        path = self.draw.choice((INFER, "/v2/models/step/infer", "/v2/models/encode/infer"))
        return Hostile("tensors", post(path, body + b"\0" * 8, length))

    def filters(self, user: str) -> Hostile:
        """Conditions that are none."""
        asked = {"user": user, "item": self.item, "recommend": 2, "where": self.draw.choice(FILTERS)}
        return Hostile("filters", post(EVENTS, json.dumps(asked).encode()), user)

    def sound(self, user: str) -> list[tuple[str, str]]:
        name, item = json.dumps(user), json.dumps(self.item)
        event = f'{{"user":{name},"item":{item}'
        return [
            (EVENTS, event + ',"event_id":"e","time":1.5,"sequence":3,"source":"s","recommend":3}'),
            (EVENTS, f'{{"events":[{event}}},{event},"time":"2026-01-01"}}]}}'),
            (LISTS, f'{{"users":[{name},7,"g"],"k":3,"where":"popularity >= 1"}}'),
            (LISTS, f'{{"history":[{item},"2",3],"k":2,"exclude_seen":true,"only":[{item},"2","3"]}}'),
            (INFER, '{"inputs":[{"name":"k","shape":[1],"datatype":"INT64","data":[3]}]}'),
        ]


def head(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode()


def post(path: str, body: bytes, header: bytes = b"") -> bytes:
    kind = b"" if b"Content-Type" in header else b"Content-Type: application/json\r\n"
    return head("POST", path) + kind + header + b"Content-Length: %d\r\n\r\n" % len(body) + body
