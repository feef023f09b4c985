"""Signature Version 4: who signed a request, checked against keys of our own.

    key       = HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request")
    to sign   = "AWS4-HMAC-SHA256" \\n time \\n scope \\n hex(sha256(canonical request))
    signature = hex(HMAC(key, to sign))

The algorithm is AWS's public one ("AWS Signature Version 4 for API requests"). A client signs with whatever
region and service it was set up for; both are taken from its scope, so that no client needs changing.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import final
from urllib.parse import parse_qsl, quote

from penchant.http.personalize.errors import AwsError

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS = 15 * 60
_HEADER = re.compile(
    rf"{ALGORITHM} +Credential=(?P<key>[^/,\s]+)/(?P<scope>(?P<date>\d{{8}})/[^,\s]+/aws4_request), *"
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), *Signature=(?P<signature>[0-9a-f]{64})"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A request as it came: header names in lower case."""

    method: str
    path: str  # percent-encoded, as sent
    query: str
    headers: Mapping[str, str]
    body: bytes


def verify(request: Signed, secrets: Mapping[str, str], *, now: float) -> str:
    """Return the access key id that signed ``request``; ``secrets`` maps ids to secret keys.

    Raises:
        AwsError: 403 in AWS's own words: no signature, an unknown key, a clock more than 15 minutes off, or a
            signature that is not of this request.
    """
    authorization = request.headers.get("authorization")
    if authorization is None:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
    found = _HEADER.fullmatch(authorization.strip())
    time = request.headers.get("x-amz-date", "")
    if found is None or not re.fullmatch(r"\d{8}T\d{6}Z", time):
        raise AwsError(
            "IncompleteSignatureException", "The Authorization header is not a full SigV4 one.", status=403
        )
    signed = found["signed"].split(";")
    if "host" not in signed or not time.startswith(found["date"]):
        raise AwsError("InvalidSignatureException", "The host and the date must be signed.", status=403)
    secret = secrets.get(found["key"])
    if secret is None:
        raise AwsError(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            status=403,
        )
    expected = _signature(request, secret, scope=found["scope"], time=time, signed=signed)
    if not hmac.compare_digest(expected, found["signature"]):
        raise AwsError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            "Check your secret access key.",
            status=403,
        )
    _check_clock(time, now)
    return found["key"]


def _check_clock(time: str, now: float) -> None:
    try:
        sent = datetime.strptime(time, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise AwsError("InvalidSignatureException", "X-Amz-Date is not a date.", status=403) from None
    if abs(now - sent) > SKEW_SECONDS:
        server = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        raise AwsError(
            "InvalidSignatureException",
            f"Signature expired: {time} is more than 15 minutes from {server}. Set the client's clock.",
            status=403,
        )


def _signature(request: Signed, secret: str, *, scope: str, time: str, signed: list[str]) -> str:
    canonical = "\n".join(
        (
            request.method,
            quote(request.path or "/", safe="/~"),
            _canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    to_sign = "\n".join((ALGORITHM, time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _canonical_query(query: str) -> str:
    pairs = sorted(
        (quote(name, safe="~"), quote(value, safe="~"))
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    return "&".join(f"{name}={value}" for name, value in pairs)
