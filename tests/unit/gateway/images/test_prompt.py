"""Places of images in a prompt become as wide as the images."""

import pytest

from penstock.core.errors import InvalidRequest
from penstock.core.images import ImageSpan
from penstock.gateway.images.prompt import ImageFile, Prompt, check_places, place_images
from tests.seeing_gateway import make_vision

P = 7  # the placeholder
VISION = make_vision(placeholder_id=P)
SMALL = ImageFile(b"small", (1, 2, 4), b"s" * 16)  # 2 tokens
LARGE = ImageFile(b"large", (1, 4, 4), b"l" * 16)  # 4 tokens


@pytest.mark.parametrize(
    ("token_ids", "images", "widened", "starts"),
    [
        ([1, P, 2], [SMALL], [1, P, P, 2], [1]),
        ([P], [LARGE], [P] * 4, [0]),
        ([P, 1, P, 2], [SMALL, LARGE], [P, P, 1, P, P, P, P, 2], [0, 3]),
        ([1, P, P], [LARGE, SMALL], [1, P, P, P, P, P, P], [1, 5]),
        ([1, 2], [], [1, 2], []),
    ],
)
def test_each_place_is_widened_for_its_own_image(
    token_ids: list[int], images: list[ImageFile], widened: list[int], starts: list[int]
) -> None:
    prompt = place_images(token_ids, images, VISION)
    assert list(prompt.token_ids) == widened
    assert [image.span.start for image in prompt.images] == starts
    assert [image.file for image in prompt.images] == [image.file for image in images]


def test_a_span_says_what_stands_where() -> None:
    (image,) = place_images([5, P], [LARGE], VISION).images
    assert image.span == ImageSpan(1, 4, b"l" * 16, (1, 4, 4))


def test_a_prompt_without_images_has_none() -> None:
    assert Prompt([1, 2]).images == ()


@pytest.mark.parametrize(("token_ids", "num_images"), [([1, 2], 1), ([P, P], 1), ([P], 2)])
def test_places_and_images_must_be_as_many(token_ids: list[int], num_images: int) -> None:
    with pytest.raises(InvalidRequest, match=f"places for {num_images} images"):
        check_places(token_ids, num_images, VISION)
    check_places(token_ids, token_ids.count(P), VISION)
