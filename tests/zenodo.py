"""A server on this machine that answers as Zenodo does, and misbehaves on request; and data sets for it to hold."""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import threading
import time
import wave
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

Fault = Callable[["Answer", bytes], None]
"""Answers one request in place of the server; it is given what would have been right."""

DEVELOPMENT, ADDITIONAL, EVALUATION, LABELS = 3678171, 3727685, 3841772, 3951620
"""Records of dcase2020."""


class Zenodo:
    """The server.

    Attributes:
        records: content of each file, by record and name.
        faults: what goes wrong with the next requests for a file or record, by its name or number; used up in turn.
        always: what goes wrong with every request for a file or record.
        asked: name and ``Range`` of every request for a file.
        metadata: what a record's listing says beside its files.
    """

    def __init__(self, records: Mapping[int, Mapping[str, bytes]]) -> None:
        self.records = {record: dict(files) for record, files in records.items()}
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.always: dict[str, Fault] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.metadata: dict[int, dict[str, Any]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answer,), {"zenodo": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def listing(self, record: int) -> dict[str, Any]:
        """What the interface says of a record."""
        files = [
            {
                "id": hashlib.sha1(key.encode()).hexdigest(),
                "key": key,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": f"https://zenodo.invalid/api/records/{record}/files/{key}/content"},
            }
            for key, content in self.records[record].items()
        ]
        return {"id": record, "metadata": {"access_right": "open"}, "files": files} | self.metadata.get(record, {})

    def fetched(self, key: str) -> list[str | None]:
        """The ``Range`` of every request for a file."""
        return [asked for name, asked in self.asked if name == key]


class Answer(BaseHTTPRequestHandler):
    """One connection."""

    zenodo: Zenodo
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = re.fullmatch(r"/api/records/(\d+)(?:/files/([^/]+)/content)?", self.path)
        if found is None or int(found[1]) not in self.zenodo.records:
            return self.status(404)
        record, key = int(found[1]), found[2] and unquote(found[2])
        if key is None:
            return self._answer(str(record), json.dumps(self.zenodo.listing(record)).encode())
        self.zenodo.asked.append((key, self.headers["Range"]))
        if key not in self.zenodo.records[record]:
            return self.status(404)
        return self._answer(key, self.zenodo.records[record][key])

    def _answer(self, name: str, content: bytes) -> None:
        faults = self.zenodo.faults[name]
        fault = faults.pop(0) if faults else self.zenodo.always.get(name, right)
        try:
            fault(self, content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def status(self, code: int, **headers: str) -> None:
        """Answer without content."""
        self.begin(code, {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Length": "0"})

    def begin(self, code: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def start(self, content: bytes) -> bytes:
        """Send status and headers as the request's range asks, and return what is left to send."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if asked is None:
            self.begin(200, {"Content-Length": str(len(content)), "Accept-Ranges": "bytes"})
            return content
        at = int(asked[1])
        if at >= len(content):
            self.status(416)
            return b""
        span = f"bytes {at}-{len(content) - 1}/{len(content)}"
        self.begin(206, {"Content-Length": str(len(content) - at), "Content-Range": span})
        return content[at:]

    def hang_up(self) -> None:
        """Close the connection."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


def right(answer: Answer, content: bytes) -> None:
    """As it should be."""
    answer.wfile.write(answer.start(content))


def status(code: int, **headers: str) -> Fault:
    """Answer with a status and headers (``Retry_After="3"``)."""
    return lambda answer, _: answer.status(code, **headers)


def drop(answer: Answer, _: bytes) -> None:
    """No answer at all."""
    answer.hang_up()


def broken_off(after: int) -> Fault:
    """The connection breaks after so many bytes."""

    def fault(answer: Answer, content: bytes) -> None:
        answer.wfile.write(answer.start(content)[:after])
        answer.hang_up()

    return fault


def truncated(to: int) -> Fault:
    """The server has less than the record says, and knows no better."""
    return lambda answer, content: right(answer, content[:to])


def silent(after: int, seconds: float) -> Fault:
    """Nothing comes for a while after so many bytes."""

    def fault(answer: Answer, content: bytes) -> None:
        answer.wfile.write(answer.start(content)[:after])
        answer.wfile.flush()
        time.sleep(seconds)
        answer.hang_up()

    return fault


def slow(step: int, pause: float) -> Fault:
    """Few bytes at a time."""

    def fault(answer: Answer, content: bytes) -> None:
        left = answer.start(content)
        for at in range(0, len(left), step):
            answer.wfile.write(left[at : at + step])
            answer.wfile.flush()
            time.sleep(pause)

    return fault


def other(content: bytes) -> Fault:
    """Something else under the name."""
    return lambda answer, _: right(answer, content)


def moved(answer: Answer, content: bytes) -> None:
    """Somewhere else: where it is right, as faults are used up."""
    answer.status(302, Location=answer.path)


def without_ranges(answer: Answer, content: bytes) -> None:
    """The whole, whatever was asked for."""
    answer.begin(200, {"Content-Length": str(len(content))})
    answer.wfile.write(content)


def wrong_range(answer: Answer, content: bytes) -> None:
    """Another part than was asked for."""
    if answer.headers["Range"] is None:
        return right(answer, content)
    answer.begin(206, {"Content-Length": "3", "Content-Range": f"bytes 1-3/{len(content)}"})
    answer.wfile.write(content[1:4])
    return None


def endless(answer: Answer, content: bytes) -> None:
    """More and more, without a length."""
    answer.close_connection = True
    answer.begin(200, {"Connection": "close"})
    for _ in range(1000):
        answer.wfile.write(content)


def wav(seed: object, n_samples: int = 1600) -> bytes:
    """A recording, 16 kHz, that does not compress."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        block = hashlib.shake_128(str(seed).encode()).digest(2 * n_samples)
        file.writeframes(block)
    return stream.getvalue()


def archive(members: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """A zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return stream.getvalue()


def recordings(machine: str, split: str, names: Iterable[str], n_samples: int = 1600) -> dict[str, bytes]:
    """Recordings of a machine by their paths in its archive."""
    paths = [f"{machine}/{split}/{name}.wav" for name in names]
    return {path: wav(path, n_samples) for path in paths}


def development(machine: str, clips: int = 12, n_samples: int = 1600) -> dict[str, bytes]:
    """A small development set of 2020, by paths."""
    normals = recordings(machine, "train", (f"normal_id_00_{i:08}" for i in range(clips)), n_samples)
    tests = recordings(machine, "test", (f"{kind}_id_00_{i:08}" for kind in ("normal", "anomaly") for i in range(2)))
    return normals | tests


def challenge(
    machines: Iterable[str] = ("fan", "pump"), clips: int = 12, n_samples: int = 1600
) -> dict[int, dict[str, bytes]]:
    """All records of a small dcase2020."""
    records: dict[int, dict[str, bytes]] = {r: {} for r in (DEVELOPMENT, ADDITIONAL, EVALUATION, LABELS)}
    lines = []
    for machine in machines:
        train = recordings(machine, "train", (f"normal_id_01_{i:08}" for i in range(4)))
        test = recordings(machine, "test", (f"id_01_{i:08}" for i in range(4)))
        lines += [
            machine,
            *(f"id_01_{i:08}.wav,{('normal', 'anomaly')[i % 2]}_id_01_{i:08}.wav,{i % 2}" for i in range(4)),
        ]
        files = development(machine, clips, n_samples).items()
        records[DEVELOPMENT][f"dev_data_{machine}.zip"] = archive(files)
        records[ADDITIONAL][f"eval_data_train_{machine}.zip"] = archive(train.items())
        records[EVALUATION][f"eval_data_test_{machine}.zip"] = archive(test.items())
    records[LABELS]["eval_data_list.csv"] = "\n".join(lines).encode()
    return records
