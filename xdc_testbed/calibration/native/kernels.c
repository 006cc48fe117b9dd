/* The pixel kernels. Compiled once per instruction set: -DSET=generic, avx2 or avx512.
 *
 * Arithmetic is subtract, then multiply, in float, never fused, so that each instruction set gives the bits of the numpy
 * reference. Three things shape the loops:
 *   - a step takes two vectors; most steps have no switched pixel and read the planes of stage 0 only;
 *   - planes of the other stages are loaded and blended, never gathered: a gather costs four times as much;
 *   - results are streamed past the caches, see put(). */
#include "correction.h"
#include "lanes.h"

#define STEP (LANES > 1 ? 2 * LANES : 1) /* pixels of a step; the driver gives whole steps */
/* Copies of both structures that no store can alias, so that their fields stay in registers. */
#define LOCAL(given)                                 \
    const struct correction how_ = *(given)->how;    \
    struct piece p_ = *(given), *const p = &p_;      \
    p_.how = &how_
#define NAMED(a, b) JOINED(a, b)
#define JOINED(a, b) a##b

/* Results go past the caches, or into them. A store through the caches first reads the line that it is about to
 * overwrite, half of all traffic, which is right only when somebody reads the result again at once. */
OP void put(const struct piece *p, size_t at, f energy)
{
    p->how->streaming ? stream(p->energy + at, energy) : store(p->energy + at, energy);
}
OP void put_flags(const struct piece *p, size_t at, u mask, u stage)
{
    if (p->how->streaming) {
        stream_bits(p->mask + at, mask);
        stream_bytes(p->stage + at, stage);
    } else {
        store_bits(p->mask + at, mask);
        store_bytes(p->stage + at, stage);
    }
}

/* Pixels at `at` whose value and code are known. `switched`: some are not in stage 0. */
OP void coded_lanes(const struct piece *p, size_t at, u value, u code, int switched, int full)
{
    const struct correction *how = p->how;
    const size_t plane = p->plane, base = (size_t)how->fixed_stage * plane + at;
    f offset = load(p->offset + base), factor = load(p->factor + base);
    m first = {0}, second = {0};
    if (switched) {
        first = same(code, every(how->code1)), second = same(code, every(how->code2));
        offset = choose(first, load(p->offset + base + plane), offset);
        factor = choose(first, load(p->factor + base + plane), factor);
        offset = choose(second, load(p->offset + base + 2 * plane), offset);
        factor = choose(second, load(p->factor + base + 2 * plane), factor);
    }
    const f energy = settled(times(minus(number(value), offset), factor));
    put(p, at, energy);
    if (!full) return;
    u mask = load_bits(p->bad + base), stage = every((uint32_t)how->fixed_stage);
    const u top = every(how->value_bits);
    m outside = above(value, top);
    if (switched) {
        mask = choose_bits(first, load_bits(p->bad + base + plane), mask);
        mask = choose_bits(second, load_bits(p->bad + base + 2 * plane), mask);
        const m wrong = but(but(above(code, every(0)), first), second);
        mask = set_bits(mask, wrong, WRONG_GAIN_VALUE);
        stage = choose_bits(first, every(1), choose_bits(second, every(2), choose_bits(wrong, every(NO_STAGE), stage)));
    }
    if (how->counts_down) {
        const m low = and_(same(value, every(0)), above(stage, every(0)));
        const m high = and_(same(value, top), same(stage, every(2)));
        outside = or_(outside, or_(but(low, same(stage, every(NO_STAGE))), high));
    }
    mask = set_bits(set_bits(mask, outside, VALUE_OUT_OF_RANGE), not_finite(energy), VALUE_IS_NAN);
    put_flags(p, at, mask, stage);
}

/* The three ways to a value and a code. */
OP void value_and_code(const struct piece *p, int staging, size_t at, u *value, u *code)
{
    const u word = load_words(p->raw + at);
    *value = staging == CODE_IN_BYTE ? word : both(word, every(p->how->word_bits));
    *code = every(0);
    if (staging == FIXED_STAGE) *value = choose_bits(same(*value, every(0)), every(p->how->zero_means), *value);
    if (staging == CODE_IN_WORD) *code = both(right(word, p->how->code_shift), every(3));
    if (staging == CODE_IN_BYTE) *code = load_bytes((const uint8_t *)p->gain + at);
}

/* staging and full are constants at every call, so that each combination is a loop of its own. */
OP void coded_loop(const struct piece *given, int staging, int full)
{
    LOCAL(given);
    for (size_t at = 0; at < p->n; at += STEP) {
        u value[STEP / LANES], code[STEP / LANES], codes = every(0);
        for (int v = 0; v < STEP / LANES; v++) {
            value_and_code(p, staging, at + (size_t)v * LANES, &value[v], &code[v]);
            codes = either(codes, code[v]);
        }
        if (staging != FIXED_STAGE && any(above(codes, every(0))))
            for (int v = 0; v < STEP / LANES; v++) coded_lanes(p, at + (size_t)v * LANES, value[v], code[v], 1, full);
        else
            for (int v = 0; v < STEP / LANES; v++) coded_lanes(p, at + (size_t)v * LANES, value[v], code[v], 0, full);
    }
}

static void coded(const struct piece *p)
{
    const int full = p->mask != NULL;
    switch (p->how->staging) {
    case CODE_IN_BYTE: return full ? coded_loop(p, CODE_IN_BYTE, 1) : coded_loop(p, CODE_IN_BYTE, 0);
    case CODE_IN_WORD: return full ? coded_loop(p, CODE_IN_WORD, 1) : coded_loop(p, CODE_IN_WORD, 0);
    default: return full ? coded_loop(p, FIXED_STAGE, 1) : coded_loop(p, FIXED_STAGE, 0);
    }
}

/* Analog gain value against thresholds. `scaled` is 0 when common mode follows: then energy is left in ADU. */
OP void threshold_lanes(const struct piece *p, size_t at, m over, int switched, int full, int scaled)
{
    const struct correction *how = p->how;
    const size_t plane = p->plane, base = (size_t)how->fixed_stage * plane + at;
    const f value = number(load_words(p->raw + at));
    f offset = load(p->offset + base), factor = load(p->factor + base);
    m first = over, second = over;
    if (switched) {
        const f gain = number(load_words((const uint16_t *)p->gain + at));
        const f offset1 = load(p->offset + base + plane);
        second = and_(over, greater(gain, load(p->thresholds + plane + at)));
        second = but(second, less(minus(value, offset1), everyf(how->force_medium)));
        first = but(but(over, second), less(minus(value, offset), everyf(how->force_high)));
        offset = choose(second, load(p->offset + base + 2 * plane), choose(first, offset1, offset));
        factor = choose(first, load(p->factor + base + plane), factor);
        factor = choose(second, load(p->factor + base + 2 * plane), factor);
    }
    const f x = minus(value, offset), energy = settled(scaled ? times(x, factor) : x);
    put(p, at, energy);
    if (!full) return;
    u mask = load_bits(p->bad + base), stage = every((uint32_t)how->fixed_stage);
    if (switched) {
        mask = choose_bits(first, load_bits(p->bad + base + plane), mask);
        mask = choose_bits(second, load_bits(p->bad + base + 2 * plane), mask);
        stage = choose_bits(second, every(2), choose_bits(first, every(1), stage));
    }
    if (scaled) mask = set_bits(mask, not_finite(energy), VALUE_IS_NAN);
    put_flags(p, at, mask, stage);
}

OP void threshold_loop(const struct piece *given, int analog, int full, int scaled)
{
    LOCAL(given);
    for (size_t at = 0; at < p->n; at += STEP) {
        m over[STEP / LANES], anywhere = above(every(0), every(0));
        for (int v = 0; v < STEP / LANES; v++) {
            const size_t i = at + (size_t)v * LANES;
            over[v] = anywhere;
            if (analog) over[v] = greater(number(load_words((const uint16_t *)p->gain + i)), load(p->thresholds + i));
        }
        for (int v = 0; v < STEP / LANES; v++) anywhere = or_(anywhere, over[v]);
        if (analog && any(anywhere))
            for (int v = 0; v < STEP / LANES; v++) threshold_lanes(p, at + (size_t)v * LANES, over[v], 1, full, scaled);
        else
            for (int v = 0; v < STEP / LANES; v++) threshold_lanes(p, at + (size_t)v * LANES, over[v], 0, full, scaled);
    }
}

/* LANES rows of an ASIC at most: take the last shift away, then add up what is dark now. 32 bits hold the sum of a lane:
 * LANES rows have 64 of its values at most, each below 512 * 65536. Returns how many are dark. */
OP uint32_t shifted_rows(float *x, const m *usable, const m *moved, size_t rows, size_t row, size_t columns, float shift,
                         float range, int64_t *sum)
{
    u values = every(0);
    uint32_t dark = 0;
    for (size_t r = 0; r < rows; r++, x += row, usable += row / LANES, moved += row / LANES)
        for (size_t i = 0; i < columns; i += LANES) {
            const f before = load(x + i), now = choose(moved[i / LANES], minus(before, everyf(shift)), before);
            store(x + i, now);
            const m counts = and_(usable[i / LANES], less(absolute(now), everyf(range)));
            values = add(values, integer(choose(counts, times(now, everyf(65536.0f)), everyf(0))));
            dark += how_many(counts);
        }
    int32_t value[LANES];
    store_bits((uint32_t *)value, values);
    for (int i = 0; i < LANES; i++) *sum += value[i];
    return dark;
}

/* Take away, per ASIC, the mean of its dark pixels in high gain, until it is below 0.01 ADU. The sum is of integers
 * (1/65536 ADU), so that it does not depend on the order of the pixels. A shift is taken away in the pass that looks for
 * the next one, so that a round is one pass over pixels that lie in the first cache. */
static void common_mode(const struct piece *given, m *usable, m *moved)
{
    LOCAL(given);
    const struct correction *how = p->how;
    const size_t row = how->row, rows = how->asic_rows, columns = how->asic_columns;
    for (size_t i = 0; i < p->n; i += LANES) {
        moved[i / LANES] = same(load_bytes(p->stage + i), every(0));
        usable[i / LANES] = and_(moved[i / LANES], same(load_bits(p->mask + i), every(0)));
    }
    for (size_t left = 0; left < row; left += columns) {
        float shift = 0;
        for (uint32_t round = 0; round <= how->cm_rounds; round++) {
            int64_t sum = 0;
            uint32_t dark = 0;
            for (size_t top = 0; top < rows; top += LANES) {
                const size_t at = top * row + left, now = rows - top < LANES ? rows - top : LANES;
                dark += shifted_rows(p->energy + at, usable + at / LANES, moved + at / LANES, now, row, columns, shift,
                                     how->cm_range, &sum);
            }
            if (dark < how->cm_least || (round && fabsf(shift) < 0.01f)) break;
            shift = (float)((double)sum / (65536.0 * dark));
        }
    }
}

/* From ADU on the desk to energies at their place. */
static void scale(const struct piece *desk, const struct piece *given)
{
    LOCAL(given);
    const float *adu = desk->energy;
    const uint32_t *flags = desk->mask;
    const uint8_t *stages = desk->stage;
    for (size_t at = 0; at < p->n; at += LANES) {
        const u stage = load_bytes(stages + at);
        f factor = load(p->factor + at);
        factor = choose(same(stage, every(1)), load(p->factor + at + p->plane), factor);
        factor = choose(same(stage, every(2)), load(p->factor + at + 2 * p->plane), factor);
        const f energy = settled(times(load(adu + at), factor));
        put(p, at, energy);
        put_flags(p, at, set_bits(load_bits(flags + at), not_finite(energy), VALUE_IS_NAN), stage);
    }
}

/* With common mode, one row of ASICs at a time is worked on at the desk. */
static void with_common_mode(const struct piece *p, int analog)
{
    struct correction quiet = *p->how;
    quiet.streaming = 0;
    struct piece desk = *p;
    desk.how = &quiet;
    desk.energy = p->desk;
    desk.mask = (uint32_t *)(p->desk + p->n);
    m *usable = (m *)(desk.mask + p->n), *moved = usable + p->n / LANES; /* vectors need the alignment that they have here */
    desk.stage = (uint8_t *)(moved + p->n / LANES);
    analog ? threshold_loop(&desk, 1, 1, 0) : threshold_loop(&desk, 0, 1, 0);
    common_mode(&desk, usable, moved);
    scale(&desk, p);
}

static void by_thresholds(const struct piece *p)
{
    const int analog = p->how->staging == THRESHOLDS;
    if (p->how->asic_rows)
        with_common_mode(p, analog);
    else if (p->mask)
        analog ? threshold_loop(p, 1, 1, 1) : threshold_loop(p, 0, 1, 1);
    else
        analog ? threshold_loop(p, 1, 0, 1) : threshold_loop(p, 0, 0, 1);
}

/* Most steps are all stage 0 and have no bit set; the others are looked at pixel by pixel. */
static void count(const struct piece *p, struct sums *sums)
{
    for (size_t at = 0; at < p->n; at += STEP) {
        u stages = every(0), bits = every(0);
        for (int v = 0; v < STEP / LANES; v++) {
            stages = either(stages, load_bytes(p->stage + at + (size_t)v * LANES));
            bits = either(bits, load_bits(p->mask + at + (size_t)v * LANES));
        }
        if (any(differ(stages, every(0))))
            for (size_t i = at; i < at + STEP; i++) sums->stages[p->stage[i] < 3 ? p->stage[i] : 3]++;
        else
            sums->stages[0] += STEP;
        if (any(differ(bits, every(0))))
            for (size_t i = at; i < at + STEP; i++)
                for (uint32_t rest = p->mask[i]; rest; rest &= rest - 1) sums->reasons[__builtin_ctz(rest)]++;
    }
}

const struct kernels NAMED(kernels_, SET) = {coded, by_thresholds, count, STEP};
