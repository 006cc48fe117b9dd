"""Bits of the bad-pixel mask, uint32, as the facility defines them (EXtra, `extra.calibration.BadPixels`)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag


class BadPixels(IntFlag):
    """Reasons not to trust a pixel. Bits 0 to 10, 14 to 19 and 23 come with the constants, the others from
    the data.
    """

    OFFSET_OUT_OF_THRESHOLD = 1 << 0
    NOISE_OUT_OF_THRESHOLD = 1 << 1
    OFFSET_NOISE_EVAL_ERROR = 1 << 2
    NO_DARK_DATA = 1 << 3
    CI_GAIN_OUT_OF_THRESHOLD = 1 << 4
    CI_LINEAR_DEVIATION = 1 << 5
    CI_EVAL_ERROR = 1 << 6
    FF_GAIN_EVAL_ERROR = 1 << 7
    FF_GAIN_DEVIATION = 1 << 8
    FF_NO_ENTRIES = 1 << 9
    CI2_EVAL_ERROR = 1 << 10
    VALUE_IS_NAN = 1 << 11
    VALUE_OUT_OF_RANGE = 1 << 12
    GAIN_THRESHOLDING_ERROR = 1 << 13
    DATA_STD_IS_ZERO = 1 << 14
    ASIC_STD_BELOW_NOISE = 1 << 15
    INTERPOLATED = 1 << 16
    NOISY_ADC = 1 << 17
    OVERSCAN = 1 << 18
    NON_SENSITIVE = 1 << 19
    NON_LIN_RESPONSE_REGION = 1 << 20
    WRONG_GAIN_VALUE = 1 << 21
    NON_STANDARD_SIZE = 1 << 22
    EXPERT_CHOICE = 1 << 23
    USER1 = 1 << 30
    USER2 = 1 << 31


def reasons(counts: Sequence[int]) -> dict[str, int]:
    """Name and number of each bit that occurs, by name. counts: of bits 0 to 31."""
    named = {str(reason.name): counts[int(reason).bit_length() - 1] for reason in BadPixels}
    return {name: number for name, number in sorted(named.items()) if number}
