"""What containers prove with that they speak for their session."""

from __future__ import annotations

from pathlib import Path

from orchd.sold.tables import kept_secret
from orchd.sold.token import is_token, session_token
from tests.database.parts import opened_own

SECRET, OTHER = bytes(32), bytes(31) + b"\x01"


def test_a_token_is_of_one_session_and_one_secret() -> None:
    token = session_token(SECRET, "m1")
    assert is_token(token.value.encode(), token)
    assert len({token.value, session_token(SECRET, "m2").value, session_token(OTHER, "m1").value}) == 3
    assert not is_token(session_token(SECRET, "m2").value.encode(), token)
    assert not is_token(b"", token)
    assert not is_token("ü".encode(), token)


def test_a_token_is_not_shown() -> None:
    token = session_token(SECRET, "m1")
    assert token.value not in f"{token} {token!r}"


async def test_the_secret_is_random_and_the_same_in_the_next_life(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
    async with opened_own(first) as database:
        secret = await kept_secret(database)
        assert await kept_secret(database) == secret
    async with opened_own(first) as database:
        assert await kept_secret(database) == secret
    async with opened_own(second) as database:
        assert await kept_secret(database) != secret


async def test_a_secret_that_can_not_be_read_is_made_again(tmp_path: Path) -> None:
    async with opened_own(tmp_path) as database:
        secret = await kept_secret(database)
        await database.transaction(lambda sql: sql.change("UPDATE sold_secret SET secret = x'00'"))
        again = await kept_secret(database)
        assert again not in (secret, b"\x00")
        assert await kept_secret(database) == again
