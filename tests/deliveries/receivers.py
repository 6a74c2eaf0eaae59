"""Real receivers in this process: an HTTP server and a mail server that remember what they got."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class HookServer:
    """Answers with `statuses`, one after the other, the last one for ever."""

    statuses: list[int] = field(default_factory=lambda: [204])
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"


@contextmanager
def hook_server(tls: ssl.SSLContext | None = None) -> Iterator[HookServer]:
    """An HTTP server on a free port of loopback."""
    seen = HookServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status = seen.statuses.pop(0) if len(seen.statuses) > 1 else seen.statuses[0]
            self.send_response(status)
            for name, value in seen.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if status not in {204, 304}:
                self.wfile.write(b"said <b>so</b>")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        seen.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield seen
        server.shutdown()
        thread.join(10)


@dataclass
class MailServer:
    """What was taken; `refuses`: an answer in place of taking."""

    got: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    refuses: str = ""
    port: int = 0

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd calls it so
        if self.refuses:
            return self.refuses
        self.got.append(envelope)
        return "250 OK"


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None, *, password: str = "") -> Iterator[MailServer]:
    """A mail server on a free port; with `tls` it demands STARTTLS, with `password` a login."""
    seen = MailServer()

    def check(_s: SMTP, _e: Session, _v: Envelope, _mechanism: str, data: LoginPassword) -> AuthResult:
        seen.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == password, handled=False)

    login: dict[str, Any] = {"authenticator": check, "auth_required": True} if password else {}
    secure: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if tls else {}
    with _running(lambda: SMTP(seen, hostname="receiver", enable_SMTPUTF8=True, **login, **secure)) as port:
        seen.port = port
        yield seen


@contextmanager
def _running(factory: Callable[[], SMTP]) -> Iterator[int]:
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), list[int]()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(30)
    yield ports[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for 127.0.0.1, and the file that makes a client trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = dt.datetime.now(dt.UTC)
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(local, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "receiver.pem", folder / "receiver.key"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*secret))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted
