"""Who may ask: the API key, and where a service without one may listen."""

import hmac
import ipaddress
import os
from pathlib import Path

from penchant.kernel.errors import InputError
from penchant.workspace.settings import ServerSettings

HEADER = "X-API-Key"
_HEADER = HEADER.lower().encode()
OPEN_PATHS = frozenset({"/v1/health", "/v1/ready"})
"""What a load balancer asks, without a key."""


def read_key(settings: ServerSettings, folder: Path) -> str | None:
    """Return the key from the environment or the file the settings name; None when they name neither.

    Raises:
        InputError: the variable or the file is not there or empty, or both are named.
    """
    if settings.api_key_env is not None and settings.api_key_file is not None:
        raise InputError(
            "api_key_env and api_key_file are both set.", where="[server]", fix="Keep one of them."
        )
    if settings.api_key_env is not None:
        where = f"environment variable {settings.api_key_env}"
        key = os.environ.get(settings.api_key_env, "")
    elif settings.api_key_file is not None:
        path = folder / settings.api_key_file
        where = str(path)
        try:
            key = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the API key cannot be read ({error}).", where=where) from error
    else:
        return None
    if not key.strip():
        raise InputError(
            "the API key is missing or empty.", where=where, fix="Set it, or remove it from [server]."
        )
    return key.strip()


class Access:
    """Compares keys in constant time."""

    def __init__(self, key: str | None) -> None:
        self._key = key.encode() if key is not None else None

    def allows(self, path: str, headers: list[tuple[bytes, bytes]]) -> bool:
        """Return whether a request to ``path`` with these (lower-cased) headers may go on."""
        if self._key is None or path in OPEN_PATHS:
            return True
        given = next((value for name, value in headers if name == _HEADER), b"")
        return hmac.compare_digest(given, self._key)


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach a numeric address."""
    try:
        return ipaddress.ip_address(address.split("%", 1)[0]).is_loopback
    except ValueError:
        return False
