"""How a session's channels are called."""

from __future__ import annotations

import re

import pytest

from orchd.sold.runner_side.session_channels import new_channel


@pytest.mark.parametrize(
    ("name", "ends"), [("in", "-in"), ("A_b-1", "-A_b-1"), ("a b/c", ""), ("ü", ""), ("x" * 200, ""), ("../etc", "")]
)
def test_a_channel_bears_its_name_where_that_fits_into_a_url(name: str, ends: str) -> None:
    made = new_channel(name)
    assert (made.name, made.mime_type) == (name, "application/octet-stream")
    assert re.fullmatch(rf"channel_[a-z2-7]{{16}}{re.escape(ends)}", made.channel_name)
    assert made.channel_name not in repr(made)
    assert new_channel(name).channel_name != made.channel_name


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("", ""),
        ("x" * 257, ""),
        ("\ud800", ""),
        ("in", "text/plain\r\nX: y"),
        ("in", "text/plain\0"),
        ("in", "ü"),
        ("in", " "),
        ("in", "x" * 200),
    ],
)
def test_what_can_t_stand_in_a_head_is_no_type(name: str, mime_type: str) -> None:
    with pytest.raises(ValueError, match="cannot make a channel"):
        new_channel(name, mime_type)
