"""Images of a request are read, or the one that cannot be is named; nothing else comes of it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from penstock.core.errors import InvalidImage, InvalidRequest, Overloaded, UnreadableImage
from penstock.gateway.images.fetch import Fetcher, Spend
from penstock.gateway.images.reader import AskedImage, ImageLimits, ImageReader
from penstock.gateway.images.vision import Detail
from penstock.gateway.metrics import GatewayMetrics
from tests.gateway_fakes import MODEL
from tests.image_files import animated_file, image_file, picture
from tests.seeing_gateway import data_url, make_reader

LIMITS = ImageLimits(max_num_images=3, max_image_bytes=2000)


class FakeFetcher(Fetcher):
    """Files by URL."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.was_cancelled = False

    def close(self) -> None:
        """There is nothing to end."""

    async def fetch(self, url: str, spend: Spend) -> bytes:
        if url.endswith("/never"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        if url not in self.files:
            raise UnreadableImage("its server answered with status 404")
        spend(len(self.files[url]))
        return self.files[url]


@pytest.fixture
async def reader() -> AsyncIterator[ImageReader]:
    made = make_reader(LIMITS)
    yield made
    made.close()


def asked(url: str, detail: Detail = Detail.AUTO, at: int = 0) -> AskedImage:
    return AskedImage(f"messages[0].content[{at}].image_url", url, detail)


async def test_images_come_back_in_order_with_their_patches(reader: ImageReader) -> None:
    files = [image_file(picture(64, 32)), image_file(picture(16, 16), "JPEG"), image_file(picture(32, 48), "WEBP")]
    read = await reader.read([asked(data_url(file), at=at) for at, file in enumerate(files)])
    assert [image.file for image in read] == files
    assert [image.grid for image in read] == [(1, 4, 8), (1, 2, 2), (1, 6, 4)]
    assert [image.content_hash for image in read] == [reader.vision.content_hash(i.file, i.grid) for i in read]


async def test_a_size_is_what_a_viewer_sees(reader: ImageReader) -> None:
    exif = picture().getexif()
    exif[0x0112] = 6  # turned by a quarter
    (read,) = await reader.read([asked(data_url(image_file(picture(64, 32), exif=exif)))])
    assert read.grid == (1, 8, 4)


@pytest.mark.parametrize(
    "url",
    [
        data_url(kind=""),
        data_url(kind="image/jpeg"),  # what the bytes are counts
        data_url(kind="image/png;name=a.png"),
        data_url().replace("data:", "DATA:"),
        "data:image/png;base64," + base64.encodebytes(image_file()).decode(),  # with line breaks
    ],
)
async def test_data_urls_may_be_written_in_several_ways(reader: ImageReader, url: str) -> None:
    (read,) = await reader.read([asked(url)])
    assert read.file == image_file()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:", "not of the form"),
        ("data:image/png," + "iVBORw0KGgo=", "not of the form"),
        ("data:image/png;base64,", "unknown kind"),
        ("data:image/png;base64,$$$$", "not valid base64"),
        ("data:image/png;base64,iVBOR", "not valid base64"),
        ("data:image/png;base64,é", "not valid base64"),
        (data_url(b"text"), "unknown kind"),
        (data_url(image_file()[:-30]), "cut short"),
        (data_url(animated_file()), "animated"),
        (data_url(image_file(picture(1, 201))), "1 x 201 pixels is longer than 200 times"),
        (data_url(bytes(2001)), "more than 2000 bytes"),
        ("data:image/png;base64," + "A" * 10**6, "more than 2000 bytes"),
        ("http://host/a.png", "fetches no URLs"),
        ("ftp://host/a.png", "neither a data URL nor"),
        ("file:///etc/passwd", "neither a data URL nor"),
        ("/etc/passwd", "neither a data URL nor"),
        ("iVBORw0KGgo=", "neither a data URL nor"),
        (" ", "neither a data URL nor"),
    ],
)
async def test_what_cannot_be_used_is_named_with_the_reason(reader: ImageReader, url: str, reason: str) -> None:
    with pytest.raises(InvalidImage, match=reason) as caught:
        await reader.read([asked(data_url()), asked(url, at=5)])
    assert caught.value.param == "messages[0].content[5].image_url"
    assert "messages[0].content[5].image_url" in caught.value.message


async def test_a_long_data_url_is_decoded_as_a_whole() -> None:
    reader = make_reader()
    file = image_file() + bytes(range(256)) * 3000
    (read,) = await reader.read([asked(data_url(file))])
    assert read.file == file
    padded = base64.b64encode(bytes(2**18 - 2**16 - 2)).decode()  # ends within the first piece
    with pytest.raises(InvalidImage, match="more after its end"):
        await reader.read([asked("data:image/png;base64," + padded + "A" * 2**18)])
    reader.close()


async def test_a_picture_of_one_pixel_is_enlarged(reader: ImageReader) -> None:
    (read,) = await reader.read([asked(data_url(image_file(picture(1, 1))))])
    assert read.grid == (1, 2, 2)


async def test_all_images_of_a_request_share_a_limit(reader: ImageReader) -> None:
    file = image_file() + bytes(1400)
    with pytest.raises(InvalidImage, match="have more than 4000 bytes"):
        await reader.read([asked(data_url(file), at=at) for at in range(3)])
    assert len(await reader.read([asked(data_url(file), at=at) for at in range(2)])) == 2


def test_a_request_has_only_so_many_images() -> None:
    reader = make_reader(LIMITS)
    reader.check_number(3)
    with pytest.raises(InvalidRequest, match="has 4 images; at most 3"):
        reader.check_number(4)


async def test_urls_are_fetched_within_the_limits_and_one_that_fails_ends_the_others() -> None:
    fetcher = FakeFetcher({"https://host/a": image_file(), "https://host/large": bytes(2001)})
    reader = make_reader(LIMITS, fetcher)
    (read,) = await reader.read([asked("https://host/a", Detail.LOW)])
    assert read.file == image_file()
    for url, reason in (("https://host/large", "more than 2000 bytes"), ("https://host/none", "status 404")):
        fetcher.was_cancelled = False
        with pytest.raises(InvalidImage, match=reason) as caught:
            await reader.read([asked("https://host/never"), asked(url, at=1)])
        assert caught.value.param == "messages[0].content[1].image_url"
        assert fetcher.was_cancelled
    reader.close()


async def test_a_request_whose_images_take_too_long_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.gateway.images.reader.TIMEOUT_S", 0.01)
    fetcher = FakeFetcher({})
    reader = make_reader(LIMITS, fetcher)
    with pytest.raises(Overloaded, match="try again later"):
        await reader.read([asked("https://host/never")])
    assert fetcher.was_cancelled
    reader.close()


async def test_images_are_counted_by_where_they_came_from_and_what_became_of_them() -> None:
    metrics = GatewayMetrics(CollectorRegistry(), MODEL)
    reader = make_reader(LIMITS, FakeFetcher({"http://host/a": image_file()}), metrics)
    await reader.read([asked(data_url()), asked("http://host/a")])
    for url in ("data:", "http://host/b"):
        with pytest.raises(InvalidImage):
            await reader.read([asked(url)])
    shown = generate_latest(metrics.registry).decode()
    for source in ("data", "url"):
        for outcome in ("read", "refused"):
            assert f'penstock_images_total{{outcome="{outcome}",source="{source}"}} 1.0' in shown
    assert "penstock_image_read_seconds_count 2.0" in shown
    reader.close()


PIECES = st.one_of(
    st.just(image_file()), st.just(animated_file()), st.binary(max_size=40), st.just(b"GIF89a"), st.just(b"BM")
)


@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")  # Pillow's
@given(st.lists(PIECES, max_size=3), st.sampled_from(["{}", "data:image/png;base64,{}", "data:;base64,{}=", "data:{}"]))
def test_no_url_does_worse_than_to_be_refused(pieces: list[bytes], form: str) -> None:
    reader = make_reader()

    async def read() -> Any:
        try:
            return await reader.read([asked(form.format(base64.b64encode(b"".join(pieces)).decode()))])
        except InvalidImage as error:
            return error

    assert asyncio.run(asyncio.wait_for(read(), 10))
    reader.close()
