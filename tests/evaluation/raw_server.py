"""A server on raw sockets that sends exactly the bytes that a test wants, valid HTTP or not."""

import contextlib
import select
import socket
import threading


def request_length(data):
    """Return the length of the request that data begins with, or None if it is not complete."""
    head, end, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    return len(head) + 4 + length if end and len(body) >= length else None


class RawServer:
    """Reads a request with its body, then calls ``respond(connection, request)``, which sends what it likes.

    ``requests`` holds what was received, headers and body.
    """

    def __init__(self, respond):
        self.requests = []
        self._respond = respond
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._stop, self._stopper = socket.socketpair()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while self._wait(self._listener):
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _wait(self, readable):
        """Return whether something can be read, or False once the server is to end."""
        ready, _, _ = select.select([readable, self._stop], [], [])
        return self._stop not in ready

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10.0)
            data = b""
            while self._wait(connection) and (piece := connection.recv(2**16)):
                data += piece
                while (length := request_length(data)) is not None:
                    request, data = data[:length], data[length:]
                    self.requests.append(request)
                    self._respond(connection, request)

    def close(self):
        self._stopper.close()
        for thread in self._threads:
            thread.join(20.0)
            assert not thread.is_alive()
        self._stop.close()
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def http_answer(body, *, status="200 OK", headers=()):
    """Return a complete HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
