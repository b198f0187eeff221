from penstock.core.blocks import HASH_BLOCK_TOKENS, hash_blocks
from penstock.core.images import ImageSpan, hashed_token_ids, salted

PAD = 7


def prompt(content: bytes, num_image_tokens: int = 20) -> tuple[list[int], list[ImageSpan]]:
    token_ids = [*range(100, 112), *[PAD] * num_image_tokens, *range(200, 232)]
    return token_ids, [ImageSpan(12, num_image_tokens, content, (1, 4, 20))]


def hashes(content: bytes) -> list[bytes]:
    return hash_blocks(hashed_token_ids(*prompt(content)))


def test_prompts_share_a_prefix_as_far_as_their_images_are_the_same() -> None:
    one, same, other = hashes(b"a" * 16), hashes(b"a" * 16), hashes(b"b" * 16)
    assert one == same
    assert len(one) == 64 // HASH_BLOCK_TOKENS
    assert all(mine != theirs for mine, theirs in zip(one, other, strict=True))


def test_only_the_tokens_of_images_have_other_names() -> None:
    token_ids, images = prompt(bytes(range(16)))
    named = hashed_token_ids(token_ids, images)
    assert named[:12] == token_ids[:12]
    assert named[32:] == token_ids[32:]
    assert PAD not in named[12:32]
    assert named[12:16] == named[16:20]


def test_a_prompt_without_images_is_hashed_as_it_is() -> None:
    token_ids, _ = prompt(b"a" * 16)
    assert hashed_token_ids(token_ids, ()) is token_ids


def test_patches_are_counted_before_they_are_merged() -> None:
    assert ImageSpan(0, 6, b"a" * 16, (2, 4, 6)).num_patches == 48


def test_tenants_call_the_same_image_by_different_names() -> None:
    image = ImageSpan(0, 6, b"a" * 16, (1, 4, 6))
    ours, theirs = salted(image, b"ours"), salted(image, b"theirs")
    assert len({image.content_hash, ours.content_hash, theirs.content_hash}) == 3
    assert ours == salted(image, b"ours")
    assert (ours.start, ours.num_tokens, ours.grid) == (0, 6, (1, 4, 6))
    assert salted(image, b"") is image
