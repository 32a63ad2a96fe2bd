"""Columns of the clinical table: standard names, the names people use, and how their words are read.

A name matches when it equals a variant after dropping case, spaces, brackets and punctuation, so ``Height (cm)``,
``height_cm`` and ``HEIGHT CM`` are one. A unit is converted only when the name says it (``height_m``); it is never
guessed from the values.
"""

# Korean letters count as two columns in the linter, so the lists of variants look longer than they are.

from __future__ import annotations

import re
import unicodedata
from typing import Final

SUBJECT: Final = "subject"
SCAN: Final = "scan"
SCAN_DATE: Final = "scan_date"
SEX: Final = "sex"
AGE: Final = "age_years"
HEIGHT: Final = "height_cm"
WEIGHT: Final = "weight_kg"
SMI: Final = "smi_kg_m2"
ASM: Final = "asm_kg"
MASS_METHOD: Final = "mass_method"
GRIP: Final = "grip_kg"
GAIT: Final = "gait_m_s"
CHAIR: Final = "chair_stand_s"
SPPB: Final = "sppb"
TUG: Final = "tug_s"
CALF: Final = "calf_cm"
SARC_F: Final = "sarc_f"
SARC_CALF: Final = "sarc_calf"
FRACTURE_SIDE: Final = "fracture_side"
FRACTURE_TYPE: Final = "fracture_type"
AMPUTATION: Final = "amputation"
IMPLANT: Final = "implant"
IMAGE_QUALITY: Final = "image_quality"

NUMBERS: Final = (AGE, HEIGHT, WEIGHT, SMI, ASM, GRIP, GAIT, CHAIR, SPPB, TUG, CALF, SARC_F, SARC_CALF)
"""Columns of numbers; each has a human range in ``vastus.sarcopenia``."""

WORDS: Final = (SEX, MASS_METHOD, FRACTURE_SIDE, FRACTURE_TYPE, AMPUTATION, IMPLANT, IMAGE_QUALITY)
"""Columns of words from a known list (fracture type and image quality may hold others too)."""

STANDARD: Final = (SUBJECT, SCAN, SCAN_DATE, *WORDS, *NUMBERS)
REQUIRED: Final = (SUBJECT, SEX)

# Standard name -> variants. A variant may carry a factor into the standard unit.
_VARIANTS: Final[dict[str, tuple[str | tuple[str, float], ...]]] = {
    SUBJECT: (
        "subject",
        "subject id",
        "id",
        "patient",
        "patient id",
        "participant",
        "participant id",
        "study id",
        "case",
        "case id",
        "pid",
        "대상자",
        "대상자번호",
        "환자",
        "환자번호",
        "연구번호",
        "연구대상자번호",
        "등록번호",
        "증례번호",
    ),
    SCAN: ("scan", "scan id", "scan name", "image", "image id", "ct", "ct id", "영상", "영상번호", "스캔"),
    SCAN_DATE: (
        "scan date",
        "date of scan",
        "ct date",
        "exam date",
        "study date",
        "date",
        "촬영일",
        "촬영일자",
        "검사일",
        "검사일자",
        "ct촬영일",
        "날짜",
    ),
    SEX: ("sex", "gender", "sex at birth", "성별"),
    AGE: (
        "age years",
        "age",
        "age yr",
        "age yrs",
        "age y",
        "age at scan",
        "나이",
        "연령",
        "만나이",
        "나이세",
        "연령세",
    ),
    HEIGHT: (
        "height cm",
        "height",
        "body height",
        "body height cm",
        "stature",
        "ht",
        "ht cm",
        ("height m", 100.0),
        ("height metres", 100.0),
        ("height meters", 100.0),
        ("height mm", 0.1),
        "키",
        "신장",
        "키cm",
        "신장cm",
        ("키m", 100.0),
        ("신장m", 100.0),
    ),
    WEIGHT: (
        "weight kg",
        "weight",
        "body weight",
        "body weight kg",
        "body mass",
        "body mass kg",
        "mass kg",
        "wt",
        "wt kg",
        ("weight g", 0.001),
        "체중",
        "몸무게",
        "체중kg",
        "몸무게kg",
    ),
    SMI: (
        "smi kg m2",
        "smi",
        "asmi",
        "asmi kg m2",
        "asm height2",
        "asm ht2",
        "alm height2",
        "almi",
        "rsmi",
        "skeletal muscle index",
        "skeletal muscle mass index",
        "appendicular skeletal muscle index",
        "골격근지수",
        "골격근량지수",
        "사지골격근지수",
        "사지골격근량지수",
        "사지근육지수",
    ),
    ASM: (
        "asm kg",
        "asm",
        "alm",
        "alm kg",
        "appendicular skeletal muscle mass",
        "appendicular lean mass",
        "appendicular lean mass kg",
        ("asm g", 0.001),
        ("alm g", 0.001),
        "사지골격근량",
        "사지골격근량kg",
        "사지근육량",
    ),
    MASS_METHOD: ("mass method", "smi method", "asm method", "body composition method", "측정방법", "체성분측정방법"),
    GRIP: (
        "grip kg",
        "grip",
        "grip strength",
        "grip strength kg",
        "handgrip",
        "hand grip",
        "handgrip strength",
        "hand grip strength",
        "handgrip strength kg",
        "hgs",
        "hgs kg",
        ("grip n", 1 / 9.80665),
        "악력",
        "악력kg",
    ),
    GAIT: (
        "gait m s",
        "gait",
        "gait speed",
        "gait speed m s",
        "walking speed",
        "usual gait speed",
        "6m gait speed",
        "gait velocity",
        ("gait cm s", 0.01),
        ("gait speed cm s", 0.01),
        "보행속도",
        "보행속도m s",
        "걸음속도",
    ),
    CHAIR: (
        "chair stand s",
        "chair stand",
        "chair stands",
        "chair stand time",
        "chair rise",
        "5 times chair stand",
        "five times sit to stand",
        "5xsts",
        "5 sts",
        "ftsst",
        "sit to stand",
        "의자일어서기",
        "의자에서일어서기",
        "5회의자일어서기",
        "의자기립검사",
    ),
    SPPB: ("sppb", "sppb score", "short physical performance battery", "신체기능평가", "간편신체수행검사"),
    TUG: ("tug s", "tug", "timed up and go", "timed up go"),
    CALF: (
        "calf cm",
        "calf",
        "calf circumference",
        "calf circumference cm",
        ("calf mm", 0.1),
        "종아리둘레",
        "종아리둘레cm",
    ),
    SARC_F: ("sarc f", "sarc f score"),
    SARC_CALF: ("sarc calf", "sarc calf score"),
    FRACTURE_SIDE: (
        "fracture side",
        "side of fracture",
        "side",
        "injured side",
        "fx side",
        "laterality",
        "골절측",
        "골절방향",
        "골절부위좌우",
        "골절쪽",
    ),
    FRACTURE_TYPE: (
        "fracture type",
        "type of fracture",
        "fx type",
        "fracture",
        "골절유형",
        "골절종류",
        "골절형태",
        "골절타입",
    ),
    AMPUTATION: ("amputation", "lower limb amputation", "절단", "하지절단"),
    IMPLANT: ("implant", "implants", "metal", "metal implant", "prosthesis", "임플란트", "금속", "인공관절", "삽입물"),
    IMAGE_QUALITY: ("image quality", "quality", "scan quality", "영상품질", "영상의질", "화질"),
}

_WORDS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    SEX: {
        "F": ("f", "female", "woman", "women", "w", "여", "여자", "여성"),
        "M": ("m", "male", "man", "men", "남", "남자", "남성"),
    },
    MASS_METHOD: {
        "dxa": ("dxa", "dexa", "덱사"),
        "bia": ("bia", "inbody", "bioimpedance", "인바디", "생체전기저항"),
    },
    FRACTURE_SIDE: {
        "right": ("right", "r", "rt", "우", "우측", "오른쪽", "오른"),
        "left": ("left", "l", "lt", "좌", "좌측", "왼쪽", "왼"),
        "both": ("both", "bilateral", "b", "양측", "양쪽"),
        "none": ("none", "no fracture", "no", "없음"),
    },
    FRACTURE_TYPE: {
        "femoral neck": (
            "femoral neck",
            "neck",
            "femur neck",
            "fnf",
            "대퇴경부",
            "대퇴골경부",
            "경부",
            "대퇴경부골절",
            "대퇴골경부골절",
        ),
        "intertrochanteric": (
            "intertrochanteric",
            "intertrochanter",
            "it",
            "itf",
            "pertrochanteric",
            "trochanteric",
            "전자간",
            "전자간부",
            "전자간골절",
            "대퇴전자간",
        ),
        "subtrochanteric": ("subtrochanteric", "전자하", "전자하부", "전자하골절"),
        "femoral shaft": ("femoral shaft", "shaft", "femur shaft", "간부", "대퇴간부", "대퇴골간부", "대퇴골간부골절"),
        "none": ("none", "no fracture", "no", "없음"),
    },
    IMAGE_QUALITY: {
        "good": ("good", "ok", "fine", "adequate", "양호", "좋음"),
        "poor": ("poor", "bad", "inadequate", "불량", "나쁨"),
    },
}
_YES_NO: Final = {
    "yes": ("yes", "y", "true", "1", "x", "예", "유", "있음"),
    "no": ("no", "n", "false", "0", "none", "아니오", "무", "없음"),
}
_OPEN_WORDS: Final = frozenset((FRACTURE_TYPE, IMAGE_QUALITY))
"""Word columns whose unknown words are kept as they are (in lower case)."""

_MISSING: Final = frozenset(
    ("", "na", "nan", "none", "null", "missing", "unknown", "nd", "notdone", "모름", "미측정", "결측", "미상")
)  # punctuation is dropped before: "n/a", "-", "." and "?" come here as "na" and ""


def squash(text: str) -> str:
    """Return a text without case, spaces and punctuation, in Unicode's compatibility form (full-width, squared ...)."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _lookup(variants: dict[str, tuple[str | tuple[str, float], ...]]) -> dict[str, tuple[str, float]]:
    table: dict[str, tuple[str, float]] = {}
    for standard, names in variants.items():
        for name in (standard, *names):
            text, factor = name if isinstance(name, tuple) else (name, 1.0)
            table[squash(text)] = (standard, factor)
    return table


_COLUMN_OF: Final = _lookup(_VARIANTS)
_WORD_OF: Final = {
    column: {
        squash(variant): word for word, variants in _WORDS.get(column, _YES_NO).items() for variant in (word, *variants)
    }
    for column in WORDS
}


def standard_column(header: str) -> tuple[str, float] | None:
    """Return the standard name of a header and the factor into its unit; None for an unknown column."""
    return _COLUMN_OF.get(squash(header))


def is_missing(text: str) -> bool:
    """Tell whether a cell says that the value is unknown."""
    return squash(text) in _MISSING


def standard_word(column: str, text: str) -> str | None:
    """Return the standard word of a cell; None if it is missing, or unknown in a column of known words only."""
    word = _WORD_OF[column].get(squash(text))
    if word is None and column in _OPEN_WORDS and not is_missing(text):
        return text.strip().casefold()
    return word
