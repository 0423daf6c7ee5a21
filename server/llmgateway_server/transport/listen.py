"""Where the door is: an address and a port, or a Unix socket."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNIX = "unix:"
MAX_SOCKET_PATH_BYTES = 100
"""The kernel's limit is 107 bytes on Linux, 103 on macOS."""
PROBE_S = 1.0


class ListenError(OSError):
    """Nobody can listen there.

    Args:
        listen: the address.
        why: in the system's words; empty where nobody said.
    """

    def __init__(self, listen: str, why: str | None = "") -> None:
        super().__init__(f"cannot listen on {listen}: {why}" if why else f"cannot listen on {listen}")


def check(listen: str) -> str:
    """Returns `listen` when it can be one.

    Raises:
        ValueError: it is neither `HOST:PORT` nor `unix:/PATH`.
    """
    if listen.startswith(UNIX):
        path = listen.removeprefix(UNIX)
        # The library reads the path as a part of an address: `%` and what follows would be decoded.
        if not path.startswith("/") or path.startswith("//") or not path.isprintable() or set(path) & set("%?#"):
            raise ValueError("a Unix socket is unix:/PATH with a plain absolute path")
        if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(f"the path of a Unix socket has at most {MAX_SOCKET_PATH_BYTES} bytes")
        return listen
    _, colon, port = listen.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be HOST:PORT, [IPV6]:PORT or unix:/PATH")
    return listen


def is_local(listen: str) -> bool:
    """Tells whether only this machine can reach the address: loopback, or a Unix socket."""
    if listen.startswith(UNIX):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Reservation:
    """An address that several processes are about to bind, held so that nobody else gets it meanwhile.

    Its sockets never listen. Each is bound alone, so an address in use is found out, and only then opened for
    processes of the same user that ask for it with SO_REUSEPORT (socket(7)).

    Args:
        listen: `HOST:PORT`; port 0 picks a free one.

    Raises:
        ListenError: the address cannot be bound.
    """

    def __init__(self, listen: str) -> None:
        self._sockets: list[socket.socket] = []
        number = 0
        try:
            for family, address in _addresses(listen):
                held = _bound(family, (address[0], number or address[1], *address[2:]))
                if held is not None:
                    self._sockets.append(held)
                    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                    number = held.getsockname()[1]
            if not number:
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        except OSError as error:
            self.close()
            raise ListenError(listen, error.strerror) from error
        self.address = f"{listen.rpartition(':')[0]}:{number}"
        """The address with the port that was bound."""

    def close(self) -> None:
        """Lets the address go; whoever listens on it goes on."""
        for each in self._sockets:
            each.close()


def sockets(listen: str, *, shared: bool) -> list[socket.socket]:
    """Returns bound sockets for every address of `HOST:PORT`, all with one port; port 0 picks a free one.

    Args:
        listen: see the module.
        shared: whether other processes of the same user listen there too.

    Raises:
        OSError: an address cannot be bound, or the machine has none of them.
    """
    number, bound = 0, list[socket.socket]()
    try:
        found = _addresses(listen)
        wildcard = [each for each in found if each[0] == socket.AF_INET6 and each[1][0] == "::"]
        for family, address in wildcard or found:
            made = _bound(family, (address[0], number or address[1], *address[2:]), shared=shared, both=bool(wildcard))
            if made is not None:
                bound.append(made)
                number = made.getsockname()[1]
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _addresses(listen: str) -> list[tuple[int, tuple[Any, ...]]]:
    """Returns every address that `HOST:PORT` stands for, with its family."""
    host, _, port = listen.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, address) for family, _, _, _, address in found]


def _bound(family: int, address: tuple[Any, ...], *, shared: bool = False, both: bool = False) -> socket.socket | None:
    """Returns a bound socket; None for an address that the machine does not have, as `::1` without IPv6.

    Args:
        shared: whether others may be bound there already.
        both: whether an address of IPv6 stands for those of IPv4 too.
    """
    try:
        # By its name: asyncio switches delays off (TCP_NODELAY) only where it sees that this is TCP.
        made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError:
        return None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may still be ending
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        made.bind(address)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRNOTAVAIL:
            return None
        raise
    return made


class UnixSocket:
    """The file of a Unix socket: whose it is, who may open it, when it goes.

    Args:
        listen: `unix:/PATH`.
        mode: permissions of the file.
    """

    def __init__(self, listen: str, mode: int) -> None:
        self._path = Path(listen.removeprefix(UNIX))
        self._mode = mode
        self._ours: tuple[int, int] | None = None

    @contextmanager
    def binding(self) -> Iterator[None]:
        """Makes room for the file before the library binds it, and gives it its permissions from the first instant.

        Raises:
            OSError: somebody listens there, what is there is not a socket, or nothing can be made there.
        """
        self._make_room()
        umask = os.umask(0o777 & ~self._mode)
        try:
            yield
        finally:
            os.umask(umask)
        found = self._path.lstat()
        self._ours = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Removes the file if it is still the one that was bound."""
        try:
            found = self._path.lstat()
            if (found.st_dev, found.st_ino) == self._ours:
                self._path.unlink()
        except OSError:
            return

    def _make_room(self) -> None:
        """Removes a socket that a killed process left. The library would remove one that is in use, too."""
        folder = self._path.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(os.strerror(errno.EACCES if folder.exists() else errno.ENOENT))
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise OSError(f"{self._path} is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(PROBE_S)
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink(missing_ok=True)
                return
            except FileNotFoundError:
                return
            except OSError as error:
                raise OSError(f"{self._path} is in use") from error
        raise OSError(f"{self._path} is in use")
