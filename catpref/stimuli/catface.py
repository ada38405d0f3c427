"""Draws cat faces from named parameters, for demonstrations and for observers whose taste is known.

A face is painted the way an illustrator would: maps of distances give the outlines, a relief gives the
light, one furry texture displaces every edge and shades every hair, and eyes, nose, mouth and whiskers go on
top. All lengths are pixels of the 512 x 512 canvas, and every part keeps to its own place: moving one
parameter changes mainly the region that it names.

The parameters follow the literature on the baby schema, and add what makes one cat differ from another.

References
----------
Lorenz (1943) Die angeborenen Formen möglicher Erfahrung. Zeitschrift für Tierpsychologie 5, 235-409.
Hess (1965) Attitude and pupil size. Scientific American 212(4), 46-54.
Sternglanz, Gray & Murakami (1977) Adult preferences for infantile facial features: an ethological approach.
Animal Behaviour 25, 108-115.
Alley (1981) Head shape and the perception of cuteness. Developmental Psychology 17, 650-654.
Glocker et al. (2009) Baby schema in infant faces induces cuteness perception and motivation for caretaking in
adults. Ethology 115, 257-263.
Little (2012) Manipulation of infant-like traits affects perceived cuteness of infant, adult and cat faces.
Ethology 118, 775-782.
Borgi et al. (2014) Baby schema in human and animal faces induces cuteness perception and gaze allocation in
children. Frontiers in Psychology 5, 411.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Face = dict[str, float]

# Name: lowest and highest value; what it sets, and its ground in the literature. "Individual" is what differs
# between cats without belonging to the baby schema.
PARAMETERS: dict[str, tuple[float, float]] = {
    "eye_size": (28.0, 44.0),  # half an eye's width; large eyes: Lorenz 1943, Glocker 2009, Borgi 2014
    "eye_spacing": (62.0, 80.0),  # from the midline to an eye's centre; individual
    "eye_height": (-12.0, 16.0),  # upwards; low eyes are infantile: Lorenz 1943, Sternglanz 1977
    "eye_colour": (0.0, 1.0),  # copper, gold, green, aqua, blue; individual
    "pupil_width": (0.15, 0.9),  # slit to round; wide pupils attract: Hess 1965
    "face_roundness": (1.03, 1.24),  # width over height; round faces: Lorenz 1943, Alley 1981, Glocker 2009
    "cheek_fullness": (0.0, 24.0),  # bulge of the cheeks; chubby cheeks: Lorenz 1943
    "forehead_height": (0.0, 30.0),  # extra height of the skull; high foreheads: Lorenz 1943, Glocker 2009
    "muzzle_size": (0.8, 1.25),  # scale of whisker pads and mouth; small muzzles: Lorenz 1943, Little 2012
    "nose_size": (0.75, 1.3),  # scale of the nose leather; small noses: Glocker 2009, Borgi 2014
    "mouth_curve": (-0.4, 1.0),  # corners down to up; expression, which the schema leaves out
    "ear_size": (88.0, 128.0),  # height of an ear; individual
    "ear_angle": (4.0, 30.0),  # degrees, upright to sideways; individual
    "ear_spread": (82.0, 105.0),  # from the midline to the middle of an ear's base; individual
    "fur_length": (0.0, 1.0),  # sleek to fluffy, which rounds the outline; individual
    "fur_texture": (0.0, 1.0),  # which hairs lie where; individual
    "coat_colour": (0.0, 1.0),  # black, blue-grey, brown, ginger, cream, white; individual
    "coat_lightness": (-1.0, 1.0),  # darker to lighter than the palette; individual
    "tabby_strength": (0.0, 1.0),  # contrast of the stripes; individual
    "tabby_stripes": (4.5, 9.5),  # how closely they lie; individual
    "white_area": (0.0, 1.0),  # white spotting: none, chin, chest, muzzle, blaze; individual
    "patch_area": (0.0, 1.0),  # second colour, as in calico cats: none to most of the face; individual
    "patch_side": (-1.0, 1.0),  # where the patches lie, the picture's left to right; individual
    "whisker_length": (90.0, 180.0),  # individual
    "whisker_number": (4.0, 9.0),  # on a side; a fraction fades the last one in; individual
    "background": (0.35, 0.9),  # grey level behind the cat; not the cat's
}

# Which way a kitten's face differs from an adult's, and how much of such a feature's variance maturity is.
INFANTILE = {
    "eye_size": 1,
    "eye_height": -1,
    "face_roundness": 1,
    "cheek_fullness": 1,
    "forehead_height": 1,
    "muzzle_size": -1,
    "nose_size": -1,
}
MATURITY_SHARE = 0.5

SIZE = 512
MIDLINE = 256.0
HEAD = (MIDLINE, 292.0)  # centre of the head's outline
NOSE = (MIDLINE, 334.0)  # top of the nose leather; all fur flows away from it
EYE_LEVEL = 276.0
HEAD_HEIGHT = 300.0  # chin to skull, without the forehead


def _colours(*stops: str) -> Array:
    return np.array([list(bytes.fromhex(stop)) for stop in stops]) / 255


# Natural coats in the order of "coat_colour"; stripes, patches and nose leather that go with each; irises.
COAT = _colours("2c292a", "808289", "96785a", "d68c4a", "e8caa4", "ebe7e2")
STRIPE = _colours("141213", "44464d", "3a2b21", "a85a24", "cc9e6e", "d6cdc2")
PATCH = _colours("ba7038", "d8b892", "e2ac74", "3e302a", "787170", "342f2e")
LEATHER = _colours("3a3032", "62545a", "9e5c54", "d08678", "dc988c", "e6a49c")
IRIS = _colours("ba681c", "deaa30", "b6be4c", "70aa62", "58a4a4", "5c94d0")
WHITE = np.array([0.92, 0.91, 0.895])
SKIN = np.array([0.80, 0.58, 0.54])
INK = (0.11, 0.085, 0.08)


def sample_parameters(n: int, seed: int) -> "pd.DataFrame":
    """Draw the parameters of `n` faces, each uniformly within its range.

    Features of the baby schema go together, as they do from kitten to adult cat: any two of them correlate
    with ±0.5 (a Gaussian copula with one factor, maturity). All else is independent.

    Parameters
    ----------
    n
        Number of faces.
    seed
        Seed of the draw; the first rows of a longer draw are those of a shorter one.

    Returns
    -------
    pandas.DataFrame
        A row for each face, a column for each of `PARAMETERS`.
    """
    import pandas as pd  # which the processes that draw do without: they begin in a third of the time
    from scipy.special import ndtr

    low, high = np.array(list(PARAMETERS.values())).T
    infantile = np.array([INFANTILE.get(name, 0) for name in PARAMETERS])
    normal = np.random.default_rng(seed).standard_normal((n, len(PARAMETERS) + 1))
    own, maturity = normal[:, :-1], normal[:, -1:]
    shared = MATURITY_SHARE * np.abs(infantile)
    mixed = np.sqrt(1 - shared) * own - np.sqrt(shared) * infantile * maturity
    return pd.DataFrame(low + (high - low) * ndtr(mixed), columns=pd.Index(PARAMETERS))


def draw(parameters: Mapping[str, float], size: int = SIZE) -> Image.Image:
    """Draw one face: the same parameters give the same pixels.

    Parameters
    ----------
    parameters
        A value for each of `PARAMETERS`; further keys are ignored.
    size
        Side of the square picture in pixels. The face is painted at 512 and then resampled, so that it is the
        same face at any size.

    Returns
    -------
    PIL.Image.Image
        RGB, `size` x `size`.

    Raises
    ------
    ValueError
        If a parameter is missing or outside its range.
    """
    face = _checked(parameters)
    canvas = _paint_fur(face, _fields(face), _fur(face))
    _paint_ears(canvas, face)
    for side in (-1.0, 1.0):
        _paint_eye(canvas, face, side)
    _paint_muzzle(canvas, face)
    _paint_whiskers(canvas, face)
    planes = [np.rint(np.clip(plane, 0, 1) * 255).astype(np.uint8) for plane in canvas]
    picture = Image.fromarray(np.dstack(planes))
    return picture if size == SIZE else picture.resize((size, size), Image.Resampling.LANCZOS)


def _checked(parameters: Mapping[str, float]) -> Face:
    face: Face = {}
    for name, (low, high) in PARAMETERS.items():
        if name not in parameters:
            raise ValueError(f"parameter '{name}' is missing")
        value = float(parameters[name])
        if not low <= value <= high:
            raise ValueError(f"parameter '{name}' is {value:g}; it must lie from {low:g} to {high:g}")
        face[name] = value
    return face


class Fur(NamedTuple):
    """The hairs of one face, (512, 512) each."""

    shade: Array  # dark to light, of about zero mean and unit variance
    shift_x: Array  # how far each hair carries what lies below it
    shift_y: Array


@cache
def _grid(step: int = 1) -> tuple[Array, Array]:
    centres = (np.arange(SIZE // step, dtype=np.float32) + 0.5) * step
    x, y = np.meshgrid(centres, centres)
    return x, y


@cache
def _flow() -> tuple[Array, Array]:
    """Return unit vectors along which the hair lies: away from the nose, then down the chest."""
    x, y = _grid()
    noise = np.random.default_rng(7).standard_normal((2, SIZE, SIZE)).astype(np.float32)
    wave_x, wave_y = (14 * cv2.GaussianBlur(one, (0, 0), 24) for one in noise)
    dx, dy = x - NOSE[0], y - NOSE[1]
    distance = np.hypot(dx, dy) + 1
    dx, dy = dx / distance, dy / distance
    chest = _step((y - 400) / 60)
    dx, dy = (
        dx * (1 - 0.35 * chest) + (1 + 0.9 * chest) * wave_x,
        dy + 0.25 * (1 - chest) * np.abs(dx) + chest + wave_y,
    )
    length = np.hypot(dx, dy) + 1e-6
    return dx / length, dy / length


@cache
def _strands() -> tuple[Array, Array]:
    """Textures of short and of long fur, (4, 512, 512) each: two of single hairs, two of tufts.

    Noise is smeared along the flow (line integral convolution, Cabral & Leedom 1993), fading towards the tip.
    """
    x, y = _grid()
    flow_x, flow_y = _flow()
    noise = np.random.default_rng(11).standard_normal((4, SIZE, SIZE)).astype(np.float32)
    sources = [cv2.GaussianBlur(one, (0, 0), s) for one, s in zip(noise, (0.55, 0.55, 1.9, 1.9), strict=True)]
    total = np.zeros_like(noise)
    lengths = []
    for k in range(40):
        total += np.stack([_look_up(source, x, y) for source in sources]) * (1 - k / 48)
        x, y = x - _look_up(flow_x, x, y), y - _look_up(flow_y, x, y)
        if k in (13, 39):
            lengths.append((total - total.mean((1, 2), keepdims=True)) / total.std((1, 2), keepdims=True))
    return lengths[0], lengths[1]


def _look_up(source: Array, x: Array, y: Array) -> Array:
    """Read a map at places on the canvas."""
    return cv2.remap(source, x - 0.5, y - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


@cache
def _local_length() -> Array:
    """Share of the fur's full length: short on the nose and the ears, long on the cheeks."""
    x, y = _grid()
    share = _step((np.hypot(x - NOSE[0], y - NOSE[1]) - 10) / 170)
    return share * (1 - 0.7 * _step((240 - y) / 80)) * (1 - 0.4 * _step((y - 410) / 60))


def _fur(face: Face) -> Fur:
    length = face["fur_length"]
    turn = math.pi * face["fur_texture"]
    textures = [(1 - length) * short + length * long for short, long in zip(*_strands(), strict=True)]
    # Turning between two independent textures keeps the variance.
    hairs = math.cos(turn) * textures[0] + math.sin(turn) * textures[1]
    tufts = math.cos(turn) * textures[2] + math.sin(turn) * textures[3]
    local = _local_length()
    reach = (0.6 + (1.6 + 2.2 * length) * local) * (1.0 * hairs + (0.2 + 0.35 * length) * tufts)
    flow_x, flow_y = _flow()
    shade = np.clip(0.8 * hairs + 0.6 * tufts, -2.6, 2.6) * (0.55 + 0.45 * local)
    return Fur(shade, reach * flow_x, reach * flow_y)


class Fields(NamedTuple):
    """Smooth maps at half resolution, (256, 256) each, sharpened only after the fur has displaced them."""

    head: Array  # distance inside the head's outline
    body: Array  # distance inside the outlines of chest and ears
    head_light: Array
    body_light: Array
    stripes: Array  # positive inside, as the next two
    white: Array
    patches: Array
    pale: Array  # share of the paler fur on muzzle and chest


def _step(t: Array) -> Array:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _bump(x: Array, y: Array, at: tuple[float, float], width: float, height: float) -> Array:
    return np.exp(-(((x - at[0]) / width) ** 2) - ((y - at[1]) / height) ** 2)


def _head_radius(face: Face, angle: ArrayLike) -> Array:
    """Distance from the head's centre to its outline; angles run clockwise from the picture's right."""
    angle = np.asarray(angle, float)
    c, s = np.abs(np.cos(angle)), np.sin(angle)
    half = HEAD_HEIGHT / 2
    wide = half * face["face_roundness"]
    high = np.where(s < 0, half - 14 + face["forehead_height"], half - 5)
    power = np.where(s < 0, 1.92, 1.86)
    radius = ((c / wide) ** power + (np.abs(s) / high) ** power) ** (-1 / power)
    below = np.arcsin(s)
    cheeks = np.exp(-(((below - 0.38) / 0.34) ** 2))
    return radius + 5 * face["fur_length"] + (4 + face["cheek_fullness"]) * cheeks


def _ear_base(face: Face, side: float) -> tuple[float, float]:
    angles = np.linspace(-math.pi / 2, 0, 60)
    radius = _head_radius(face, angles)
    y = np.interp(face["ear_spread"], radius * np.cos(angles), HEAD[1] + radius * np.sin(angles))
    return MIDLINE + side * face["ear_spread"], float(y) + 30


def _ear_shape(face: Face, side: float, inner: bool = False) -> Array:
    """Outline of an ear, or of the bare skin inside it: (n, 2) points."""
    t = np.linspace(0, 1, 24)
    half = 0.46 * face["ear_size"] + 9
    # x runs outwards and y upwards; the outer edge bulges, the root tapers into the head.
    root = np.linspace(-0.4, 0, 6, endpoint=False)
    outer = np.c_[half * 0.94 * (1 - t) ** 0.80 * (1 + 0.12 * np.sin(math.pi * t)), t]
    outer = np.concatenate([np.c_[half * 0.94 * (1 - (root / 0.55) ** 2), root], outer])
    medial = np.c_[-half * 0.95 * (1 - t[::-1]) ** 0.92, t[::-1]]
    shape = np.concatenate([outer, medial])
    shape[:, 1] *= face["ear_size"] + 14
    if inner:
        shape = shape[len(root) :] * (0.66, 0.74) + (5, 8)
    return _ear_place(face, side, shape)


def _ear_place(face: Face, side: float, points: Array) -> Array:
    """Move (..., 2) points from an ear (outwards, upwards from its base) to the canvas."""
    turn = math.radians(face["ear_angle"])
    turned = points @ np.array([[math.cos(turn), math.sin(turn)], [math.sin(turn), -math.cos(turn)]])
    return turned * (side, 1) + _ear_base(face, side)


def _fields(face: Face) -> Fields:
    x, y = _grid(2)
    dx, dy = x - HEAD[0], y - HEAD[1]
    distance = np.hypot(dx, dy)
    turns = np.linspace(-math.pi, math.pi, 721)
    radius = np.interp(np.arctan2(dy, dx), turns, _head_radius(face, turns)).astype(np.float32)
    head = radius - distance
    maps = Fields(
        head=head,
        body=_body(face),
        head_light=_head_light(face, distance / (radius + 10)),
        body_light=_body_light(head),
        stripes=_stripes(face),
        white=_white(face),
        patches=_patches(face),
        pale=_pale(face),
    )
    return Fields(*(np.ascontiguousarray(one, np.float32) for one in maps))


def _body(face: Face) -> Array:
    x, y = _grid(2)
    shoulders = 104 + 92 * _step((y - 385) / 150) + 10 * face["fur_length"]
    chest = np.minimum(shoulders - np.abs(x - MIDLINE), y - 330)
    ears = np.zeros(x.shape, np.uint8)
    for side in (-1.0, 1.0):
        cv2.fillPoly(ears, [_fixed(_ear_shape(face, side) / 2)], 255, cv2.LINE_AA, 4)
    # A blurred mask tells the distance from its edge, near the edge, and rounds the tips.
    blurred = cv2.GaussianBlur(ears.astype(np.float32) / 255, (0, 0), 3)
    return np.maximum(chest, np.where((y < 300) & (blurred > 0.02), (blurred - 0.45) * 16, -99))


def _head_light(face: Face, rim: Array) -> Array:
    """Light the relief of the face from above; `rim` is 0 at the head's centre and about 1 at its edge."""
    x, y = _grid(2)
    eye_y = EYE_LEVEL - face["eye_height"]
    left, right = MIDLINE - face["eye_spacing"], MIDLINE + face["eye_spacing"]
    eye = face["eye_size"]
    m = face["muzzle_size"]
    relief = 95 * np.sqrt(np.clip(1 - rim**2.2, 0, 1))
    for at in (left, right):
        relief -= 12 * _bump(x, y, (at, eye_y), eye * 1.15, eye * 1.05)
        relief += 7 * _bump(x, y, (at, eye_y - eye * 1.2), eye, eye * 0.5)
    relief += 13 * _bump(x, y, (MIDLINE, 304), 19, 60)
    for side in (-1, 1):
        relief += 26 * m * _bump(x, y, (MIDLINE + side * 27 * m, 372), 33 * m, 24 * m)
        relief += 0.4 * face["cheek_fullness"] * _bump(x, y, (MIDLINE + side * 122, 356), 50, 45)
    relief += 15 * m * _bump(x, y, (MIDLINE, 406), 28 * m, 15)
    gx, gy = (cv2.Sobel(relief, -1, *along, scale=1 / 16) for along in ((1, 0), (0, 1)))
    facing = (0.13 * gx + 0.42 * gy + 0.90) / np.sqrt(1 + gx**2 + gy**2)
    light = 0.43 + 0.66 * np.clip(facing, 0, 1)
    hollow = 0.10 * _bump(x, y, (MIDLINE, 424), 60 * m, 9)
    for at in (left, right):
        hollow += 0.10 * _bump(x, y, (at, eye_y), eye * 1.2, eye)
    for side in (-1, 1):
        pad = np.hypot((x - MIDLINE - side * 30 * m) / (40 * m), (y - 368) / (27 * m))
        hollow += 0.17 * np.exp(-(((pad - 1.08) / 0.20) ** 2)) * _step((y - 345) / 30)
    return light * (1 - hollow)


def _body_light(head: Array) -> Array:
    """Light the chest and the ears, shaded by the head."""
    x, y = _grid(2)
    shadow = _step((np.roll(head, 14, axis=0) + 40) / 70)
    chest = 0.98 - 0.16 * (np.abs(x - MIDLINE) / 190) ** 2 - 0.42 * shadow
    ears = 0.98 - 0.25 * _step((head + 34) / 40)
    return np.where(y > 300, chest, ears)


def _stripes(face: Face) -> Array:
    """Lay tabby stripes on crown, cheeks and chest; nose, muzzle and the rings around the eyes stay clear."""
    x, y = _grid(2)
    out, distance = np.abs(x - MIDLINE), np.hypot(x - NOSE[0], y - NOSE[1])
    number = face["tabby_stripes"]
    turn = np.arctan2(out, NOSE[1] - y)  # 0 above the nose, pi below
    wave = (0.08 * np.sin(distance / 23) + 0.05 * np.sin(distance / 11 + 3 * turn)) * _step(turn / 0.4)
    crown = np.cos(4 * number * (turn + wave)) * _step((distance - 100) / 40) * _step((0.80 - turn) / 0.25)
    cheeks = np.cos(2 * math.pi / 210 * number * (y - 0.34 * out - 252 + 2.5 * np.sin(out / 9)))
    cheeks *= _step((out - 100) / 30) * _step((y - 272) / 14) * _step((392 - y) / 20)
    chest = np.cos((y - 0.22 * out) / 9.5 + 1.0) * _step((y - 425) / 30) * _step((out - 20) / 60)
    brow = 1.1 - np.abs(y - 208 - 0.012 * (out - 58) ** 2) / 9  # joins the crown's stripes into an M
    brow = np.maximum(brow, 0) * _step((out - 14) / 14) * _step((98 - out) / 14)
    return np.maximum(np.maximum(crown, 0.95 * cheeks), np.maximum(0.9 * chest, brow)) - 0.15


def _white(face: Face) -> Array:
    """Return where the coat is white, which spreads from chin and chest over the muzzle and up the blaze."""
    x, y = _grid(2)
    out = np.abs(x - MIDLINE)
    area = face["white_area"]
    wobble = 5 * np.sin(y / 19 + 0.7) + 4 * np.sin((y + x - MIDLINE) / 11)
    half = np.interp(y, [110, 180, 285, 325, 360, 400, 445], [10, 13, 20, 50, 84, 92, 60])
    blaze = 1.85 * area * half - 26 * (1 - area) - out + 0.5 * wobble
    bib = 150 * (area - 0.08) - np.hypot(x - MIDLINE, (y - 520) / 1.25) + wobble
    return np.where(y > 400, np.maximum(blaze, bib), blaze) / 40


def _patches(face: Face) -> Array:
    """Return where patches are, which spread from both ears and cheeks, one side ahead of the other."""
    x, y = _grid(2)
    lean = 0.35 * face["patch_side"]
    level = 1.16 * face["patch_area"] - 1.36 + 0.10 * np.sin(x / 17 + 1) * np.sin(y / 21)
    level += (0.85 - lean) * (_bump(x, y, (160, 190), 78, 90) + _bump(x, y, (128, 386), 62, 56))
    level += (0.85 + lean) * (_bump(x, y, (352, 180), 70, 74) + _bump(x, y, (380, 362), 66, 74))
    return 2.5 * level


def _pale(face: Face) -> Array:
    """Pale the whisker pads, the chin and the chest, as in most cats."""
    x, y = _grid(2)
    m = face["muzzle_size"]
    pads = _bump(np.abs(x - MIDLINE), y, (29 * m, 373), 32 * m, 21 * m)
    chin = _bump(x, y, (MIDLINE, 410), 34 * m, 20)
    return np.maximum(_step(1.5 * np.maximum(pads, chin)), 0.6 * _bump(x, y, (MIDLINE, 490), 60, 60))


def _mix(stops: Array, t: float) -> Array:
    """Colour at `t` from 0 to 1 along evenly spaced stops."""
    places = np.linspace(0, 1, len(stops))
    return np.array([np.interp(t, places, stops[:, channel]) for channel in range(3)])


def _lay(canvas: Array, mask: Array, colour: ArrayLike) -> None:
    """Lay a colour (3,) or a picture (3, height, width) over the canvas by a mask (height, width)."""
    for plane, value in zip(canvas, np.asarray(colour, np.float32), strict=True):
        plane += (value - plane) * mask


def _paint_fur(face: Face, fields: Fields, fur: Fur) -> Array:
    """Paint the cat without its features before the background: (3, 512, 512)."""
    x, y = _grid()
    places = cv2.convertMaps((x - fur.shift_x) / 2 - 0.5, (y - fur.shift_y) / 2 - 0.5, cv2.CV_16SC2)
    edge = cv2.BORDER_REPLICATE
    sharp = Fields(*(cv2.remap(field, *places, cv2.INTER_LINEAR, borderMode=edge) for field in fields))
    length = face["fur_length"]
    hang = (1.2 + 2.2 * length) * fur.shade
    head, body = (_step((inside + hang) / (4 + 6 * length) + 0.5) for inside in (sharp.head, sharp.body))
    light = sharp.body_light + (sharp.head_light - sharp.body_light) * head

    tint = 1 + 0.14 * face["coat_lightness"]
    coat, stripe = _mix(COAT, face["coat_colour"]) * tint, _mix(STRIPE, face["coat_colour"]) * tint
    strength = face["tabby_strength"]
    cat = np.empty((3, SIZE, SIZE), np.float32)
    cat[:] = coat[:, None, None]
    _lay(cat, sharp.pale * (0.25 + 0.45 * strength), 0.45 * coat + 0.55 * WHITE)
    _lay(cat, _step(sharp.stripes / 0.6) * strength, stripe)
    _lay(cat, _step(sharp.patches / 0.24 + 0.5), _mix(PATCH, face["coat_colour"]))
    _lay(cat, _step(sharp.white / 0.3 + 0.5), WHITE)

    hair = 1 + (0.085 + 0.03 * length) * (1 - 0.35 * _step((y - 410) / 50)) * fur.shade
    sheen = 0.012 * fur.shade * light
    dim = hair * (1 - light)
    warm = 0.90, 1.0, 1.08  # what fur absorbs: light that has passed through it is warm
    for plane, absorbed in zip(cat, warm, strict=True):
        plane *= hair - absorbed * dim
        plane += sheen

    glow = face["background"] * (1.04 - 0.16 * np.hypot(x - 256, y - 200) / 360)
    canvas = np.stack([glow, 0.985 * glow, 0.965 * glow])
    _lay(canvas, np.maximum(head, body), cat)
    return canvas


def _fixed(points: Array) -> NDArray[np.int32]:
    """Array in OpenCV's fixed-point form with 4 fractional bits; pixel centres lie at half-integers."""
    return np.round((points - 0.5) * 16).astype(np.int32)


class Patch(NamedTuple):
    """A window of the canvas and the mask to paint it by."""

    window: tuple[slice, slice]
    mask: Array


def _shape(polygons: Iterable[Array], soften: float = 0.0) -> Patch:
    """Fill polygons (each (n, 2) points) with an antialiased or a softened edge."""
    polygons = list(polygons)
    points = np.concatenate(polygons)
    margin = 3 + math.ceil(3 * soften)
    x0, y0 = np.maximum(np.floor(points.min(0)).astype(int) - margin, 0)
    x1, y1 = np.minimum(np.ceil(points.max(0)).astype(int) + margin, SIZE)
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [_fixed(polygon - (x0, y0))], 255, cv2.LINE_AA, 4)
    soft = mask.astype(np.float32) / 255
    if soften:
        soft = cv2.GaussianBlur(soft, (0, 0), soften)
    return Patch((slice(y0, y1), slice(x0, x1)), soft)


def _paint(canvas: Array, patch: Patch, colour: ArrayLike, opacity: float = 1.0) -> None:
    rows, columns = patch.window
    _lay(canvas[:, rows, columns], patch.mask * opacity, colour)


def _stroke(points: Array, width: float, tip: float) -> Array:
    """Outline of a stroke that tapers along its points; (..., n, 2) gives (..., 2 n, 2)."""
    ends = np.concatenate([points[..., :1, :], points, points[..., -1:, :]], axis=-2)
    along = ends[..., 2:, :] - ends[..., :-2, :]
    across = along[..., ::-1] * (-1, 1) / np.linalg.norm(along, axis=-1, keepdims=True)
    half = np.linspace(width, tip, points.shape[-2])[:, None] / 2
    return np.concatenate([points + across * half, (points - across * half)[..., ::-1, :]], axis=-2)


def _curve(start: ArrayLike, bend: ArrayLike, end: ArrayLike, n: int = 14) -> Array:
    """Array of quadratic Bezier curves; ends (..., 2) give (..., n, 2)."""
    t = np.linspace(0, 1, n)[:, None]
    a, b, c = (np.asarray(point, float)[..., None, :] for point in (start, bend, end))
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c


def _paint_ears(canvas: Array, face: Face) -> None:
    """Paint the bare skin inside the ears, darkest in its depth, and the hair that grows over it."""
    coat = 0.55 * _mix(COAT, face["coat_colour"]) + 0.45 * WHITE
    rng = np.random.default_rng(3)
    half, high = 0.5 * face["ear_size"], face["ear_size"]
    for side in (-1.0, 1.0):
        _paint(canvas, _shape([_ear_shape(face, side, inner=True)], soften=7), SKIN, 0.65)
        depth = np.array([[-0.3, 0.1], [0.35, 0.1], [0.45, 0.35], [0.1, 0.6]]) * (half, high)
        _paint(canvas, _shape([_ear_place(face, side, depth)], soften=11), 0.45 * SKIN, 0.75)
        for root, lean, length in rng.uniform((0, 0, 0.45), (1, 1, 1.15), (3, 18, 3)).transpose(0, 2, 1):
            start = np.c_[-0.66 + 0.40 * root, -0.02 + 0.52 * root] * (half, high)
            reach = np.c_[(0.30 + 0.75 * lean) * half, (0.50 - 0.3 * lean) * high] * length[:, None]
            hairs = _curve(start, start + reach * (0.3, 0.7), start + reach, 8)
            _paint(canvas, _shape(_stroke(_ear_place(face, side, hairs), 2.2, 0.2), soften=0.5), coat, 0.45)


def _paint_eye(canvas: Array, face: Face, side: float) -> None:
    """Paint an eye: dark rim, iris with its fibres, pupil, shadow of the lid, reflections."""
    a = face["eye_size"]
    centre = np.array([MIDLINE + side * face["eye_spacing"], EYE_LEVEL - face["eye_height"]])
    u = np.linspace(-1, 1, 40)
    lift = -0.14 * a * u  # the outer corner lies higher
    upper = np.c_[a * u, -0.74 * a * (1 - np.abs(u) ** 2.2) ** 0.72 + lift]
    lower = np.c_[a * u, 0.72 * a * (1 - np.abs(u) ** 2.2) ** 0.78 + lift]
    flip = np.array([side, 1.0])
    lids = np.concatenate([upper, lower[::-1]]) * flip + centre
    duct = np.array([[-0.86 * a, 0.30 * a], [-1.22 * a, 0.46 * a], [-0.92 * a, -0.04 * a]]) * flip + centre

    around = _shape([(lids - centre) * 1.28 + centre], soften=0.16 * a)
    _paint(canvas, around, WHITE, 0.22)
    rim = _shape([(lids - centre) * (1.075, 1.09) + centre - (0, 0.035 * a), duct], soften=1.3)
    _paint(canvas, rim, INK, 0.92)

    ball = _shape([lids], soften=0.7)
    y, x = np.mgrid[ball.window].astype(np.float32)
    x, y = (x + 0.5 - centre[0]) / a, (y + 0.5 - centre[1]) / a
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    colour = _mix(IRIS, face["eye_colour"])
    fibres = 0.5 + 0.5 * np.sin(31 * angle + 2.2 * np.sin(5 * angle + 4 * r)) * np.sin(17 * angle + 9 * r)
    bright = (
        (0.60 + 0.40 * _step((y + 0.5) / 1.1))
        * (1.10 - 0.5 * _step((r - 0.70) / 0.3))
        * (0.88 + 0.2 * fibres)
    )
    iris = bright * colour.astype(np.float32)[:, None, None]
    inner = _step((0.62 - r) / 0.45) * 0.35
    _lay(iris, inner, np.minimum(colour * 1.25 + 0.10, 1))

    width, height = face["pupil_width"] * 0.66, 0.66
    edge = (1 - np.sqrt((x / width) ** 2 + (y / height) ** 2)) * width * a
    _lay(iris, _step(edge / 2 + 0.5), (0.03, 0.03, 0.035))
    iris = iris * (1 - 0.62 * _step((-y - 0.12) / 0.62)) * (1 - 0.35 * _step((r - 0.62) / 0.4))
    # The window's reflection sits on the same side in both eyes, as one source of light makes it.
    gleam = _step((0.19 - np.hypot(x + 0.25, (y + 0.32) * 1.1)) / 0.07)
    glint = _step((0.10 - np.hypot((x - 0.30), (y - 0.36))) / 0.05)
    sky = _step((0.95 - r) / 0.5) * _step((-y - 0.02) / 0.6) * 0.22
    _lay(iris, sky, (0.75, 0.85, 1.0))
    _lay(iris, np.maximum(0.95 * gleam, 0.40 * glint), (1, 1, 1))
    _paint(canvas, ball, iris)
    wet = _stroke(lower[6:-6] * flip + centre + (0, 0.03 * a), 0.045 * a, 0.045 * a)
    _paint(canvas, _shape([wet], soften=0.8), (0.85, 0.72, 0.68), 0.35)


def _paint_muzzle(canvas: Array, face: Face) -> None:
    """Paint nose leather, nostrils, the line below it, the mouth and the roots of the whiskers."""
    s, m = 1.2 * face["nose_size"], face["muzzle_size"]
    x0, y0 = NOSE
    # White around the nose goes with pink leather, whatever the coat.
    leather = _mix(LEATHER, 1 - (1 - face["coat_colour"]) * (1 - 0.6 * face["white_area"] ** 2))
    dark = leather * 0.28
    half = [(0, 1), (8, -1), (15, -0.5), (19, 3), (18.5, 7), (13, 12), (6, 17), (2, 20), (0, 20.5)]
    nose = np.array(half + [(-x, y) for x, y in reversed(half)]) * s
    low, lip = y0 + 20.5 * s, 370 + 8 * m

    _paint(canvas, _shape([nose + np.array((x0, y0 + 2))], soften=4), dark, 0.55)
    _paint(canvas, _shape([nose + NOSE], soften=1.3), leather)
    _paint(canvas, _shape([nose * (1, 0.5) + np.array((x0, y0 + 10.25 * s))], soften=4), dark, 0.3)
    gleam = _curve((x0 - 14 * s, y0 + 2.5), (x0, y0 + 0.5), (x0 + 14 * s, y0 + 2.5))
    _paint(canvas, _shape([_stroke(gleam, 4 * s, 4 * s)], soften=2.2), (1, 0.95, 0.93), 0.5)
    groove = _curve((x0, low - 1), (x0, lip - 4), (x0, lip))
    _paint(canvas, _shape([_stroke(groove, 2.6, 2.2)], soften=0.8), dark * 0.8, 0.75)
    rise = 17 * face["mouth_curve"]
    for side in (-1.0, 1.0):
        nostril = _curve((5, 11), (11, 12.5), (15.5, 6)) * (side * s, s) + NOSE
        _paint(canvas, _shape([_stroke(nostril, 4.6 * s, 1.0)], soften=1.0), dark * 0.6, 0.9)
        mouth = _curve((0, 0), (17 * m, 15 + 0.5 * rise), (42 * m, 8 - rise)) * (side, 1)
        _paint(canvas, _shape([_stroke(mouth + np.array((x0, lip + 4)), 10, 3)], soften=4), INK, 0.3)
        _paint(canvas, _shape([_stroke(mouth + np.array((x0, lip)), 3.2, 1)], soften=0.8), dark * 0.8, 0.85)


def _paint_whiskers(canvas: Array, face: Face) -> None:
    """Paint whiskers, their roots and their shadows; the last one fades in."""
    m = face["muzzle_size"]
    whole = math.floor(face["whisker_number"])
    for order, opacity in ((np.arange(whole), 1.0), (np.array([whole]), face["whisker_number"] - whole)):
        row, place = order % 3, order // 3
        root = np.c_[(24 + 9 * place + 2 * row) * m, 32 + (9 * row - 3 * place) * m]
        turn = np.radians(-19 + 13 * row + 6 * place + 3.5 * np.sin(2.4 * order))
        length = (face["whisker_length"] * (1 - 0.09 * place - 0.05 * row))[:, None]
        end = root + length * np.c_[np.cos(turn), np.sin(turn)]
        bend = root + 0.5 * length * np.c_[np.cos(turn - 0.3), np.sin(turn - 0.3)]
        for side in (-1.0, 1.0):
            hairs = _curve(root, bend, end, 24) * (side, 1) + NOSE
            dots = root[:, None, :] * (side, 1) + NOSE + _ring(1.6)
            shadows = hairs + np.array((0, 2))
            _paint(canvas, _shape(dots, soften=0.8), INK, 0.5 * opacity)
            _paint(canvas, _shape(_stroke(shadows, 1.4, 0.2), soften=0.8), INK, 0.3 * opacity)
            _paint(canvas, _shape(_stroke(hairs, 1.3, 0.1)), (0.98, 0.97, 0.95), 0.85 * opacity)


def _ring(radius: float, n: int = 12) -> Array:
    turns = np.linspace(0, 2 * math.pi, n, endpoint=False)
    return radius * np.c_[np.cos(turns), np.sin(turns)]
