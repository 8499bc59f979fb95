"""A model's server that lies, floods, dawdles or sends the client elsewhere costs an answer, in words."""

from __future__ import annotations

import gzip
import json
import math
import socket
import ssl
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from PIL import Image

from nodes.errors import ModelError, PartError, ServerUnavailableError
from nodes.vlm import openai
from nodes.vlm.answer import ServerAnswer, check_confidence
from nodes.vlm.bounded_http import _Deadline
from nodes.vlm.openai import REPLY_MAX_BYTES, connect
from testbed.run.model_relay import ModelRelay
from tests.support.hostile_server import HostileServer, completion, hostile_server, replying

Script = Callable[[HostileServer, socket.socket], None]
GREY = Image.new("RGB", (28, 28))
OK = b"HTTP/1.1 200 OK\r\n"


def ask(server: HostileServer) -> ServerAnswer:
    return connect(f"openai:{server.url}#m").answer(GREY, "?")


def refusal(script: Script, kind: type[ModelError] = ModelError) -> str:
    """Ask a server and return the words of the refusal, which have to be one printable line."""
    with hostile_server(script) as server, pytest.raises(kind) as caught:
        ask(server)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 600
    return text


def _endless(server: HostileServer, connection: socket.socket) -> None:
    server.send(connection, OK + b"\r\n")
    for _ in range(1500):
        server.send(connection, b" " * 1_000_000)


def _chunked(server: HostileServer, connection: socket.socket) -> None:
    server.send(connection, OK + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(1500):
        server.send(connection, b"f4240\r\n" + b" " * 1_000_000 + b"\r\n")


def _announced(server: HostileServer, connection: socket.socket) -> None:
    server.send(connection, OK + b"Content-Length: 1500000000\r\n\r\n")
    for _ in range(1500):
        server.send(connection, b" " * 1_000_000)


@pytest.mark.parametrize("script", [_endless, _chunked, _announced])
def test_a_reply_of_any_length_takes_little_memory(script: Script) -> None:
    tracemalloc.start()
    try:
        with hostile_server(script) as server, pytest.raises(ModelError, match="larger than 4 MB"):
            ask(server)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 5 * REPLY_MAX_BYTES
    assert server.sent_bytes < 30e6  # with what the kernel's buffers hold


def test_a_reply_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    bomb = gzip.compress(completion("a" * 20_000_000).encode())
    assert "encoded as 'gzip'" in refusal(replying(bomb, "200 OK", "Content-Encoding: gzip"))


def _slow_head(server: HostileServer, connection: socket.socket) -> None:
    _dribble(server, connection, OK + b"X-Long: " + b"a" * 200)


def _slow_body(server: HostileServer, connection: socket.socket) -> None:
    server.send(connection, OK + b"Content-Length: 200\r\n\r\n")
    _dribble(server, connection, b" " * 200)


def _not_yet(server: HostileServer, connection: socket.socket) -> None:
    while True:
        server.send(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


def _dribble(server: HostileServer, connection: socket.socket, data: bytes) -> None:
    for byte in data:
        server.send(connection, bytes([byte]))
        time.sleep(0.02)


def _silent(server: HostileServer, connection: socket.socket) -> None:
    time.sleep(3)


@pytest.mark.parametrize(
    ("header", "asked_s"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-7", 0.0),
        ("7.5", 0.0),
        ("9" * 10, 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
    ],
)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_server_that_is_overloaded_tells_for_how_long(status: str, header: str, asked_s: float) -> None:
    overloaded = replying("{}", status, f"Retry-After: {header}")
    with hostile_server(overloaded) as server, pytest.raises(ServerUnavailableError) as caught:
        ask(server)
    assert caught.value.retry_after_s == asked_s


@pytest.mark.parametrize(
    ("last", "counts"), [("", 1), ("<|im_end|>", 1), ("</s>", 1), ("blue", 2), ("<row_1>", 2)]
)
def test_the_token_that_ends_an_answer_is_none_of_its_words(last: str, counts: int) -> None:
    words = [{"token": "sky", "logprob": -0.25}, {"token": last, "logprob": -0.5}]
    text = "sky <row_1>" if last == "<row_1>" else "sky"
    choice = {"message": {"content": text}, "logprobs": {"content": words}}
    with hostile_server(replying(json.dumps({"choices": [choice]}))) as server:
        assert ask(server).token_logprobs == (-0.25, -0.5)[:counts]


@pytest.mark.parametrize("script", [_slow_head, _slow_body, _not_yet, _silent])
def test_a_server_that_sends_a_byte_now_and_then_is_too_slow(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "TIMEOUT_S", 0.1)
    began_s = time.monotonic()
    assert "did not answer in time" in refusal(script, ServerUnavailableError)
    assert time.monotonic() - began_s < 2, "the server would go on for four seconds"


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_nobody_else_is_told_the_key(status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with hostile_server(replying(completion())) as other:
        there = replying("", status, f"Location: {other.url}/chat/completions")
        with hostile_server(there) as server:
            for ask_for in (ask, lambda server: connect(f"openai:{server.url}")):
                with pytest.raises(ModelError, match=f"redirects to {other.url}"):
                    ask_for(server)
        assert "Authorization: Bearer secret" in server.requests[0]
        assert other.requests == []


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile_server(replying(completion("from the proxy"))) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        with hostile_server(replying(completion("from the server"))) as server:
            assert ask(server).text == "from the server"
        assert proxy.requests == []


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"choices": ' + '{"a": [' * 50_000,
        '{"choices": ' + "9" * 100_000 + "}",
        *("7", "null", "[]", '"text"', "", "{", "\ud800", '{"choices": {}}', '{"choices": "no"}'),
        *('{"choices": [7]}', '{"choices": [{"message": 3}]}', completion(7), completion({"a": "b"})),
        *(completion(["yes"]), completion(True), completion(logprobs='"high"'), completion(logprobs="7")),
        *(
            completion(logprobs=f'{{"content": [{{"logprob": {p}}}]}}')
            for p in ('"-0.1"', "true", "[]", "null")
        ),
    ],
)
def test_a_reply_of_another_form_is_one_line(body: str) -> None:
    assert "does not implement OpenAI's chat completions" in refusal(replying(body))
    assert "returned status 400" in refusal(replying(body, "400 Bad Request"))


@pytest.mark.parametrize("number", ["1e6", "NaN", "0.5", "1e999", "1" + "0" * 400])
def test_probabilities_above_one_are_none(number: str) -> None:
    logprobs = f'{{"content": [{{"logprob": -0.1}}, {{"logprob": {number}}}]}}'
    with hostile_server(replying(completion(logprobs=logprobs))) as server:
        answer = ask(server)
    assert answer.confidence is not None and math.isnan(answer.confidence)
    with pytest.raises(PartError, match="probabilities of its tokens are not numbers from 0 to 1"):
        check_confidence(answer.confidence)


@pytest.mark.parametrize(
    ("logprobs", "confidence"),
    [
        ("null", None),
        ("{}", None),
        ('{"content": null}', None),
        ('{"content": [{"logprob": 1e-5}]}', 1.0),  # rounding
        ('{"content": [{"logprob": -1e999}]}', 0.0),
        ('{"content": [{"logprob": -9999.0}]}', 0.0),
        ('{"content": [{"logprob": 0}]}', 1.0),
    ],
)
def test_odd_probabilities_that_servers_do_send(logprobs: str, confidence: float | None) -> None:
    with hostile_server(replying(completion(logprobs=logprobs))) as server:
        answer = ask(server)
    assert answer.confidence == confidence
    check_confidence(answer.confidence)
    json.dumps(answer.token_logprobs, allow_nan=False)


def test_lone_surrogates_of_an_answer_become_a_sign_that_utf_8_has() -> None:
    with hostile_server(replying(completion("yes \ud800\udfff \udc00"))) as server:
        assert ask(server).text.encode().decode() == "yes \U000103ff \ufffd"


def test_what_a_server_says_cannot_control_a_terminal() -> None:
    evil = {"error": {"message": "\x1b[2J\x9b31m\r\nPASSED\u202e\ud800"}}
    text = refusal(replying(json.dumps(evil), "400 Bad Request"))
    assert text.endswith(r"\x1b[2J\x9b31m PASSED\u202e\ud800")
    names = {"data": [{"id": "a\x1b[2J"}, *({"id": str(number)} for number in range(50_000))]}
    with hostile_server(replying(json.dumps(names))) as server, pytest.raises(ModelError) as caught:
        connect(f"openai:{server.url}")
    assert str(caught.value).isprintable()
    assert r"serves a\x1b[2J, 0, 1" in str(caught.value) and "and 49981 more" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("head", [b"no HTTP\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b"", b"\x00" * 200_000])
def test_what_is_no_http_is_no_server(head: bytes) -> None:
    def script(server: HostileServer, connection: socket.socket) -> None:
        server.send(connection, head)

    assert "no server answers" in refusal(script, ServerUnavailableError)


def test_a_key_or_path_that_no_request_can_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile_server(replying(completion())) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "two\r\nlines: 1")
        with pytest.raises(ModelError, match="cannot be asked"):
            ask(server)
        monkeypatch.delenv("OPENAI_API_KEY")
        with suppress(ModelError):
            connect(f"openai:{server.url}/a b\r\nX-Evil: 1#m").answer(GREY, "?")
        assert not any("X-Evil" in head.replace("\\r\\n", "") for head in server.requests)


def test_nothing_is_read_or_sent_after_the_deadline() -> None:
    one, other = socket.socketpair()
    with one, other:
        other.sendall(b"late")
        late = _Deadline(one, time.monotonic() - 1)
        for use in (lambda: late.readinto(bytearray(4)), lambda: late.sendall(b"x")):
            with pytest.raises(TimeoutError):
                use()


def test_a_server_with_tls_has_to_prove_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    for name, trusted in (("127.0.0.1", True), ("other.example", False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with hostile_server(replying(completion()), context) as server:
            if trusted:
                assert ask(server).text == "yes"
                assert f"Host: {server.url.split('/')[2]}" in server.requests[0]
                port = int(server.url.split(":")[2].split("/")[0])
                with ModelRelay(tmp_path / "socket", "127.0.0.1", port):
                    usual = connect("openai:https://127.0.0.1/v1#m", socket=tmp_path / "socket")
                    assert usual.answer(GREY, "?").text == "yes"
                assert "\r\nHost: 127.0.0.1\r\n" in server.requests[1], "the usual port is not named"
            else:
                with pytest.raises(ServerUnavailableError, match="certificate verify failed"):
                    ask(server)
                assert server.requests == []
