"""Export: golden vectors of every platform's rule, nothing unhashed unless asked; the lift read-out."""

import csv
import hashlib
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penchant.audiences.export import (
    PLATFORMS,
    Person,
    digits,
    e164,
    email,
    export_people,
    google_email,
    google_name,
    meta_name,
    people_of,
    require_contacts,
    sha256,
)
from penchant.audiences.lift import read_out
from penchant.kernel.errors import InputError

TEST_EMAIL = "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"
"""SHA-256 of test@example.com, as published in the platforms' own documentation."""


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_contacts_are_asked_for_before_any_work() -> None:
    nobody = pa.table({"user_id": ["u1"], "age": [3]})
    require_contacts(nobody, ["csv"])
    require_contacts(nobody.append_column("mobile", pa.array(["1"])), ["csv", "meta"])
    with pytest.raises(InputError, match="tiktok matches people by e-mail or phone"):
        require_contacts(nobody, ["csv", "tiktok"])


def test_the_golden_hash() -> None:
    assert sha256(email("  Test@Example.COM ")) == TEST_EMAIL
    assert sha256("") == ""


@pytest.mark.parametrize(
    ("given", "code", "meta", "google"),
    [
        ("+1 (650) 555-1212", "", "16505551212", "+16505551212"),
        ("+44 (0)20 7946 0958", "", "442079460958", "+442079460958"),
        ("0044 20 7946 0958", "", "442079460958", "+442079460958"),
        ("020 7946 0958", "44", "442079460958", "+442079460958"),
        ("020 7946 0958", "", "", ""),  # national, and nobody says of which nation
        ("6505551212", "1", "16505551212", "+16505551212"),
        ("12345", "", "", ""),
        ("+12345678901234567", "", "", ""),
        ("", "44", "", ""),
    ],
)
def test_phones(given: str, code: str, meta: str, google: str) -> None:
    assert digits(given, code) == meta
    assert e164(given, code) == google


def test_names_and_mails() -> None:
    assert meta_name(" Mary-Jane O'Neil ") == "maryjane oneil"
    assert meta_name("정") == "정"
    assert google_name(" Mary-Jane ") == "mary-jane"
    assert google_email(" Jane.Doe+shop@GMail.com") == "janedoe@gmail.com"
    assert google_email("Jane.Doe+shop@example.com") == "jane.doe+shop@example.com"
    assert email("not an address") == ""


PEOPLE = [
    Person(
        user_id="u1",
        email="Test@Example.com",
        phone="+1 650 555 1212",
        first_name="Ann",
        last_name="Lee",
        country="us",
        postcode="94043-1234",
    ),
    Person(user_id="u2", first_name="Nobody"),
]


def test_one_phone_is_never_hashed_the_same_for_meta_and_google() -> None:
    meta = rows_of(export_people(PEOPLE, "meta"))[0]
    google = rows_of(export_people(PEOPLE, "google"))[0]
    tiktok = rows_of(export_people(PEOPLE, "tiktok"))[0]
    assert meta["phone"] == hashlib.sha256(b"16505551212").hexdigest()
    assert google["Phone"] == tiktok["phone"] == hashlib.sha256(b"+16505551212").hexdigest()
    assert meta["email"] == google["Email"] == tiktok["email"] == TEST_EMAIL
    assert meta["country"] == hashlib.sha256(b"us").hexdigest()
    assert meta["zip"] == hashlib.sha256(b"94043").hexdigest()
    assert (google["Country"], google["Zip"]) == ("US", "94043-1234")


def test_people_without_contact_are_left_out_but_of_the_plain_list() -> None:
    assert len(rows_of(export_people(PEOPLE, "meta"))) == 1
    listed = rows_of(export_people(PEOPLE, "csv"))
    assert [row["user_id"] for row in listed] == ["u1", "u2"]
    assert listed[1]["email_sha256"] == ""
    with pytest.raises(InputError, match="nobody in the audience has"):
        export_people(PEOPLE[1:], "google")
    with pytest.raises(InputError, match="Did you mean 'google'"):
        export_people(PEOPLE, "gogle")


@given(
    name=st.text(alphabet="abcdefgh", min_size=3, max_size=12),
    number=st.integers(10**9, 10**10 - 1),
    platform=st.sampled_from(sorted(PLATFORMS)),
)
def test_nothing_unhashed_leaves_unless_asked(name: str, number: int, platform: str) -> None:
    person = Person(
        user_id="id7",
        email=f"{name}@mail.example",
        phone=f"+1{number}",
        first_name=f"Zz{name}",
        last_name=f"Qq{name}",
    )
    hidden = export_people([person], platform).decode().lower()
    for secret in (f"{name}@", "mail.example", str(number), f"zz{name}", f"qq{name}"):
        assert secret not in hidden
    assert f"{name}@mail.example" in export_people([person], platform, plain=True).decode()


def test_contact_columns_are_found() -> None:
    users = pa.table(
        {"user_id": ["a", "b"], "email": ["A@b.example", None], "mobile": ["0123", "+49 30 123456"]}
    )
    people = people_of(users, pa.array([1, 0]), country_code="+49")
    assert [p.user_id for p in people] == ["b", "a"]
    assert people[0].email == ""
    assert people[0].phone == "+49 30 123456"
    assert people[1].country_code == "49"
    with pytest.raises(InputError, match="not a dialling code"):
        people_of(users, pa.array([0]), country_code="DE")


def test_the_lift_is_by_intention_to_treat() -> None:
    targeted = [f"t{i}" for i in range(9000)]
    held = [f"h{i}" for i in range(1000)]
    bought = [*targeted[:540], *held[:40], "stranger"]
    lift = read_out(targeted, held, bought)
    assert lift.rate == pytest.approx(0.06)
    assert lift.held_out_rate == pytest.approx(0.04)
    assert lift.gain.value == pytest.approx(0.02)
    assert lift.relative == pytest.approx(0.5)
    assert lift.extra.value == pytest.approx(180)
    assert lift.gain.low > 0
    assert lift.p_value < 0.02
    assert lift.elsewhere == 1
    # By hand, Newcombe's interval from Wilson's of 540/9000 and 40/1000.
    assert (lift.gain.low, lift.gain.high) == (
        pytest.approx(0.0055, abs=5e-4),
        pytest.approx(0.0316, abs=5e-4),
    )


def test_a_lift_needs_two_separate_sides() -> None:
    with pytest.raises(InputError, match="both sides"):
        read_out(["a"], [], [])
    with pytest.raises(InputError, match="both targeted and held out"):
        read_out(["a"], ["a"], [])
