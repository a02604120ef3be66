"""Perturbations of images: blur, noise, rotation, and JPEG compression. Texts stay unchanged.

They run when a prompt is sent, and change each image of an instance. Random numbers depend on the instance, as for
texts. The severities of Hendrycks & Dietterich 2019 (ImageNet-C) are near the defaults.
"""

from io import BytesIO
from typing import Any

import numpy as np

from helmframe._core.checks import is_integer
from helmframe._core.expressions import keyed_draws
from helmframe._core.images import pillow
from helmframe.errors import ArgumentError
from helmframe.perturbations.factory import perturbation

# Values of noise that are computed together, so that a large image needs little memory.
_AT_ONCE = 1 << 20


@perturbation("image_blur", takes="image")
def image_blur(image: Any, radius: float = 2.0) -> Any:
    """Blur the images with a Gaussian filter.

    Args:
        image: The image.
        radius: The standard deviation of the filter, in pixels.

    >>> import helmframe as hf
    >>> hf.perturbations.image_blur(radius=4.0)
    PerturbationCall(name='image_blur', arguments=(('radius', 4.0),))

    Source: Hendrycks & Dietterich 2019 (ImageNet-C).
    """
    _check("image_blur", "radius", radius, 100)
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(radius))


@perturbation("image_noise", takes="image")
def image_noise(image: Any, key: int, std: float = 0.1) -> Any:
    """Add Gaussian noise to the pixels of the images.

    Args:
        image: The image.
        key: The number that random numbers depend on.
        std: The standard deviation of the noise, as a fraction of the range from black to white.

    >>> import helmframe as hf
    >>> hf.perturbations.image_noise(std=0.2)
    PerturbationCall(name='image_noise', arguments=(('std', 0.2),))

    Source: Hendrycks & Dietterich 2019 (ImageNet-C).
    """
    _check("image_noise", "std", std, 1)
    pixels = np.array(image)
    values = pixels.reshape(-1)
    for start in range(0, len(values), _AT_ONCE):
        part = values[start : start + _AT_ONCE]
        noise = _normal(key, start, len(part)) * (255 * std)
        values[start : start + _AT_ONCE] = np.clip(np.rint(part + noise), 0, 255).astype(np.uint8)
    return pillow().fromarray(pixels)


@perturbation("image_rotation", takes="image")
def image_rotation(image: Any, key: int, degrees: float = 15.0) -> Any:
    """Rotate the images by a random angle.

    The whole image stays visible, on a larger white canvas.

    Args:
        image: The image.
        key: The number that random numbers depend on.
        degrees: The largest angle. Angles from `-degrees` to `degrees` have the same probability.

    >>> import helmframe as hf
    >>> hf.perturbations.image_rotation(degrees=90)
    PerturbationCall(name='image_rotation', arguments=(('degrees', 90),))

    Source: Engstrom et al. 2019 (Exploring the Landscape of Spatial Robustness).
    """
    _check("image_rotation", "degrees", degrees, 180)
    angle = degrees * (2 * _uniform(key, 0, 1)[0] - 1)
    bicubic = pillow().Resampling.BICUBIC
    return image.rotate(float(angle), resample=bicubic, expand=True, fillcolor=(255, 255, 255))


@perturbation("image_jpeg", takes="image")
def image_jpeg(image: Any, quality: int = 10) -> Any:
    """Compress the images as JPEG.

    Args:
        image: The image.
        quality: The quality of the compression, from 1 (the worst) to 95.

    >>> import helmframe as hf
    >>> hf.perturbations.image_jpeg(quality=25)
    PerturbationCall(name='image_jpeg', arguments=(('quality', 25),))

    Source: Hendrycks & Dietterich 2019 (ImageNet-C).
    """
    if not is_integer(quality) or not 1 <= quality <= 95:
        raise ArgumentError(f"image_jpeg(quality={quality!r}): quality must be an integer from 1 to 95.")
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return pillow().open(buffer, formats=["JPEG"])


def _check(perturbation: str, argument: str, value: object, most: float) -> None:
    """Check that the strength of a perturbation is a number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ArgumentError(
            f"{perturbation}({argument}={value!r}): {argument} must be a number above 0 and at most {most:g}."
        )


def _uniform(key: int, start: int, count: int) -> Any:
    """Return random numbers from 0 to 1, both excluded, at the positions from `start` on."""
    positions = np.arange(start, start + count, dtype=np.uint64)
    draws = keyed_draws(np.full(count, key, dtype=np.uint64), positions)
    return ((draws >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def _normal(key: int, start: int, count: int) -> Any:
    """Return normal random numbers at the positions from `start` on (Box & Muller 1958)."""
    first, second = _uniform(key, 2 * start, count), _uniform(key, 2 * start + count, count)
    return np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
