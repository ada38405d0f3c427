"""Degrees of visual angle, from a monitor that was measured in PsychoPy's Monitor Center."""

from dataclasses import dataclass
from math import atan, degrees, radians, tan

from psychopy import monitors

from catpref.errors import BadInput


@dataclass(frozen=True)
class Monitor:
    """A screen's measures: its width and the distance of the eyes in cm, and its size in pixels."""

    name: str
    width_cm: float
    distance_cm: float
    size_px: tuple[int, int]

    def pixels(self, angle: float) -> float:
        """Return how many pixels are seen under an angle in degrees, straight ahead: 2 d tan(angle / 2)."""
        return 2 * self.distance_cm * tan(radians(angle) / 2) * self.size_px[0] / self.width_cm

    def angle(self, pixels: float) -> float:
        """Return the visual angle of some pixels straight ahead, in degrees."""
        return degrees(2 * atan(pixels * self.width_cm / self.size_px[0] / 2 / self.distance_cm))


def load_monitor(name: str) -> Monitor:
    """Load a profile of PsychoPy's Monitor Center.

    Raises
    ------
    BadInput
        If there is no such profile, or it lacks the width, the distance or the size in pixels.
    """
    profiles = sorted(monitors.getAllMonitors())
    if name not in profiles:
        raise BadInput(
            f"--monitor {name}: no such profile; make it in PsychoPy's Monitor Center (there are: "
            f"{', '.join(profiles) or 'none'})"
        )
    profile = monitors.Monitor(name, autoLog=False)
    width, distance, size = profile.getWidth(), profile.getDistance(), profile.getSizePix()
    if not (width and distance and size is not None and len(size) == 2 and size[0]):
        raise BadInput(
            f"--monitor {name}: the profile needs the screen's width, its size in pixels and the distance of "
            "the eyes; complete it in PsychoPy's Monitor Center"
        )
    return Monitor(name, float(width), float(distance), (int(size[0]), int(size[1])))
