"""Which channels a stream gets at the node, and which URL goes to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.model import ContainerLaunch
from orchd.jobs.stream_body import check_start
from orchd.realtime.channels import MEDIA_FIELDS, MIME_TYPES, brings_media, read_channels, unwanted, wanted
from tests.jobs.model import a_model

OUTSIDE = a_model()
BOXED = a_model(launch=ContainerLaunch("an/image"))
LONG = b"x" * 300_000

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def made(inside: str = "http://10.0.0.1:8935", **instead: Any) -> dict[str, Any]:
    """Return what the node answers; `inside` is how it calls itself before runners."""
    channels = [
        {
            "name": name,
            "channel_name": f"channel_{name}",
            "url": f"https://node.example/ai/trickle/channel_{name}",
            "internal_url": f"{inside}/ai/trickle/channel_{name}",
            "mime_type": mime_type,
        }
        for name, mime_type in MIME_TYPES.items()
    ]
    return {"channels": [{**each, **instead} for each in channels]}


def test_the_node_is_asked_for_five_channels_and_for_their_removal_by_name() -> None:
    asked = json.loads(wanted())["channels"]
    assert [(each["name"], each["mime_type"]) for each in asked] == list(MIME_TYPES.items())
    assert set(MIME_TYPES) == {"in", "out", "control", "events", "data"}
    assert json.loads(unwanted("in", "out")) == {"channels": ["in", "out"]}


def test_the_client_publishes_where_the_container_subscribes_and_each_has_the_urls_that_it_reaches() -> None:
    found = read_channels(made())
    inside, outside = "http://10.0.0.1:8935/ai/trickle/channel_", "https://node.example/ai/trickle/channel_"
    assert json.loads(found.start(b"", "s1", OUTSIDE)) == {
        "gateway_request_id": "s1",
        "stream_id": "s1",
        "manifest_id": "s1",
        "subscribe_url": f"{inside}in",
        "publish_url": f"{inside}out",
        "control_url": f"{inside}control",
        "events_url": f"{inside}events",
        "data_url": f"{inside}data",
    }
    assert json.loads(found.answer("s1")) == {
        "manifest_id": "s1",
        "publish_url": f"{outside}in",
        "subscribe_url": f"{outside}out",
        "control_url": f"{outside}control",
        "events_url": f"{outside}events",
        "data_url": f"{outside}data",
    }


@given(st.dictionaries(st.text(), values, max_size=5), st.sampled_from([None, 2]), st.booleans())
def test_what_the_client_says_reaches_the_container_except_for_what_orchd_says(
    said: dict[str, Any], indent: int | None, marked: bool
) -> None:
    body = json.dumps(said, indent=indent).encode("utf-8-sig" if marked else "utf-8")
    check_start(body)  # What does not pass that does not come here.
    ours = json.loads(read_channels(made()).start(b"", "s1", OUTSIDE))
    assert json.loads(read_channels(made()).start(body, "s1", OUTSIDE)) == {**said, **ours}


def test_a_start_too_long_to_be_read_gets_its_channels_all_the_same() -> None:
    body = b' {"params": {"prompt": "' + LONG + b'"}} '
    merged = json.loads(read_channels(made()).start(body, "s1", OUTSIDE))
    assert merged["params"]["prompt"] == LONG.decode()
    assert merged["subscribe_url"].endswith("_in")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_inside_a_container_the_nodes_loopback_is_the_hosts_name(host: str) -> None:
    found = read_channels(made(inside=f"http://{host}:8935"))
    there = json.loads(found.start(b"", "s1", BOXED))
    assert there["subscribe_url"] == "http://host.docker.internal:8935/ai/trickle/channel_in"
    outside = json.loads(found.start(b"", "s1", OUTSIDE))
    assert outside["subscribe_url"] == f"http://{host}:8935/ai/trickle/channel_in"


def test_another_host_stays_as_the_node_says_it() -> None:
    there = json.loads(read_channels(made()).start(b"", "s1", BOXED))
    assert there["publish_url"] == "http://10.0.0.1:8935/ai/trickle/channel_out"


def test_without_an_internal_url_the_container_gets_the_public_one() -> None:
    there = json.loads(read_channels(made(internal_url=None)).start(b"", "s1", OUTSIDE))
    assert there["events_url"] == "https://node.example/ai/trickle/channel_events"


@pytest.mark.parametrize(
    "document",
    [
        *(None, [], {}, {"channels": None}, {"channels": [1]}, {"channels": [{"name": "in"}]}),
        *(made(url=7), made(url="ftp://x/y"), made(url="http://[x/y"), made(url="http://x:99999/y"), made(name="in")),
        {"channels": made()["channels"][:-1]},
    ],
)
def test_an_answer_without_all_channels_is_none_at_all_and_shows_no_url(document: object) -> None:
    with pytest.raises(ValueError, match=r"gave no URL of .*data") as raised:
        read_channels(document)
    assert "://" not in str(raised.value)


def test_urls_of_channels_are_not_shown() -> None:
    assert "trickle" not in repr(read_channels(made()))


@pytest.mark.parametrize("field", sorted(MEDIA_FIELDS))
def test_a_start_with_one_url_of_its_own_brings_its_media(field: str) -> None:
    short, long = {field: "http://there/x"}, b'{"a": "' + LONG + b'", "%s": "http://there/x"}' % field.encode()
    assert brings_media(short, json.dumps(short).encode())
    assert brings_media({}, long)


@pytest.mark.parametrize("said", [{}, {"params": {"subscribe_url": "x"}}, {"subscribe_url": "", "publish_url": None}])
def test_a_start_without_one_brings_none(said: dict[str, Any]) -> None:
    assert not brings_media(said, json.dumps(said).encode())


def test_no_body_brings_none() -> None:
    assert not brings_media({}, b"")
