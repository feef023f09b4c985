"""Signatures made by botocore itself, whole and tampered with."""

from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from penchant.http.personalize.errors import AwsError
from penchant.http.personalize.sigv4 import Signed, verify

SECRETS = {"AKONE": "secret/one+", "AKTWO": "two"}


def signed(
    *, key: str = "AKONE", secret: str | None = None, body: bytes = b"{}", path: str = "/recommendations"
) -> Signed:
    request = AWSRequest("POST", f"http://127.0.0.1:8080{path}", data=body, headers={"X-Extra": " a  b "})
    SigV4Auth(Credentials(key, secret or SECRETS[key]), "personalize", "eu-west-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    route, _, query = path.partition("?")
    return Signed(
        method="POST", path=route, query=query, headers={"host": "127.0.0.1:8080", **headers}, body=body
    )


def now() -> float:
    return datetime.now(UTC).timestamp()


@pytest.mark.parametrize("path", ["/recommendations", "/", "/a%20b/c", "/x?b=2&a=1&a=%20%2F", "/x?empty="])
def test_what_botocore_signs_is_accepted(path: str) -> None:
    assert verify(signed(path=path), SECRETS, now=now()) == "AKONE"
    assert verify(signed(path=path, key="AKTWO"), SECRETS, now=now()) == "AKTWO"


@given(st.binary(max_size=60))
def test_any_body_is_accepted_and_no_other(body: bytes) -> None:
    request = signed(body=body)
    assert verify(request, SECRETS, now=now()) == "AKONE"
    other = Signed(
        method=request.method, path=request.path, query="", headers=request.headers, body=body + b" "
    )
    with pytest.raises(AwsError) as caught:
        verify(other, SECRETS, now=now())
    assert (caught.value.status, caught.value.kind) == (403, "InvalidSignatureException")


@pytest.mark.parametrize(
    ("request_", "at", "kind"),
    [
        (signed(secret="wrong"), 0.0, "InvalidSignatureException"),
        (signed(), 5000.0, "InvalidSignatureException"),
        (signed(), -5000.0, "InvalidSignatureException"),
        (
            Signed(method="POST", path="/", query="", headers={}, body=b""),
            0.0,
            "MissingAuthenticationTokenException",
        ),
        (
            Signed(method="POST", path="/", query="", headers={"authorization": "AWS4 x"}, body=b""),
            0.0,
            "IncompleteSignatureException",
        ),
    ],
)
def test_refusals_are_awss_own(request_: Signed, at: float, kind: str) -> None:
    with pytest.raises(AwsError) as caught:
        verify(request_, SECRETS, now=now() + at)
    assert (caught.value.status, caught.value.kind) == (403, kind)
    assert "secret/one" not in caught.value.message


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(AwsError) as caught:
        verify(signed(), {"AKTWO": "two"}, now=now())
    assert caught.value.kind == "UnrecognizedClientException"


@given(st.text(max_size=200))
def test_any_authorization_header_is_refused_politely(text: str) -> None:
    headers = {"authorization": text, "x-amz-date": "20260101T000000Z"}
    with pytest.raises(AwsError) as caught:
        verify(Signed(method="POST", path="/", query="", headers=headers, body=b""), SECRETS, now=now())
    assert caught.value.status == 403
