"""The content of a chat message: text, or parts of text and images in their order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError

from penstock.gateway.api.json_body import UNSUPPORTED
from penstock.gateway.images.vision import Detail
from penstock.gateway.text.content_form import ContentForm

_VIDEOS = frozenset({"video_url", "video", "input_video"})


class ImagePart(NamedTuple):
    """An image, as yet only named."""

    url: str
    detail: Detail


Content = str | Sequence[str | ImagePart]


def parse_content(value: Any) -> Content:
    """As pydantic's validators do it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("should be a string or a list of parts")
    if not value:
        raise ValueError("must have at least one part")
    return tuple(map(_part, value))


def _part(part: Any) -> str | ImagePart:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise ValueError("should be a string or a list of parts, each with a 'type'")
    if kind == "image_url":
        return _image(part)
    if kind in _VIDEOS:
        raise _unsupported("videos are not read; send their frames as images, in parts of type 'image_url'", kind)
    if kind != "text":
        raise _unsupported(
            "text is read, and images in parts of type 'image_url' where the model sees; "
            "the message has a part of type '{kind}'",
            kind,
        )
    if not isinstance(part.get("text"), str):
        raise ValueError("must have a string 'text' in each part of type text")
    text: str = part["text"]
    return text


def _image(part: Mapping[str, Any]) -> ImagePart:
    """{"image_url": {"url": ..., "detail": ...}}; some clients send the URL without the object around it."""
    image = part.get("image_url")
    image = {"url": image} if isinstance(image, str) else image
    if not isinstance(image, dict) or not isinstance(image.get("url"), str) or not image["url"]:
        raise ValueError("must have a string 'url' in the 'image_url' of each part of type image_url")
    if unknown := (image.keys() - {"url", "detail"}) | (part.keys() - {"type", "image_url"}):
        raise _unsupported("a part of type image_url has no option '{kind}' here", str(min(unknown)))
    detail = image.get("detail")
    if detail is not None and detail not in tuple(Detail):
        raise ValueError("must have a 'detail' of auto, low or high in each image_url that has one")
    return ImagePart(image["url"], Detail(detail or "auto"))


def _unsupported(sentence: str, kind: str) -> PydanticCustomError:
    return PydanticCustomError(UNSUPPORTED, sentence, {"kind": kind[:32]})


def images_in(content: Content) -> Iterator[tuple[int, ImagePart]]:
    """Each image with its place among the parts."""
    if not isinstance(content, str):
        for at, part in enumerate(content):
            if isinstance(part, ImagePart):
                yield at, part


def for_template(content: Content, form: ContentForm) -> str | list[dict[str, str]]:
    """As Hugging Face templates read it: text for those that know nothing else, joined by line breaks as vLLM joins it.

    With images it is a list in any case: a template that makes nothing of it has no place for them either.
    """
    if isinstance(content, str):
        return content if form is not ContentForm.PARTS else [_text(content)]
    if form is ContentForm.TEXT and not any(images_in(content)):
        return "\n".join(str(part) for part in content)
    return [{"type": "image"} if isinstance(part, ImagePart) else _text(part) for part in content]


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
