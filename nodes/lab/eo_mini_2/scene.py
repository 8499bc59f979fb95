"""What a frame shows, as data: its ground, objects, lures, haze, clouds, light and noise.

A scene holds everything that the renderer needs and serialises to about 5 kB of JSON, so that a split is
shipped as descriptions and its pixels are drawn when they are needed. Lengths are in native pixels, which
stand for one metre each.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

FRAME_PX = 2688
REDUCTION = 12
REDUCED_PX = FRAME_PX // REDUCTION
LENGTH_PX = (9.0, 256.0)  # 0.75 to 21 px in the reduced frame
CONTRAST = (0.4, 1.0)
FULL_CONTRAST = 140.0  # grey levels above the water of an object whose contrast is 1

Shape = Literal["ship", "barge", "platform", "jetty"]
Family = Literal["vessel", "fixture"]
Condition = Literal["usable", "clouded", "dark"]
SHAPES: dict[Family, tuple[Shape, Shape]] = {"vessel": ("ship", "barge"), "fixture": ("platform", "jetty")}


@dataclass(frozen=True)
class Ground:
    """The surface under a frame.

    Attributes:
        source: Name of the background: "synthetic", or one that a caller registers.
        seed: Seed of a synthetic surface; unused for others.
        left_px: Left edge of the frame within the source.
        top_px: Upper edge of the frame within the source.
        water: Colour of the water, 0 to 255.
        roughness: Standard deviation of the waves in grey levels.
        land: Share of the frame that land may cover, 0 to 1.
    """

    source: str
    seed: int
    left_px: int
    top_px: int
    water: tuple[float, float, float]
    roughness: float
    land: float


@dataclass(frozen=True)
class Thing:
    """An object that prompts may ask about.

    Both shapes of a family have the same area, brightness and colour, so they look the same once details are
    lost.

    Attributes:
        shape: What it is.
        x_px: Horizontal position of its centre.
        y_px: Vertical position of its centre.
        length_px: Length of a ship or jetty; of a barge or platform, that of one of these with the same area.
        heading_rad: Direction of its axis, clockwise from east.
        aspect: Length over width of a ship or jetty of this length.
        contrast: Brightness above the water, as a share of FULL_CONTRAST.
        tilt: Relative difference in brightness between its two ends.
        tint: Deviation of its colour from grey, in grey levels.
    """

    shape: Shape
    x_px: float
    y_px: float
    length_px: float
    heading_rad: float
    aspect: float
    contrast: float
    tilt: float
    tint: tuple[float, float, float]

    @property
    def family(self) -> Family:
        """Return the family of shapes that it belongs to."""
        return "vessel" if self.shape in SHAPES["vessel"] else "fixture"

    @property
    def radius_px(self) -> float:
        """Return the radius of a circle that contains it."""
        return 0.52 * self.length_px


@dataclass(frozen=True)
class Lure:
    """Something bright that no prompt asks about.

    Attributes:
        kind: A floe has sharp and irregular edges; a scrap of cloud has soft ones.
        x_px: Horizontal position of its centre.
        y_px: Vertical position of its centre.
        radius_px: Mean radius.
        contrast: Brightness above the water, as a share of FULL_CONTRAST.
        lobes: Amplitude and phase of the second to fifth harmonic of its outline.
    """

    kind: Literal["floe", "scrap"]
    x_px: float
    y_px: float
    radius_px: float
    contrast: float
    lobes: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Veil:
    """Haze or cloud over a frame: its opacity is a smooth random field that saturates at `most`.

    Attributes:
        seed: Seed of the field.
        offset: Added to the field, whose mean is 0 and whose deviation is 1.
        gain: Opacity per unit of the field.
        most: Highest opacity.
        detail: Weight of each finer octave of the field relative to the next coarser one.
        shadow_px: Offset of its shadow to the right and down, in multiples of REDUCTION.
        shadow: Share of the light that its shadow takes.
    """

    seed: int
    offset: float
    gain: float
    most: float
    detail: float
    shadow_px: tuple[int, int] = (0, 0)
    shadow: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A frame, described.

    Attributes:
        name: Name of the frame.
        condition: Whether anything can be seen.
        length_px: Length on which those of the things are based.
        contrast: Contrast on which those of the things are based.
        ground: Surface.
        things: Objects that prompts may ask about.
        lures: Bright objects that none asks about.
        haze: Haze, if any.
        cloud: Clouds, if any.
        light: Share of daylight.
        noise: Standard deviation of the sensor's noise in grey levels.
        noise_px: Offset of the frame in the tile of noise, in multiples of REDUCTION.
        yes: Whether the comparison about it is worded so that its answer is yes.
        sensor_bytes: Declared size of the camera's losslessly compressed data of this frame.
    """

    name: str
    condition: Condition
    length_px: float
    contrast: float
    ground: Ground
    things: tuple[Thing, ...]
    lures: tuple[Lure, ...]
    haze: Veil | None
    cloud: Veil | None
    light: float
    noise: float
    noise_px: tuple[int, int]
    yes: bool
    sensor_bytes: int

    def of(self, family: Family) -> tuple[Thing, ...]:
        """Return the things of a family."""
        return tuple(thing for thing in self.things if thing.family == family)


def to_json(scene: Scene) -> str:
    """Return a scene as one line of JSON. Floats keep every digit, so the scene drawn again is the same."""
    return json.dumps(asdict(scene), separators=(",", ":"))


def from_json(text: str) -> Scene:
    """Return the scene of a line that `to_json` wrote.

    Raises:
        ValueError: The line describes no scene.
    """
    try:
        return _scene(json.loads(text))
    except (KeyError, TypeError) as error:
        raise ValueError(f"a line that describes no scene ({error}): write the split anew") from error


def _scene(fields: dict[str, Any]) -> Scene:
    return Scene(
        **fields
        | {
            "ground": Ground(**fields["ground"] | {"water": tuple(fields["ground"]["water"])}),
            "things": tuple(Thing(**one | {"tint": tuple(one["tint"])}) for one in fields["things"]),
            "lures": tuple(
                Lure(**one | {"lobes": tuple((size, phase) for size, phase in one["lobes"])})
                for one in fields["lures"]
            ),
            "haze": _veil(fields["haze"]),
            "cloud": _veil(fields["cloud"]),
            "noise_px": tuple(fields["noise_px"]),
        }
    )


def _veil(fields: dict[str, Any] | None) -> Veil | None:
    return None if fields is None else Veil(**fields | {"shadow_px": tuple(fields["shadow_px"])})
