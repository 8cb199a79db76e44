"""The CORINE land-cover nomenclature of BigEarthNet: 43 classes (level 3) and their mapping to 19.

Order, codes, spelling and counts are those of BigEarthNet v1.0 (Sumbul et al. 2019,
arXiv:1902.06148, Table 2); the 19-class nomenclature is that of Sumbul et al. 2020. Eleven of the
43 classes have no 19-class target.
"""

from typing import Iterable, NamedTuple, Optional

import numpy as np

from bigearth.errors import InputError, one_line


class LandCover(NamedTuple):
    """One CORINE class.

    Attributes:
        code: CORINE level-3 code, e.g. 312.
        label: the exact string in a patch's `labels_metadata.json`.
        count: patches that carry it among all 590,326 (a patch carries 1 to 12).
        label_19: its class in the 19-class nomenclature, or None.
    """

    code: int
    label: str
    count: int
    label_19: Optional[str]


# fmt: off
CLASSES = (
    LandCover(111, "Continuous urban fabric", 10784, "Urban fabric"),
    LandCover(112, "Discontinuous urban fabric", 69872, "Urban fabric"),
    LandCover(121, "Industrial or commercial units", 12895, "Industrial or commercial units"),
    LandCover(122, "Road and rail networks and associated land", 3384, None),
    LandCover(123, "Port areas", 509, None),
    LandCover(124, "Airports", 979, None),
    LandCover(131, "Mineral extraction sites", 4618, None),
    LandCover(132, "Dump sites", 959, None),
    LandCover(133, "Construction sites", 1174, None),
    LandCover(141, "Green urban areas", 1786, None),
    LandCover(142, "Sport and leisure facilities", 5353, None),
    LandCover(211, "Non-irrigated arable land", 196695, "Arable land"),
    LandCover(212, "Permanently irrigated land", 13589, "Arable land"),
    LandCover(213, "Rice fields", 3793, "Arable land"),
    LandCover(221, "Vineyards", 9567, "Permanent crops"),
    LandCover(222, "Fruit trees and berry plantations", 4754, "Permanent crops"),
    LandCover(223, "Olive groves", 12538, "Permanent crops"),
    LandCover(231, "Pastures", 103554, "Pastures"),
    LandCover(241, "Annual crops associated with permanent crops", 7022, "Permanent crops"),
    LandCover(242, "Complex cultivation patterns", 107786, "Complex cultivation patterns"),
    LandCover(243, "Land principally occupied by agriculture, with significant areas of natural "
                   "vegetation", 147095, "Land principally occupied by agriculture, with "
                                         "significant areas of natural vegetation"),
    LandCover(244, "Agro-forestry areas", 30674, "Agro-forestry areas"),
    LandCover(311, "Broad-leaved forest", 150944, "Broad-leaved forest"),
    LandCover(312, "Coniferous forest", 211703, "Coniferous forest"),
    LandCover(313, "Mixed forest", 217119, "Mixed forest"),
    LandCover(321, "Natural grassland", 12835, "Natural grassland and sparsely vegetated areas"),
    LandCover(322, "Moors and heathland", 5890, "Moors, heathland and sclerophyllous vegetation"),
    LandCover(323, "Sclerophyllous vegetation", 11241, "Moors, heathland and sclerophyllous "
                                                       "vegetation"),
    LandCover(324, "Transitional woodland/shrub", 173506, "Transitional woodland, shrub"),
    LandCover(331, "Beaches, dunes, sands", 1578, "Beaches, dunes, sands"),
    LandCover(332, "Bare rock", 3277, None),
    LandCover(333, "Sparsely vegetated areas", 1563, "Natural grassland and sparsely vegetated "
                                                     "areas"),
    LandCover(334, "Burnt areas", 328, None),
    LandCover(411, "Inland marshes", 6236, "Inland wetlands"),
    LandCover(412, "Peatbogs", 23207, "Inland wetlands"),
    LandCover(421, "Salt marshes", 1562, "Coastal wetlands"),
    LandCover(422, "Salines", 424, "Coastal wetlands"),
    LandCover(423, "Intertidal flats", 1003, None),
    LandCover(511, "Water courses", 10572, "Inland waters"),
    LandCover(512, "Water bodies", 83811, "Inland waters"),
    LandCover(521, "Coastal lagoons", 1498, "Marine waters"),
    LandCover(522, "Estuaries", 1086, "Marine waters"),
    LandCover(523, "Sea and ocean", 81612, "Marine waters"),
)

LABELS_19 = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)
# fmt: on

ARCHIVE_PATCHES = 590_326  # of version 1.0
LABELS = tuple(c.label for c in CLASSES)
_INDEX = {len(names): {label: i for i, label in enumerate(names)} for names in (LABELS, LABELS_19)}
_TARGET_19 = np.array([LABELS_19.index(c.label_19) if c.label_19 else -1 for c in CLASSES])


def labels_of(count: int) -> tuple:
    """The names of the classes of a nomenclature of 43 or 19."""
    return {len(LABELS): LABELS, len(LABELS_19): LABELS_19}[count]


def binarise(labels: Iterable[str], where, names: tuple = LABELS) -> np.ndarray:
    """The multi-hot vector of a patch's labels.

    Args:
        labels: label strings, in any order.
        where: the file they come from, for the error message.
        names: the nomenclature: `LABELS` or `LABELS_19`.

    Returns:
        (43,) or (19,) uint8, 1 where the class is present.

    Raises:
        InputError: a label is not one of the nomenclature, or there is none.
    """
    index = _INDEX[len(names)]
    vector = np.zeros(len(names), np.uint8)
    for label in labels:
        if not isinstance(label, str) or label not in index:
            raise InputError(
                f"{where}: unknown label {one_line(repr(label), 60)}; expected one of the "
                f"{len(names)} CORINE labels of BigEarthNet (bigearth/nomenclature.py); correct "
                "the label or leave the patch out"
            )
        vector[index[label]] = 1
    if not vector.any():
        raise InputError(
            f"{where}: no label; a patch needs at least one of the {len(names)} CORINE labels; "
            "add one or leave the patch out"
        )
    return vector


def to_19(classes: np.ndarray) -> np.ndarray:
    """Maps 43-class multi-hot vectors to the 19-class nomenclature: a class is present if any of
    its sources is.

    Args:
        classes: (..., 43) of any dtype that compares with 0.

    Returns:
        (..., 19) of the same dtype; a patch whose classes all lack a target becomes all zeros.
    """
    result = np.zeros(classes.shape[:-1] + (len(LABELS_19),), classes.dtype)
    for source, target in enumerate(_TARGET_19):
        if target >= 0:
            np.maximum(result[..., target], classes[..., source], out=result[..., target])
    return result
