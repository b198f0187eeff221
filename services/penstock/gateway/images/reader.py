"""Reads the images of a request: gets each file from where its URL says, checks it, measures it.

Life of a request: step 1, between its template and its tokens. Images are fetched at the same time, and checked in few
threads: a large one needs 0.2 GB while it is decoded.
"""

import asyncio
import base64
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from penstock.core.errors import InvalidImage, InvalidRequest, Overloaded, UnreadableImage
from penstock.gateway.images.fetch import Fetcher, Spend
from penstock.gateway.images.prompt import ImageFile
from penstock.gateway.images.vision import Detail, Vision
from penstock.gateway.metrics import GatewayMetrics
from penstock.gateway.tasks import first_error
from penstock.runtime.images import upright_size

NUM_THREADS = 2
TIMEOUT_S = 20.0  # over all images of a request, fetched and checked
_PIECE_CHARACTERS = 2**18  # a multiple of 4
_DATA_URL = re.compile(r"data:[^,]{0,256};base64,", re.IGNORECASE)


class AskedImage(NamedTuple):
    """An image as a message names it."""

    where: str  # in the body, such as messages[1].content[0].image_url
    url: str
    detail: Detail = Detail.AUTO

    @property
    def is_inline(self) -> bool:
        return self.url[:5].lower() == "data:"


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What one request may bring."""

    max_num_images: int = 16
    max_image_bytes: int = 10 * 2**20

    @property
    def max_total_bytes(self) -> int:
        """Of all images of a request: of two of the largest."""
        return 2 * self.max_image_bytes

    @property
    def max_body_bytes(self) -> int:
        """What images may add to a body, in base64."""
        return self.max_total_bytes * 4 // 3


class _Purse:
    """Bytes that the images of one request may still have."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._left = limits.max_total_bytes

    def of(self, image: AskedImage) -> Spend:
        """What counts the bytes of one image: against its own limit, and against what the others leave it."""
        own_left = self._limits.max_image_bytes

        def spend(num_bytes: int) -> None:
            nonlocal own_left
            own_left -= num_bytes
            self._left -= num_bytes
            if own_left < 0:
                raise InvalidImage(image.where, f"it has more than {self._limits.max_image_bytes} bytes")
            if self._left < 0:
                most = self._limits.max_total_bytes
                raise InvalidImage(image.where, f"with it, the request's images have more than {most} bytes")

        return spend


class ImageReader:
    """Made once per gateway of a model that sees; `fetcher` is None where image URLs are not fetched."""

    def __init__(
        self,
        vision: Vision,
        limits: ImageLimits,
        fetcher: Fetcher | None,
        metrics: GatewayMetrics,
        now_s: Callable[[], float],
    ) -> None:
        self.vision = vision
        self.limits = limits
        self._fetcher = fetcher
        self._metrics = metrics
        self._now_s = now_s
        self._checking = ThreadPoolExecutor(NUM_THREADS, "images")

    def close(self) -> None:
        self._checking.shutdown(wait=False, cancel_futures=True)
        if self._fetcher is not None:
            self._fetcher.close()

    def check_number(self, num_images: int) -> None:
        if num_images > self.limits.max_num_images:
            raise InvalidRequest(
                f"The request has {num_images} images; at most {self.limits.max_num_images} are read.", "messages"
            )

    async def read(self, asked: Sequence[AskedImage]) -> list[ImageFile]:
        """All images, in order. Raises InvalidImage for one that cannot be used; the others are then given up."""
        purse = _Purse(self.limits)
        try:
            async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
                reads = [group.create_task(self._read(image, purse.of(image))) for image in asked]
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        except TimeoutError:
            raise Overloaded("This gateway has too many images to check; try again later.") from None
        return [read.result() for read in reads]

    async def _read(self, image: AskedImage, spend: Spend) -> ImageFile:
        source = "data" if image.is_inline else "url"
        began_s = self._now_s()
        try:
            read = await self._file(image, spend)
        except UnreadableImage as error:
            self._metrics.images.add(source, "refused")
            raise InvalidImage(image.where, error.message) from error
        except InvalidImage:
            self._metrics.images.add(source, "refused")
            raise
        self._metrics.images.add(source, "read")
        self._metrics.image_s.observe(self._now_s() - began_s)
        return read

    async def _file(self, image: AskedImage, spend: Spend) -> ImageFile:
        if image.is_inline:
            head = _DATA_URL.match(image.url)
            if head is None:
                raise UnreadableImage("its data URL is not of the form data:image/png;base64,DATA")
            spend((len(image.url) - head.end()) * 3 // 4)  # before it is decoded
            return await self._in_thread(self._decoded, image, head.end())
        if not image.url[:8].lower().startswith(("http://", "https://")):
            raise UnreadableImage("its URL is neither a data URL nor begins with http:// or https://")
        if self._fetcher is None:
            raise UnreadableImage("this gateway fetches no URLs; send the image as a data URL")
        file = await self._fetcher.fetch(image.url, spend)
        return await self._in_thread(self._measured, file, image.detail)

    async def _in_thread(self, work: Callable[..., ImageFile], *arguments: object) -> ImageFile:
        return await asyncio.get_running_loop().run_in_executor(self._checking, work, *arguments)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _decoded(self, image: AskedImage, begin: int) -> ImageFile:
        return self._measured(_from_base64(image.url[begin:]), image.detail)

    def _measured(self, file: bytes, detail: Detail) -> ImageFile:
        try:
            grid = self.vision.grid(*upright_size(file), detail)
        except ValueError as error:
            raise UnreadableImage(str(error)) from error  # too thin
        return ImageFile(file, grid, self.vision.content_hash(file, grid))


def _from_base64(text: str) -> bytes:
    """Some clients break lines in it."""
    try:
        try:
            return _joined(text)
        except ValueError:
            return _joined("".join(text.split()))
    except ValueError as error:
        raise UnreadableImage(f"its data URL is not valid base64 ({error})") from error


def _joined(text: str) -> bytes:
    """Piece by piece: the decoder keeps the interpreter to itself, and streams must go on meanwhile."""
    pieces = [text[at : at + _PIECE_CHARACTERS] for at in range(0, len(text), _PIECE_CHARACTERS)]
    if any("=" in piece for piece in pieces[:-1]):
        raise ValueError("there is more after its end")
    return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
