/* What one call of the native correction is given, and what one kernel is given of it.
 *
 * Both structures are mirrored in __init__.py; every field has its natural alignment. */
#ifndef XDC_CORRECTION_H
#define XDC_CORRECTION_H

#include <stddef.h>
#include <stdint.h>

/* Where the gain stage of a pixel comes from. */
enum staging {
    FIXED_STAGE = 0,   /* all pixels are in `fixed_stage` */
    CODE_IN_BYTE = 1,  /* a byte per pixel beside the value (JUNGFRAU) */
    CODE_IN_WORD = 2,  /* high bits of the word itself (JUNGFRAU of PSI, LPD) */
    THRESHOLDS = 3,    /* a second analog value against two thresholds (AGIPD) */
};

struct correction {
    /* Pixels: frame f has `pixels` words at raw + f * raw_stride; its codes or analog gain values lie at
     * gain + f * gain_stride (in their own units). */
    int64_t frames, pixels, raw_stride, gain_stride;
    const uint16_t *raw;
    const void *gain;
    /* Planes of constants: stage s of cell c at base + c * cell stride + s * pixels. `bad` has all that is known
     * before the data; thresholds are sorted and never NaN. Strides in elements. */
    const float *offset, *factor, *thresholds;
    const uint32_t *bad;
    int64_t offset_stride, factor_stride, thresholds_stride, bad_stride;
    /* Results, frame by frame; mask and stage may be NULL. */
    float *energy;
    uint32_t *mask;
    uint8_t *stage;
    /* Work: frames in the order of `order`, group g is order[start[g]] .. order[start[g + 1] - 1], all of one
     * memory cell, cell[g]; a negative cell is an empty frame. */
    int64_t groups;
    const int64_t *order, *start, *cell;
    /* Pixels by stage (0, 1, 2, none) and by bit of the mask, added up; may be NULL. */
    int64_t *stages, *reasons;
    /* How to read a pixel. */
    int32_t staging, fixed_stage;
    uint32_t value_bits;       /* largest value, all ones */
    uint32_t word_bits;        /* bits of a word that are its value, unless codes are in bytes */
    uint32_t code_shift;       /* CODE_IN_WORD: where the code begins; two bits */
    uint32_t code1, code2;     /* codes of stages 1 and 2; 0 is stage 0, any other value is wrong */
    uint32_t counts_down;      /* stages 1 and 2 end at 0, stage 2 has an error word of all ones, and so on */
    uint32_t zero_means;       /* FIXED_STAGE: value of a word that is 0 */
    uint32_t asic_rows, asic_columns, row; /* common mode per ASIC when asic_rows > 0; row: pixels of one row */
    uint32_t cm_rounds, cm_least;          /* rounds at most; least number of dark pixels */
    float cm_range;
    float force_medium, force_high; /* a stage is lowered when its value by the lower stage's offset is below; NaN: never */
    /* How to go about it. */
    int64_t block; /* pixels of a frame that one step takes */
    int32_t threads, instructions, streaming;
};

/* A block of one frame. All pointers are at its first pixel; `plane` is the distance between stages. */
struct piece {
    const struct correction *how;
    size_t n, plane;
    const uint16_t *raw;
    const void *gain;
    const float *offset, *factor, *thresholds;
    const uint32_t *bad;
    float *energy;
    uint32_t *mask;
    uint8_t *stage;
    float *desk; /* common mode: room for n pixels, DESK bytes each */
};

#define DESK 17

/* Bits of badpixels.BadPixels that the data itself sets. */
#define NO_DARK_DATA (1u << 3)
#define VALUE_IS_NAN (1u << 11)
#define VALUE_OUT_OF_RANGE (1u << 12)
#define WRONG_GAIN_VALUE (1u << 21)
#define NO_STAGE 255

/* What one thread counts: pixels by stage (0, 1, 2, none) and by bit of the mask. */
struct sums {
    int64_t stages[4], reasons[32];
};

/* The kernels of one instruction set. */
struct kernels {
    void (*coded)(const struct piece *);      /* FIXED_STAGE, CODE_IN_BYTE, CODE_IN_WORD */
    void (*thresholds)(const struct piece *); /* THRESHOLDS; FIXED_STAGE with common mode */
    void (*count)(const struct piece *, struct sums *);
    size_t step; /* pixels that these take at a time; n is a multiple of it */
};

/* A Huffman code by token: 256 literals, the end of a block, and matches of 3 to 258 bytes with their distance. */
#define TOKENS (256 + 258 + 1)
struct code {
    uint32_t bits[TOKENS];
    uint8_t number[TOKENS];
};

/* A deflate stream that is being written. Seven bytes beyond `next` are written, too. */
struct packed {
    uint8_t *next;
    struct code *code;
    uint64_t bits; /* `number` bits that are not yet a byte */
    uint32_t number, adler, part, renewed; /* the next code is made of part `renewed` */
};

struct packers {
    uint32_t (*adler32)(uint32_t adler, const uint8_t *bytes, size_t n);
    /* One more part of a stream: `n` stages, or mask words when `stage` is NULL; runs are counted as they are found.
     * room: 4 n + 4 tokens. `last` ends the stream with its checksum. */
    void (*deflate)(struct packed *, struct sums *, const uint8_t *stage, const uint32_t *mask, size_t n, uint16_t *room,
                    int last);
};

extern const struct packers packers_generic, packers_avx2, packers_avx512;
extern const struct kernels kernels_generic, kernels_avx2, kernels_avx512;

/* driver.c, for file.c: the kernels of an instruction set, and one block of one frame by them. `cell` is negative for an
 * empty frame. */
const struct kernels *kernels_of(int instructions);
void correct_piece(const struct kernels *, const struct piece *, int64_t cell);

#endif
