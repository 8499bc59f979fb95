"""A scene as CZML, the format of Cesium."""

from __future__ import annotations

import html

import czml3
import numpy as np
from czml3 import enums, properties, types

from testbed.export.scene import Capture, Scene, SceneLink
from traces.orbits.orbit import visibility_angle_rad
from traces.orbits.propagation import Fleet
from traces.orbits.stations import GroundStation
from traces.terrestrial import EARTH_RADIUS_M
from traces.utc import format_utc

STEP_S = 60.0  # interpolation by Lagrange polynomials of degree 5 is then better than a metre
PATH_S = 5700.0  # of a satellite behind it: about an orbit
MULTIPLIER = 60  # seconds of the scene in one of the viewer
Rgba = list[float]
_SATELLITE: Rgba = [240, 228, 66, 255]
_STATION: Rgba = [213, 94, 0, 255]
_LINK: Rgba = [86, 180, 233, 255]
_CORRECT: dict[bool | None, Rgba] = {
    True: [0, 158, 115, 255],
    False: [204, 121, 167, 255],
    None: [200, 200, 200, 255],
}


def czml_text(scene: Scene) -> str:
    """Return the document: satellites with their paths, stations with circles, contacts, captures."""
    packets = [
        czml3.Packet(id="document", name=scene.name, version=czml3.CZML_VERSION, clock=_clock(scene)),
        *_satellites(scene),
        *(_station(scene, place) for place in scene.stations),
        *(_link(scene, link) for link in scene.links if link.contacts),
        *(packet for capture in scene.captures if (packet := _capture(scene, capture)) is not None),
    ]
    return str(czml3.Document(packets=packets).model_dump_json(exclude_none=True))


def _clock(scene: Scene) -> properties.Clock:
    return properties.Clock(
        interval=_interval(scene, (0.0, scene.length_s)),
        currentTime=format_utc(scene.start_utc),
        multiplier=MULTIPLIER,
    )


def _interval(scene: Scene, span_s: tuple[float, float]) -> types.TimeInterval:
    return types.TimeInterval(start=format_utc(scene.utc(span_s[0])), end=format_utc(scene.utc(span_s[1])))


def _satellites(scene: Scene) -> list[czml3.Packet]:
    times_s = scene.times_s(STEP_S)
    states = Fleet(scene.satellites, scene.start_utc).states(times_s)
    packets = []
    for number, satellite in enumerate(scene.satellites):
        rows = np.vstack([times_s, states.position_m[:, number]]).T
        packets.append(
            czml3.Packet(
                id=satellite.name,
                name=satellite.name,
                availability=_interval(scene, (0.0, scene.length_s)),
                position=properties.Position(
                    epoch=format_utc(scene.start_utc),
                    interpolationAlgorithm=enums.InterpolationAlgorithms("LAGRANGE"),
                    interpolationDegree=5,
                    referenceFrame="FIXED",
                    cartesian=rows.round(3).ravel().tolist(),
                ),
                point=_point(_SATELLITE, 8),
                label=_label(satellite.name),
                path=properties.Path(
                    material=_solid(_SATELLITE), width=1, resolution=STEP_S, leadTime=0, trailTime=PATH_S
                ),
            )
        )
    return packets


def _station(scene: Scene, place: GroundStation) -> czml3.Packet:
    """Return a station, with the circle in which it sees the satellites of the scene."""
    altitude_m = scene.altitude_over_m(place)
    radius_m = EARTH_RADIUS_M * visibility_angle_rad(altitude_m, place.elevation_mask_deg)
    return czml3.Packet(
        id=place.name,
        name=place.name,
        description=f"elevation mask {place.elevation_mask_deg:g} degrees",
        position=_place(place.latitude_deg, place.longitude_deg, place.altitude_m),
        point=_point(_STATION, 10),
        label=_label(place.name),
        ellipse=properties.Ellipse(
            semiMajorAxis=radius_m,
            semiMinorAxis=radius_m,
            height=0,
            fill=False,
            outline=True,
            outlineColor=properties.Color(rgba=_STATION),
        ),
    )


def _link(scene: Scene, link: SceneLink) -> czml3.Packet:
    """Return a line between the ends of a link, which is there while the link is up."""
    intervals = [_interval(scene, contact) for contact in link.contacts]
    return czml3.Packet(
        id=link.name,
        name=link.name,
        availability=types.TimeIntervalCollection(values=intervals),
        polyline=properties.Polyline(
            positions=properties.PositionList(references=[f"{_escaped(end)}#position" for end in link.ends]),
            arcType=enums.ArcTypes("NONE"),
            width=2,
            material=_solid(_LINK),
        ),
    )


def _escaped(name: str) -> str:
    """Return an identifier as CZML's references have it."""
    return name.replace("\\", "\\\\").replace("#", "\\#")


def _capture(scene: Scene, capture: Capture) -> czml3.Packet | None:
    """Return an image at the place below the satellite, from its capture on."""
    place = scene.place_of(capture)
    if place is None or capture.time_s >= scene.length_s:
        return None
    rows = "".join(
        f"<tr><th>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>" for label, text in capture.facts
    )
    return czml3.Packet(
        id=f"frame {capture.frame}",
        name=f"frame {capture.frame} of {capture.satellite}",
        description=f"<table>{rows}</table>",
        availability=_interval(scene, (capture.time_s, scene.length_s)),
        position=_place(*place, 0.0),
        point=_point(_CORRECT[capture.correct], 6),
    )


def _place(latitude_deg: float, longitude_deg: float, altitude_m: float) -> properties.Position:
    return properties.Position(cartographicDegrees=[longitude_deg, latitude_deg, altitude_m])


def _point(colour: Rgba, size: int) -> properties.Point:
    return properties.Point(pixelSize=size, color=properties.Color(rgba=colour))


def _label(text: str) -> properties.Label:
    return properties.Label(
        text=text,
        font="12px sans-serif",
        horizontalOrigin=enums.HorizontalOrigins("LEFT"),
        pixelOffset=types.Cartesian2Value(values=[10, 0]),
    )


def _solid(colour: Rgba) -> properties.PolylineMaterial:
    return properties.PolylineMaterial(
        solidColor=properties.SolidColorMaterial(color=properties.Color(rgba=colour))
    )
