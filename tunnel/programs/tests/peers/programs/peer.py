"""A TLS peer on Python's ssl: what it does is told in README.md beside it."""

import hashlib
import select
import socket
import ssl
import sys
import threading

PATIENCE = 30
PIECE = 64 * 1024


def main():
    role, *arguments = sys.argv[1:]
    if role == "version":
        print(f"{sys.version.split()[0]} ({ssl.OPENSSL_VERSION})")
    elif role == "client":
        client(arguments[0], arguments[1], *arguments[2:5])
    else:
        server(arguments[0], *arguments[1:])


def context(purpose, ca, certificate, key):
    made = ssl.SSLContext(purpose)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if ca != "-":
        made.load_verify_locations(ca)
        made.verify_mode = ssl.CERT_REQUIRED
        made.check_hostname = purpose == ssl.PROTOCOL_TLS_CLIENT
    if certificate != "-":
        made.load_cert_chain(certificate, key)
    return made


def client(address, mode, ca, certificate, key):
    host, port = address.rsplit(":", 1)
    raw = socket.create_connection((host, int(port)), timeout=PATIENCE)
    made = context(ssl.PROTOCOL_TLS_CLIENT, ca, certificate, key)
    made.set_alpn_protocols(["http/1.1"])
    try:
        tls = made.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False)
        say("session", tls.version(), tls.cipher()[0])
        sent = None if mode == "listen" else sys.stdin.buffer.read()
        Stream(tls).talk(sent, sys.stdout.buffer.write, until=len(sent) if mode == "trade" else 0)
        sys.stdout.buffer.flush()
    except OSError as error:
        say("end", named(error))
        sys.exit(1)
    say("end close_notify")


def server(mode, ca, certificate, key, file=None):
    made = context(ssl.PROTOCOL_TLS_SERVER, ca, certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=serve, args=(mode, made, raw, file), daemon=True).start()


def serve(mode, made, raw, file):
    raw.settimeout(PATIENCE)
    try:
        tls = made.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False)
    except OSError as error:
        say("handshake", named(error))
        return
    stream, digest, count = Stream(tls), hashlib.sha256(), 0

    def heard(piece):
        nonlocal count
        digest.update(piece)
        count += len(piece)
        if mode == "echo":
            stream.send(piece)

    try:
        stream.talk(open(file, "rb").read() if mode == "speak" else None, heard)
        how = "close_notify"
    except OSError as error:
        how = named(error)
    say("heard", count, digest.hexdigest(), how)
    raw.close()


class Stream:
    """One thread for both directions: an SSL object is not for two at once."""

    def __init__(self, tls):
        tls.setblocking(False)
        self.tls = tls

    def talk(self, say, hear, until=0):
        """Sends `say`, and close_notify once so much has come; hears the other side out meanwhile."""
        at, heard, ended = 0, 0, say is None
        while True:
            want = select.POLLIN
            try:
                if not ended and at < len(say):
                    at += self.tls.send(say[at : at + PIECE])
                    want |= select.POLLOUT
                elif not ended and heard >= until:
                    ended = True
                    self.half_close()
            except ssl.SSLWantWriteError:
                want |= select.POLLOUT
            try:
                piece = self.tls.recv(PIECE)
            except ssl.SSLWantReadError:
                self.wait(want)
                continue
            except ssl.SSLZeroReturnError:
                break
            if not piece:
                break
            hear(piece)
            heard += len(piece)
        while not ended and at < len(say):
            at += self.send(say[at : at + PIECE])
        # The other side has ended: this returns at once.
        self.half_close()

    def half_close(self):
        # unwrap() sends close_notify and then wants the other side's, which may be long in coming. Data that are under way
        # at this moment are an error to it (APPLICATION_DATA_AFTER_CLOSE_NOTIFY).
        try:
            self.tls.unwrap()
        except (ssl.SSLWantReadError, ValueError):
            pass

    def send(self, piece):
        """Sends all of it, and waits for that."""
        sent = 0
        while sent < len(piece):
            try:
                sent += self.tls.send(piece[sent:])
            except ssl.SSLWantWriteError:
                self.wait(select.POLLOUT)
        return sent

    def wait(self, what):
        poll = select.poll()
        poll.register(self.tls, what)
        if not poll.poll(PATIENCE * 1000):
            raise TimeoutError(f"nothing for {PATIENCE} s")


def named(error):
    if isinstance(error, ssl.SSLEOFError) or "EOF" in str(error):
        return "cut"
    return str(error)


def say(*words):
    # One write: the lines of two threads do not mix.
    sys.stderr.write(" ".join(map(str, words)) + "\n")


if __name__ == "__main__":
    main()
