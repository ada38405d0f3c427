"""All models, by name. A new one is a file of its own and a line here."""

from catpref.models.baselines import CONTRAST, CROP_SIZE, LUMINANCE, MAJORITY_SIDE
from catpref.models.bradley_terry import BRADLEY_TERRY
from catpref.models.interface import Model
from catpref.models.population import ALONE, POPULATION, SHARED
from catpref.models.ridge import RIDGE
from catpref.models.siamese_cnn import SIAMESE_CNN
from catpref.models.study_cnn import STUDY_CNN
from catpref.models.utility import UTILITY

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        POPULATION,
        SHARED,
        ALONE,
        UTILITY,
        SIAMESE_CNN,
        STUDY_CNN,
        RIDGE,
        MAJORITY_SIDE,
        LUMINANCE,
        CONTRAST,
        CROP_SIZE,
        BRADLEY_TERRY,
    )
}
"""In the order in which tables have them."""

DEFAULT = ("utility", "siamese_cnn")
"""Those whose answer turns around with the sides."""


def choosable() -> tuple[str, ...]:
    """Return the names that ``--model`` takes."""
    return tuple(name for name, model in MODELS.items() if not model.is_baseline and not model.of_several)
