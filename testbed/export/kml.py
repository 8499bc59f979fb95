"""A scene as KML, for Google Earth and its like (OGC KML 2.3)."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

import numpy as np

from testbed.export.scene import Capture, Scene, SceneLink
from traces.orbits.element_set import ElementSet
from traces.orbits.orbit import ground_track, mean_altitude_m, visibility_circle
from traces.orbits.stations import GroundStation
from traces.utc import format_utc

KML, GX = "http://www.opengis.net/kml/2.2", "http://www.google.com/kml/ext/2.2"
STEP_S = 30.0
CONTACT_STEP_S = 10.0
_STYLES = {"satellite": "ff42e4f0", "station": "ff005ed5", "contact": "ffe9b456", "capture": "ffc8c8c8"}


def kml_text(scene: Scene) -> str:
    """Return the document: tracks over time, stations with circles, paths in contact, captures."""
    ElementTree.register_namespace("", KML)
    ElementTree.register_namespace("gx", GX)
    root = ElementTree.Element(f"{{{KML}}}kml")
    document = _add(root, "Document")
    _add(document, "name", scene.name)
    for name, colour in _STYLES.items():
        style = _add(document, "Style", id=name)
        for kind in ("IconStyle", "LineStyle"):
            _add(_add(style, kind), "color", colour)
    for satellite in scene.satellites:
        _satellite(_folder(document, satellite.name), scene, satellite)
    stations = _folder(document, "stations")
    for place in scene.stations:
        _station(stations, scene, place)
    contacts = _folder(document, "contacts")
    for link in scene.links:
        _contacts(contacts, scene, link)
    captures = _folder(document, "images")
    for capture in scene.captures:
        _capture(captures, scene, capture)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: ElementTree.Element, tag: str, text: str | None = None, **names: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag if tag.startswith("{") else f"{{{KML}}}{tag}", names)
    element.text = text
    return element


def _folder(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    folder = _add(parent, "Folder")
    _add(folder, "name", name)
    return folder


def _placemark(parent: ElementTree.Element, name: str, style: str, about: str = "") -> ElementTree.Element:
    placemark = _add(parent, "Placemark")
    _add(placemark, "name", name)
    if about:
        _add(placemark, "description", about)
    _add(placemark, "styleUrl", f"#{style}")
    return placemark


def _satellite(folder: ElementTree.Element, scene: Scene, satellite: ElementSet) -> None:
    times_s = scene.times_s(STEP_S)
    track = _add(_placemark(folder, satellite.name, "satellite"), f"{{{GX}}}Track")
    _add(track, "altitudeMode", "absolute")
    for time_s in times_s:
        _add(track, "when", format_utc(scene.utc(float(time_s))))
    for longitude, latitude, altitude in _positions(scene, satellite, times_s):
        _add(track, f"{{{GX}}}coord", f"{longitude:.5f} {latitude:.5f} {altitude:.0f}")


def _positions(
    scene: Scene, satellite: ElementSet, times_s: Iterable[float]
) -> list[tuple[float, float, float]]:
    """Return (longitude, latitude, mean altitude) at times."""
    times = np.asarray(list(times_s))
    latitude, longitude = ground_track(satellite, scene.start_utc, times)
    altitude_m = mean_altitude_m(satellite, scene.start_utc, times)
    return [(x, y, altitude_m) for x, y in zip(longitude.tolist(), latitude.tolist(), strict=True)]


def _station(folder: ElementTree.Element, scene: Scene, place: GroundStation) -> None:
    point = _add(_placemark(folder, place.name, "station"), "Point")
    _add(point, "coordinates", f"{place.longitude_deg},{place.latitude_deg},{place.altitude_m}")
    circle = visibility_circle(place, scene.altitude_over_m(place), place.elevation_mask_deg)
    about = f"elevation mask {place.elevation_mask_deg:g} degrees"
    line = _add(_placemark(folder, f"view of {place.name}", "station", about), "LineString")
    _add(line, "tessellate", "1")
    _add(line, "coordinates", _coordinates((x, y, 0.0) for y, x in zip(*circle, strict=True)))


def _contacts(folder: ElementTree.Element, scene: Scene, link: SceneLink) -> None:
    """Add the path of the satellite during each contact."""
    satellite = next(one for one in scene.satellites if one.name == link.ends[0])
    for begin_s, end_s in link.contacts:
        placemark = _placemark(folder, link.name, "contact", f"{end_s - begin_s:.1f} s")
        span = _add(placemark, "TimeSpan")
        _add(span, "begin", format_utc(scene.utc(begin_s)))
        _add(span, "end", format_utc(scene.utc(end_s)))
        line = _add(placemark, "LineString")
        _add(line, "altitudeMode", "absolute")
        times_s = np.append(np.arange(begin_s, end_s, CONTACT_STEP_S), end_s)
        _add(line, "coordinates", _coordinates(_positions(scene, satellite, times_s)))


def _capture(folder: ElementTree.Element, scene: Scene, capture: Capture) -> None:
    place = scene.place_of(capture)
    if place is None:
        return
    about = "\n".join(f"{label}: {text}" for label, text in capture.facts)
    placemark = _placemark(folder, f"frame {capture.frame}", "capture", about)
    _add(_add(placemark, "TimeStamp"), "when", format_utc(scene.utc(capture.time_s)))
    _add(_add(placemark, "Point"), "coordinates", f"{place[1]:.5f},{place[0]:.5f}")


def _coordinates(positions: Iterable[tuple[float, float, float]]) -> str:
    return " ".join(f"{x:.5f},{y:.5f},{z:.0f}" for x, y, z in positions)
