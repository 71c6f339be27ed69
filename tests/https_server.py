"""A real web server on loopback, https and http, which plays any host, with a certificate authority of its own."""

from __future__ import annotations

import base64
import http.server
import random
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import must

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
AUTHORITY = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


@dataclass(frozen=True)
class Answer:
    """What a path answers: a body, or a redirect to `location`. It pauses in the middle, and may be cut off there.

    `login`: "user:password" that has to be given. `refuses`: with what a client's name begins that gets nothing.
    `endless`: the body comes again and again, and its length is not told.
    """

    body: bytes | str = b""
    status: int = 200
    location: str = ""
    pause: float = 0
    cut: bool = False
    login: str = ""
    refuses: str = ""
    endless: bool = False


@dataclass(frozen=True)
class Request:
    """A request that was made, whatever it got."""

    scheme: str
    host: str
    path: str
    method: str = "GET"


class Server(http.server.ThreadingHTTPServer):
    """One of the two listeners; a client that hangs up, or does not trust us, is nothing to complain about."""

    daemon_threads = True
    scheme = "http"
    web: HttpsServer

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    def shutdown_request(self, request: Any) -> None:
        request.close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        path = self.path.partition("?")[0]
        self.server.web.requests.append(Request(self.server.scheme, host, path, self.command))
        answer = self.server.web.answer(host, path)
        login = "Basic " + base64.b64encode(answer.login.encode()).decode()
        if answer.login and self.headers.get("Authorization") != login:
            answer = Answer("log in first\n", 401)
        if answer.refuses and self.headers.get("User-Agent", "").startswith(answer.refuses):
            answer = Answer("go away\n", 403)
        body = answer.body.encode() if isinstance(answer.body, str) else answer.body
        self.send_response(answer.status)
        if answer.status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="scripts"')
        if not answer.endless:
            self.send_header("Content-Length", str(len(body)))
        if answer.location:
            self.send_header("Location", answer.location)
        self.end_headers()
        if self.command == "HEAD":
            return
        while answer.endless:
            self.wfile.write(body)
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        time.sleep(answer.pause)
        if answer.cut:
            self.close_connection = True
        else:
            self.wfile.write(body[half:])

    do_HEAD = do_GET


class HttpsServer:
    """A server, for a `with`. `.authority` is the certificate (PEM) that vouches for it.

    With host names it has a loopback address of its own, and listens there on 443 and 80, which needs root; lead
    machines to it by Machine.resolve(server.address, *names). Without, `.url` is on a free port of localhost.

    `.files` maps "/path" (any host) or "host/path" to an Answer, a text, or a directory that is served as it is.
    `.requests` lists all that were made.
    """

    def __init__(self, directory: Path, *names: str) -> None:
        self.names = names
        self.files: dict[str, Answer | str | bytes | Path] = {}
        self.requests: list[Request] = []
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = directory / "authority.pem"
        self.certificate = directory / "server.pem"
        keys = [directory / "authority.key", directory / "server.key"]
        config = directory / "openssl.cnf"
        config.write_text(
            AUTHORITY.format(names=", ".join(f"DNS:{name}" for name in ("localhost", *names)))
        )
        make = ["openssl", "req", "-x509", "-config", str(config), *KEY]
        must(
            *make,
            "-subj",
            "/CN=tlc's tests",
            "-extensions",
            "ca",
            "-keyout",
            keys[0],
            "-out",
            self.authority,
        )
        by = ["-CA", str(self.authority), "-CAkey", str(keys[0])]
        must(
            *make,
            *by,
            "-subj",
            "/CN=localhost",
            "-extensions",
            "server",
            "-keyout",
            keys[1],
            "-out",
            self.certificate,
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, keys[1])

    @property
    def env(self) -> dict[str, str]:
        """The variables by which curl, wget's kin, Python and uv trust it, and it alone."""
        return dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE"), str(self.authority))

    def __enter__(self) -> HttpsServer:
        for _ in range(100):
            self.address = "127.0.0.1"
            if self.names:
                self.address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
            try:
                self.servers = self._listen()
            except OSError:
                continue  # another test has that address
            break
        else:
            raise AssertionError("found no free address to listen on")
        self.url = f"https://localhost:{self.servers[0].server_port}"
        self.plain_url = f"http://localhost:{self.servers[1].server_port}"
        self.threads = [
            threading.Thread(target=server.serve_forever, args=[0.05]) for server in self.servers
        ]
        for thread in self.threads:
            thread.start()
        return self

    def _listen(self) -> list[Server]:
        servers: list[Server] = []
        try:
            for port in (443, 80) if self.names else (0, 0):
                servers.append(Server((self.address, port), Handler))
                servers[-1].web = self
        except OSError:
            for server in servers:
                server.server_close()
            raise
        servers[0].scheme = "https"
        # The handshake is left to the thread of each connection, for one that stalls.
        servers[0].socket = self.context.wrap_socket(
            servers[0].socket, server_side=True, do_handshake_on_connect=False
        )
        return servers

    def __exit__(self, *_: object) -> None:
        for server, thread in zip(self.servers, self.threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, host: str, path: str) -> Answer:
        """What is there at a path of a host."""
        for key in (f"{host}{path}", path):
            found = self.files.get(key)
            if isinstance(found, Answer):
                return found
            if isinstance(found, str | bytes):
                return Answer(found)
            for prefix, directory in self.files.items():
                if isinstance(directory, Path) and key.startswith(f"{prefix}/"):
                    file = directory / key.removeprefix(f"{prefix}/")
                    if ".." not in file.parts and file.is_file():
                        return Answer(file.read_bytes())
        return Answer("not found\n", 404)
