"""From a conversation to what the engine sees: template, tokens, images in their places.

Life of a request: step 1. Whatever can be refused without an image is refused before any is fetched.
"""

from penstock.core.errors import UnsupportedParameter
from penstock.gateway.api.chat_body import Conversation
from penstock.gateway.api.exchange import Exchange
from penstock.gateway.api.service import Service
from penstock.gateway.images.prompt import Prompt, check_places, place_images
from penstock.gateway.images.reader import AskedImage, ImageReader


async def read_conversation(
    service: Service, exchange: Exchange, body: Conversation, add_special_tokens: bool = False
) -> Prompt:
    """The prompt; a template writes special tokens itself, so they are seldom added."""
    tokenizer, asked = service.model.tokenizer, _asked(body)
    reader = _reader(service, asked)
    text = tokenizer.render_chat(body.turns(tokenizer.content_form), body.template_variables())
    token_ids = await tokenizer.encode(text, add_special_tokens)
    if reader is None:
        return Prompt(token_ids)
    check_places(token_ids, len(asked), reader.vision)
    files = await exchange.unless_left(reader.read(asked))
    return place_images(token_ids, files, reader.vision)


def _asked(body: Conversation) -> list[AskedImage]:
    return [
        AskedImage(f"messages[{turn}].content[{at}].image_url", image.url, image.detail)
        for turn, message in enumerate(body.messages)
        for at, image in message.images()
    ]


def _reader(service: Service, asked: list[AskedImage]) -> ImageReader | None:
    """Who reads them; None when there are none."""
    if not asked:
        return None
    if service.images is None:
        raise UnsupportedParameter(
            asked[0].where.rpartition("[")[0],
            "this model reads text only, and the message has a part of type 'image_url'",
        )
    service.images.check_number(len(asked))
    return service.images
