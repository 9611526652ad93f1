"""A name that nobody serves leads to the one that was meant, in a few words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.nearest import MOST_LETTERS, listed, nearest_model
from orchd.doors.plain.routing import unknown_model
from orchd.errors import OrchdError
from orchd.status_view import find_model

KEYS = [
    ModelKey(pipeline, model_id)
    for pipeline, ids in {
        "text-to-image": ("stabilityai/sdxl-turbo", "black-forest-labs/FLUX.1-schnell", "ByteDance/SDXL-Lightning"),
        "llm": ("meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-70B-Instruct", "Qwen/Qwen2.5-7B"),
        "audio-to-text": ("openai/whisper-large-v3", "openai/whisper-small"),
        "live-video-to-video": ("green-tint-cpu", "streamdiffusion", "comfystream"),
        "image-to-text": ("図書館/キャプション", "Salesforce/blip-image-captioning-large"),
        "upscale": tuple(f"org{n}/some-upscaler" for n in range(20)),
    }.items()
    for model_id in ids
]


def slips(name: str) -> list[str]:
    middle = len(name) // 2
    return [
        name.upper(),
        name[:middle] + name[middle + 1 :],
        name[:middle] + name[middle] + name[middle:],
        name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :],
        name.replace("-", "_"),
    ]


@pytest.mark.parametrize("key", KEYS[:13], ids=str)
def test_a_slip_leads_to_what_was_meant(key: ModelKey) -> None:
    for name in (*slips(str(key)), *slips(key.model_id)):
        assert nearest_model(name, KEYS) == key, name


def test_a_slip_in_the_pipeline_or_the_id_alone_leads_to_a_model_of_it() -> None:
    for slip in ("upscal", "upsclae", "upscale/", "org7/some-upscaler"):
        near = nearest_model(slip, KEYS)
        assert near is not None
        assert near.pipeline == "upscale"


@pytest.mark.parametrize("name", ["", "xyzzy", "/", "favicon.ico", "wp-login.php", "x" * 10_000])
def test_what_is_like_nothing_leads_nowhere(name: str) -> None:
    assert nearest_model(name, KEYS) is None
    assert nearest_model(name, ()) is None


@given(st.text(), st.lists(st.sampled_from(KEYS), unique=True))
def test_the_order_of_the_models_does_not_matter(name: str, keys: list[ModelKey]) -> None:
    assert nearest_model(name, keys) == nearest_model(name, reversed(keys))


def test_no_more_of_a_name_is_compared_than_is_needed() -> None:
    assert nearest_model("streamdiffusion" + "x" * 100_000, KEYS) == nearest_model(
        ("streamdiffusion" + "x" * 100_000)[:MOST_LETTERS], KEYS
    )


def test_every_answer_names_the_nearest_first_and_stays_short() -> None:
    meant = "llm/meta-llama/Meta-Llama-3.1-8B-Instruct"
    said = unknown_model("model 'meta-lama' of llm", KEYS, "llm/meta-llama/Meta-Lama-3.1-8B-Instruct").message
    with pytest.raises(OrchdError) as caught:
        find_model("meta-llama/Meta-Lama-3.1-8B-Instruct", KEYS)
    for text in (said, caught.value.message):
        assert text.partition("did you mean ")[2].startswith(f"{meant}? "), text
        assert f"and {len(KEYS) - 5} more" in text
        assert len(text) < 400
    with pytest.raises(OrchdError) as caught:
        find_model("x" * 5000, KEYS)
    assert len(caught.value.message) < 1500
    assert "did you mean" not in caught.value.message


def test_a_list_ends() -> None:
    assert listed(KEYS[:2], 2) == "text-to-image/black-forest-labs/FLUX.1-schnell, text-to-image/stabilityai/sdxl-turbo"
    assert listed(KEYS, 1).endswith(f" and {len(KEYS) - 1} more")
    assert listed((), 5) == ""
