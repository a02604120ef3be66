"""Images as references: their hash and source in a table, and their bytes only while a prompt is sent.

All pixels are decoded by Pillow, from formats on a list, and with a limit of pixels.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from typing import Any

from helmframe.errors import CapabilityError, ImageError

# The formats that are decoded, and their media types. Types that servers don't accept are sent as PNG.
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp", "BMP": "", "TIFF": ""}
MAX_BYTES = 64 << 20
THUMBNAIL = 96  # pixels of the longer side


@dataclass(frozen=True)
class ImageRef:
    """A reference to an image: the `media.name` of a content part, as JSON.

    >>> ImageRef.parse(ImageRef("5f…", {"path": "cats/1.png"}).json()).source
    {'path': 'cats/1.png'}

    Attributes:
        digest: The sha256 of the bytes, in hexadecimal digits.
        source: The source of the bytes: `path` below the data root; `file`, `row`, `column` and `item` of a Parquet
            file; or `row`, `column` and `item` of a data frame.
        at: The placeholder of the image in the question, such as `<image 1>`.
    """

    digest: str
    source: Mapping[str, Any] = field(hash=False)
    at: str = ""

    def json(self) -> str:
        """Return the reference as canonical JSON."""
        value = {"sha256": self.digest, "at": self.at, "source": dict(self.source)}
        return json.dumps(value, sort_keys=True, ensure_ascii=False)

    @classmethod
    def parse(cls, name: str | None) -> "ImageRef | None":
        """Return the reference in the name of a content part's media; None for other names."""
        if not name or not name.startswith('{"at": '):
            return None
        try:
            value = json.loads(name)
            return cls(str(value["sha256"]), dict(value["source"]), str(value["at"]))
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def identity(self) -> str:
        """The text that a request_id covers: content and position, whatever the source."""
        return json.dumps({"sha256": self.digest, "at": self.at}, sort_keys=True)


# A function that returns the bytes of an image, with the changes of `content_change` (None: unchanged) applied; the
# last argument is the number of the image in its instance.
LoadImage = Callable[[ImageRef, str | None, int], bytes]


def digest_of(data: bytes) -> str:
    """Return the sha256 of an image's bytes, in hexadecimal digits."""
    return sha256(data).hexdigest()


def pillow() -> Any:
    """Return the module `PIL.Image`.

    Raises:
        CapabilityError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise CapabilityError("Images need the package Pillow: pip install 'helmframe[images]'.") from None
    return Image


def opened(data: bytes) -> Any:
    """Return the image in the bytes; pixels are decoded on first use.

    Raises:
        ImageError: The bytes aren't an image of a supported format, or the image is too large.
    """
    image_module = pillow()
    if len(data) > MAX_BYTES:
        raise ImageError(f"The image has {len(data):,} bytes; the limit is {MAX_BYTES:,}.")
    limit = image_module.MAX_IMAGE_PIXELS
    try:
        image = image_module.open(BytesIO(data), formats=list(FORMATS))
    except (image_module.DecompressionBombError, image_module.DecompressionBombWarning) as error:
        raise ImageError(f"The image is too large: {error}") from None
    except (OSError, SyntaxError, ValueError):
        known = ", ".join(FORMATS)
        raise ImageError(
            f"The image is damaged or in another format: it must be {known}. SVG isn't supported."
        ) from None
    if limit and image.width * image.height > limit:
        raise ImageError(
            f"The image has {image.width:,} × {image.height:,} pixels; PIL.Image.MAX_IMAGE_PIXELS allows {limit:,}."
        )
    return image


def decoded(data: bytes, mode: str = "RGB") -> Any:
    """Return the image in the bytes with its pixels in a mode of Pillow; the first picture of an animation.

    Raises:
        ImageError: The bytes aren't an image of a supported format, or the image is damaged or too large.
    """
    image = opened(data)
    try:
        return image.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"The image is damaged: {error}") from None


def as_png(image: Any) -> bytes:
    """Return an image of Pillow as PNG."""
    buffer = BytesIO()
    image.save(buffer, format="PNG", compress_level=1)  # the default takes several times as long
    return buffer.getvalue()


def sendable(data: bytes) -> tuple[str, bytes]:
    """Return the media type and the bytes of an image as servers accept it.

    PNG, JPEG, GIF and WebP are sent unchanged, and other formats as PNG.

    Raises:
        ImageError: The bytes aren't an image of a supported format, or the image is damaged or too large.
    """
    image = opened(data)
    media_type = FORMATS[image.format]
    if not media_type:
        return "image/png", as_png(decoded(data))
    try:
        image.verify()
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"The image is damaged: {error}") from None
    return media_type, data


def thumbnail(data: bytes) -> dict[str, Any]:
    """Return width, height, format and a small PNG of an image, encoded again; nulls for a damaged image."""
    try:
        image = opened(data)
        facts = {"width": image.width, "height": image.height, "format": image.format}
        image.draft("RGB", (THUMBNAIL, THUMBNAIL))  # decodes a JPEG at a lower resolution
        small = image.convert("RGB")
    except (ImageError, OSError, SyntaxError, ValueError):
        return {"width": None, "height": None, "format": None, "thumbnail": None}
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return {**facts, "thumbnail": as_png(small)}
