"""Credentials: which Authorization fields hold a key of ours, and that a key is never shown (contract section 3)."""

from __future__ import annotations

import hashlib
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.credentials import (
    BASE62,
    Credential,
    MalformedCredential,
    NoCredential,
    RepeatedCredential,
    base62,
    checksum,
    could_be_ours,
    digest,
    has_our_checksum,
    issue,
    parse,
    read,
    read_both,
    redact,
)
from gateway.core.snapshot import KeyFormat

OURS = KeyFormat()
LEGACY = KeyFormat(legacy=True)
KEY = issue("bk_live_", 12345678901234567890)
FOREIGN = "bk_live_0123456789abcdef0123456789abcdef"


def test_a_key_is_its_prefix_26_random_characters_and_their_checksum() -> None:
    assert re.fullmatch(r"bk_live_0{15}[A-Za-z0-9]{11}[A-Za-z0-9]{6}", KEY)
    assert KEY[34:] == checksum(KEY[8:34])


@given(st.integers(0, 62**26 - 1))
def test_every_key_that_is_issued_is_accepted_and_tells_its_number(number: int) -> None:
    key = issue("bk_test_", number)
    value = 0
    for character in key[8:34]:
        value = value * 62 + BASE62.index(character)
    assert value == number
    assert read([f"Bearer {key}"], OURS) == Credential(hashlib.sha256(key.encode()).digest(), key[:12], key)


@given(st.binary(max_size=40))
def test_the_checksum_is_the_crc_32_in_base_62(body: bytes) -> None:
    text = body.hex()
    value = 0
    for character in checksum(text):
        value = value * 62 + BASE62.index(character)
    assert value == zlib.crc32(text.encode())


def test_base_62_pads_with_zeros_and_keeps_the_last_digits() -> None:
    assert base62(0, 3) == "000"
    assert base62(61, 1) == "z"
    assert base62(62, 2) == "10"


@given(st.integers(8, 39), st.sampled_from(BASE62))
def test_one_wrong_character_is_refused_without_a_look_up(at: int, character: str) -> None:
    typed = KEY[:at] + character + KEY[at + 1 :]
    credential = parse(typed, OURS)
    assert isinstance(credential, Credential)
    assert could_be_ours(credential, OURS) == (typed == KEY)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "bEaReR ", "Bearer   "])
def test_the_scheme_is_read_in_any_case_with_any_number_of_spaces(scheme: str) -> None:
    assert isinstance(read([scheme + KEY], OURS), Credential)


@pytest.mark.parametrize("tail", [" ", "\t", " \t "])
def test_blanks_after_the_key_are_no_part_of_it(tail: str) -> None:
    assert read([f"Bearer {KEY}{tail}"], OURS) == parse(KEY, OURS)


@pytest.mark.parametrize(
    "values", [[], [""], ["Basic YTpi"], [f"Token {KEY}"], [KEY], [f"Bearer{KEY}"], [f"Bearer\t{KEY}"]]
)
def test_no_field_or_another_scheme_is_no_credential(values: list[str]) -> None:
    assert read(values, OURS) == NoCredential()


def test_two_fields_are_refused_even_when_they_are_the_same() -> None:
    assert read([f"Bearer {KEY}", f"Bearer {KEY}"], LEGACY) == RepeatedCredential()
    assert read(["Basic YTpi", f"Bearer {KEY}"], LEGACY) == RepeatedCredential()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "bk_live_",
        "bk_live_" + "a" * 15,
        "bk_live_" + "a" * 65,
        "bk_live_" + "a" * 31 + "-",
        "bk_live_" + "a" * 31 + "é",
        "bk_live_" + "a" * 31 + "\n",
        "bk_live_" + "a" * 16 + " " + "a" * 16,
        "BK_LIVE_" + "a" * 32,
        "bk_prod_" + "a" * 32,
        " " + FOREIGN,
        FOREIGN + "," + FOREIGN,
        "٣" * 40,
    ],
)
@pytest.mark.parametrize("key_format", [OURS, LEGACY])
def test_a_token_without_our_format_is_malformed_and_none_of_it_is_shown(token: str, key_format: KeyFormat) -> None:
    assert parse(token, key_format) == MalformedCredential()
    assert not has_our_checksum(token, key_format.prefixes)


def test_a_bearer_without_a_token_is_malformed() -> None:
    assert read(["Bearer"], LEGACY) == MalformedCredential()
    assert read(["Bearer "], LEGACY) == MalformedCredential()


@pytest.mark.parametrize("length", [16, 32, 64])
def test_a_key_from_elsewhere_works_only_with_the_legacy_option(length: int) -> None:
    key = "bk_test_" + ("Ab_9" * 16)[:length]
    credential = parse(key, OURS)
    assert isinstance(credential, Credential)
    assert credential == Credential(hashlib.sha256(key.encode()).digest(), "bk_test_Ab_9", key)
    assert not could_be_ours(credential, OURS)
    assert could_be_ours(credential, LEGACY)


def test_only_the_configured_prefixes_are_keys() -> None:
    renamed = KeyFormat(prefixes=("acme_",))
    assert parse(KEY, renamed) == MalformedCredential()
    assert isinstance(parse(issue("acme_", 1), renamed), Credential)


def test_the_checksum_can_be_asked_of_a_key_of_any_prefix() -> None:
    assert has_our_checksum(KEY, ("bk_test_", "bk_live_"))
    assert not has_our_checksum(FOREIGN, ("bk_test_", "bk_live_"))
    assert not has_our_checksum(KEY, ())


def test_a_key_is_stored_by_the_digest_it_is_looked_up_with() -> None:
    found = parse(KEY, OURS)
    assert isinstance(found, Credential)
    assert found.digest == digest(KEY) == hashlib.sha256(KEY.encode()).digest()


def test_a_credential_shows_neither_the_key_nor_its_digest() -> None:
    shown = repr(parse(KEY, OURS))
    assert KEY[:12] in shown
    assert KEY[12:] not in shown
    assert repr(digest(KEY)) not in shown
    assert KEY not in f"{parse(KEY, OURS)}"


@given(st.text(max_size=30), st.integers(0, 62**26 - 1), st.text(max_size=30))
def test_no_key_survives_redaction(before: str, number: int, after: str) -> None:
    key = issue("bk_live_", number)
    redacted = redact(f"{before}{key}{after}")
    assert key not in redacted
    assert f"{key[:12]}…" in redacted


def test_redaction_leaves_other_text_alone() -> None:
    assert redact("keys begin with bk_live_ or bk_test_") == "keys begin with bk_live_ or bk_test_"


OF_THE_BACKEND = "Bearer of.somebody.else"
OTHER = OURS.prefixes[0] + "B" * 32


@pytest.mark.parametrize(
    ("authorization", "api_key", "found"),
    [
        ([], [], NoCredential()),
        ([], [KEY], parse(KEY, OURS)),
        ([], [f" \t{KEY} "], parse(KEY, OURS)),
        ([f"Bearer {KEY}"], [], parse(KEY, OURS)),
        ([f"Bearer {KEY}"], ["foreign"], parse(KEY, OURS)),
        ([f"Bearer {KEY}"], [" "], parse(KEY, OURS)),
        ([OF_THE_BACKEND], [KEY], parse(KEY, OURS)),
        (["Basic YTpi"], [KEY], parse(KEY, OURS)),
        (["Basic YTpi"], [""], NoCredential()),
        ([OF_THE_BACKEND], ["foreign"], MalformedCredential()),
        ([], [f"Bearer {KEY}"], MalformedCredential()),
    ],
)
def test_a_key_is_read_where_it_is(authorization: list[str], api_key: list[str], found: object) -> None:
    assert read_both(authorization, api_key, OURS) == found


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        ([f"Bearer {KEY}"], [KEY]),
        ([f"Bearer {KEY}"], [OTHER]),
        ([KEY], [OTHER]),
        ([f"Bearer {KEY[:20]}"], [f"x {OTHER}"]),
        ([], [KEY, KEY]),
        ([], ["", KEY]),
        ([f"Bearer {KEY}"], ["", ""]),
        ([OF_THE_BACKEND, OF_THE_BACKEND], [KEY]),
    ],
)
def test_two_keys_are_none(authorization: list[str], api_key: list[str]) -> None:
    assert isinstance(read_both(authorization, api_key, OURS), RepeatedCredential)
