"""Whether the app can listen where it is to, seen before the libraries are loaded, which takes many seconds."""

import errno
import os
import re
import socket

from lora.errors import InvalidSettings, shown


def check_address(host: str, port: int) -> None:
    """Listen there and stop again. Raises InvalidSettings with one sentence that blames HOST or PORT."""
    bare = host.removeprefix("[").removesuffix("]")
    # What looks like an address is looked up nowhere: that could take seconds.
    flags = socket.AI_NUMERICHOST if re.fullmatch(r"[\d.]+|.*:.*", bare) else 0
    refusals = []
    try:
        places = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        places = []
    for family, kind, protocol, _, place in places:
        try:
            _bind(socket.socket(family, kind, protocol), place)
        except OSError as error:
            refusals.append(error)
    if any(error.errno == errno.EADDRINUSE for error in refusals):
        raise InvalidSettings(f"PORT is {port}, but something listens there already; end it or choose another port.")
    # "localhost" may have an address that this machine's network lacks.
    if len(refusals) < len(places):
        return
    if not refusals or refusals[0].errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        raise InvalidSettings(
            f"HOST is {shown(host)}, but must be an address or a name of this machine, such as 127.0.0.1, or 0.0.0.0 "
            "for all of them."
        )
    raise InvalidSettings(f"PORT is {port}, but nothing may listen there ({refusals[0].strerror}).")


def _bind(there: socket.socket, place: tuple) -> None:
    with there:
        # As the server does; elsewhere it would mean to take the port away from others.
        if os.name == "posix":
            there.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        there.bind(place)
