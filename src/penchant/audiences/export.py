"""What ad platforms accept: contact data normalised by each one's own rule and hashed.

All hash with SHA-256, lower-case hex, without salt. An e-mail is trimmed and lower-cased everywhere. A phone
is digits with the country code for Meta, and E.164 with the plus for Google and TikTok: the hashes differ, so
one must never be sent to the other.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penchant.audiences.write import table
from penchant.kernel.arrays import Rows
from penchant.kernel.arrow import ArrowTable
from penchant.kernel.errors import InputError
from penchant.kernel.names import did_you_mean

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "email": ("email", "e_mail", "email_address"),
    "phone": ("phone", "phone_number", "mobile"),
    "first_name": ("first_name", "given_name"),
    "last_name": ("last_name", "family_name", "surname"),
    "country": ("country", "country_code"),
    "postcode": ("postcode", "zip", "zip_code", "postal_code"),
}
"""Contact fields, and the user columns they are taken from: the first that exists."""

_DIGITS: Final = range(8, 16)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person's id and contact data as stored; empty where there is none."""

    user_id: str
    email: str = ""
    phone: str = ""
    first_name: str = ""
    last_name: str = ""
    country: str = ""
    postcode: str = ""
    country_code: str = ""  # dialling code for phones that have none


def require_contacts(users: ArrowTable, platforms: Sequence[str]) -> None:
    """Check, before any work, that somebody could be matched.

    Raises:
        InputError: users have neither an e-mail nor a phone column, which an ad platform matches by.
    """
    known = {*COLUMNS["email"], *COLUMNS["phone"]}
    asked = next((platform for platform in platforms if platform != "csv"), None)
    if asked is not None and known.isdisjoint(users.column_names):
        raise InputError(
            f"{asked} matches people by e-mail or phone, and users have no such column.",
            fix="Import users with a column email or phone, or use --export csv, which carries ids.",
        )


def people_of(users: ArrowTable, rows: Rows, *, country_code: str = "") -> list[Person]:
    """Return the contact data of some users, in the order of ``rows``.

    Raises:
        InputError: ``country_code`` is not digits.
    """
    if country_code and not country_code.removeprefix("+").isdecimal():
        raise InputError(f"'{country_code}' is not a dialling code.", fix="Give digits, such as 44.")
    chosen = users.take(rows)
    fields: dict[str, list[str]] = {}
    for field, names in COLUMNS.items():
        column = next((name for name in names if name in users.column_names), None)
        values = [None] * len(rows) if column is None else chosen[column].to_pylist()
        fields[field] = ["" if value is None else str(value) for value in values]
    return [
        Person(
            user_id=user_id,
            country_code=country_code.removeprefix("+"),
            **{field: values[i] for field, values in fields.items()},
        )
        for i, user_id in enumerate(chosen["user_id"].to_pylist())
    ]


def sha256(text: str) -> str:
    """Return the hash that the platforms compare, or an empty text for an empty one."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def email(text: str) -> str:
    """Trim and lower-case; empty when it is not an address."""
    cleaned = text.strip().lower()
    return cleaned if _EMAIL.fullmatch(cleaned) else ""


def google_email(text: str) -> str:
    """As `email`, and without the dots and the ``+tag`` that gmail.com and googlemail.com ignore."""
    cleaned = email(text)
    name, _, domain = cleaned.partition("@")
    if domain in ("gmail.com", "googlemail.com"):
        return f"{name.partition('+')[0].replace('.', '')}@{domain}"
    return cleaned


def digits(text: str, country_code: str = "") -> str:
    """Return a phone as digits with its country code, the way Meta hashes it; empty when it cannot be one.

    ``+44 (0)20 7946 0958`` and ``0044 20 7946 0958`` carry their code; ``020 7946 0958`` needs
    ``country_code``, which replaces the leading zeros.
    """
    written = text.strip()
    number = (
        re.sub(r"\D", "", written.replace("(0)", ""))
        if written.startswith("+")
        else re.sub(r"\D", "", written)
    )
    if not written.startswith("+"):
        if number.startswith("00"):
            number = number[2:]
        elif country_code:
            number = country_code + number.lstrip("0")
        elif number.startswith("0"):
            return ""  # a national number without its country would match somebody else
    return number if len(number) in _DIGITS else ""


def e164(text: str, country_code: str = "") -> str:
    """Return a phone as Google and TikTok hash it: ``+`` and the digits with the country code."""
    number = digits(text, country_code)
    return f"+{number}" if number else ""


def meta_name(text: str) -> str:
    """Lower-case, without punctuation, digits and spaces at the ends; letters of any script stay."""
    kept = "".join(c for c in text.strip().lower() if not unicodedata.category(c).startswith(("P", "N", "S")))
    return kept.strip()


def google_name(text: str) -> str:
    """Trim and lower-case."""
    return text.strip().lower()


def _hashed(value: str, *, plain: bool) -> str:
    return value if plain else sha256(value)


def _meta(person: Person, *, plain: bool) -> list[str]:
    postcode = re.sub(r"[\s]", "", person.postcode.lower()).partition("-")[0]
    values = (
        email(person.email),
        digits(person.phone, person.country_code),
        meta_name(person.first_name),
        meta_name(person.last_name),
        person.country.strip().lower(),
        postcode,
    )
    return [_hashed(value, plain=plain) for value in values]


def _google(person: Person, *, plain: bool) -> list[str]:
    values = (
        google_email(person.email),
        e164(person.phone, person.country_code),
        google_name(person.first_name),
        google_name(person.last_name),
    )
    return [
        *(_hashed(v, plain=plain) for v in values),
        person.country.strip().upper(),
        person.postcode.strip(),
    ]


def _tiktok(person: Person, *, plain: bool) -> list[str]:
    values = (email(person.email), e164(person.phone, person.country_code))
    return [_hashed(value, plain=plain) for value in values]


def _csv(person: Person, *, plain: bool) -> list[str]:
    values = (email(person.email), e164(person.phone, person.country_code))
    return [person.user_id, *(_hashed(value, plain=plain) for value in values)]


PLATFORMS: Final = {
    "meta": (("email", "phone", "fn", "ln", "country", "zip"), _meta),
    "google": (("Email", "Phone", "First Name", "Last Name", "Country", "Zip"), _google),
    "tiktok": (("email", "phone"), _tiktok),
    "csv": (("user_id", "email_sha256", "phone_sha256"), _csv),
}
"""Each platform's columns and how a person becomes a row. Google takes country and zip unhashed."""


def export_people(people: list[Person], platform: str, *, plain: bool = False) -> bytes:
    """Return the file for one platform: UTF-8 CSV, in the order given, without people it cannot match.

    ``plain`` lets normalised contact data leave unhashed. The plain ``csv`` also carries our own ids, and so
    keeps everybody.

    Raises:
        InputError: the platform is unknown, or nobody has contact data for it.
    """
    if platform not in PLATFORMS:
        raise InputError(f"there is no export to '{platform}'.", fix=did_you_mean(platform, PLATFORMS))
    header, row_of = PLATFORMS[platform]
    rows = [row_of(person, plain=plain) for person in people]
    if platform != "csv":
        contacts = 2  # e-mail and phone stand first; without either nobody is matched
        rows = [row for row in rows if any(row[:contacts])]
        if not rows:
            raise InputError(
                f"nobody in the audience has an e-mail or phone that {platform} accepts.",
                fix="Import users with a column email or phone (numbers with their country code).",
            )
    return table(header, rows)
