/* From file to file: a slab of pixels is read, corrected, written, checksummed and deflated while it lies in the second
 * cache; the memory beyond it sees each byte once on its way in and once on its way out.
 *
 * One call is the work of one thread on a few frames, slab by slab: the constants of a slab stay in the cache while the
 * frames pass by. */
#define _GNU_SOURCE
#include "correction.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE 64
#define PUBLIC __attribute__((visibility("default")))

/* Where one kind of bytes of every frame is: in a file, or in memory. */
struct place {
    int32_t descriptor; /* negative: in memory */
    int32_t size;       /* bytes per pixel */
    uint8_t *memory;
    const int64_t *at; /* offsets in the file or the memory, by frame */
    uint32_t *adler;   /* of these bytes, by frame; or none */
};

#define PACKED (sizeof(struct packed) + sizeof(struct code))

enum failure { DONE = 0, NOT_READ = 1, ENDS_EARLY = 2, NOT_WRITTEN = 3 };

struct file_correction {
    struct correction how;
    struct place raw, gain, energy;
    int64_t slab;            /* pixels */
    uint8_t *mask, *stage;   /* deflated, frame after frame, the strides apart; NULL: neither kept nor counted */
    int64_t mask_stride, stage_stride;
    int64_t *mask_bytes, *stage_bytes;
    int64_t where, error; /* of a failure: the byte, and errno */
};

PUBLIC int xdc_correct_file(struct file_correction *job);
PUBLIC int64_t xdc_deflate(const uint8_t *stage, const uint32_t *mask, int64_t pixels, int64_t slab, int instructions,
                           uint8_t *out);

static const struct packers *packers_of(int instructions)
{
#if defined(__x86_64__)
    if (instructions == 2) return &packers_avx512;
    if (instructions == 1) return &packers_avx2;
#endif
    (void)instructions;
    return &packers_generic;
}

/* What one thread works with. Each room begins with a cache line that may be read and means nothing. */
struct desk {
    uint16_t *raw, *tokens;
    uint8_t *gain, *stage;
    float *energy, *common;
    uint32_t *mask;
    struct packed *masks, *stages;
};

static int take(struct file_correction *job, const struct place *from, int64_t frame, size_t at, size_t n, void *to)
{
    uint8_t *next = to;
    int64_t byte = from->at[frame] + (int64_t)at * from->size;
    for (size_t rest = n * (size_t)from->size; rest;) {
        const ssize_t got = pread(from->descriptor, next, rest, byte);
        if (got > 0) {
            next += got, byte += got, rest -= (size_t)got;
        } else if (!got || errno != EINTR) {
            job->where = byte, job->error = got ? errno : 0;
            return got ? NOT_READ : ENDS_EARLY;
        }
    }
    return DONE;
}

static int give(struct file_correction *job, const struct place *into, int64_t frame, size_t at, size_t n, const void *from)
{
    const uint8_t *next = from;
    int64_t byte = into->at[frame] + (int64_t)at * into->size;
    if (into->descriptor < 0) {
        memcpy(into->memory + byte, from, n * (size_t)into->size);
        return DONE;
    }
    for (size_t rest = n * (size_t)into->size; rest;) {
        const ssize_t put = pwrite(into->descriptor, next, rest, byte);
        if (put >= 0) {
            next += put, byte += put, rest -= (size_t)put;
        } else if (errno != EINTR) {
            job->where = byte, job->error = errno;
            return NOT_WRITTEN;
        }
    }
    return DONE;
}

/* Pixels of one place, read into `room` or where they are; bytes that came as a stream may begin anywhere. */
static int get(struct file_correction *job, const struct packers *packers, const struct place *from, int64_t frame,
               size_t at, size_t n, void *room, const void **found)
{
    const size_t bytes = n * (size_t)from->size;
    *found = room;
    if (from->descriptor >= 0) {
        const int failed = take(job, from, frame, at, n, room);
        if (failed) return failed;
    } else {
        const uint8_t *here = from->memory + from->at[frame] + (int64_t)at * from->size;
        if ((uintptr_t)here % (size_t)from->size == 0)
            *found = here;
        else
            memcpy(room, here, bytes);
    }
    if (from->adler) from->adler[frame] = packers->adler32(from->adler[frame], *found, bytes);
    return DONE;
}

static void pack(const struct file_correction *job, const struct packers *packers, const struct desk *desk,
                 struct sums *sums, int64_t frame, size_t at, size_t n)
{
    const int last = at + n == (size_t)job->how.pixels;
    struct packed *mask = &desk->masks[frame], *stage = &desk->stages[frame];
    packers->deflate(mask, sums, NULL, desk->mask, n, desk->tokens, last);
    packers->deflate(stage, sums, desk->stage, NULL, n, desk->tokens, last);
    if (!last) return;
    job->mask_bytes[frame] = mask->next - (job->mask + frame * job->mask_stride);
    job->stage_bytes[frame] = stage->next - (job->stage + frame * job->stage_stride);
}

/* One slab of the frames of one group. */
static int slab(struct file_correction *job, const struct packers *packers, const struct desk *desk, struct sums *sums,
                int64_t group, size_t at, size_t n)
{
    const struct correction *how = &job->how;
    const struct kernels *kernels = kernels_of(how->instructions);
    const int64_t cell = how->cell[group], c = cell < 0 ? 0 : cell;
    for (int64_t k = how->start[group]; k < how->start[group + 1]; k++) {
        const int64_t frame = how->order[k];
        const void *raw, *gain = NULL;
        int failed = get(job, packers, &job->raw, frame, at, n, desk->raw, &raw);
        if (!failed && job->gain.size) failed = get(job, packers, &job->gain, frame, at, n, desk->gain, &gain);
        if (failed) return failed;
        for (size_t done = 0; done < n; done += (size_t)how->block) {
            const size_t now = at + done, rest = n - done;
            struct piece p = {
                .how = how,
                .n = rest < (size_t)how->block ? rest : (size_t)how->block,
                .plane = (size_t)how->pixels,
                .raw = (const uint16_t *)raw + done,
                .gain = gain ? (const uint8_t *)gain + done * (size_t)job->gain.size : NULL,
                .offset = how->offset + c * how->offset_stride + now,
                .factor = how->factor + c * how->factor_stride + now,
                .thresholds = how->thresholds ? how->thresholds + c * how->thresholds_stride + now : NULL,
                .bad = how->bad + c * how->bad_stride + now,
                .energy = desk->energy + done,
                .mask = desk->mask + done,
                .stage = desk->stage + done,
                .desk = desk->common,
            };
            correct_piece(kernels, &p, cell);
        }
        failed = give(job, &job->energy, frame, at, n, desk->energy);
        if (failed) return failed;
        if (job->energy.adler)
            job->energy.adler[frame] = packers->adler32(job->energy.adler[frame], (const uint8_t *)desk->energy, n * 4);
        if (job->mask) pack(job, packers, desk, sums, frame, at, n);
    }
    return DONE;
}

static void *room(uint8_t **next, size_t bytes)
{
    uint8_t *here = *next + LINE;
    *next = here + (bytes + LINE - 1) / LINE * LINE;
    return here;
}

static struct packed begun(uint8_t *out, struct code *code)
{
    out[0] = 0x78, out[1] = 0x01; /* zlib, window of 32 KiB, fastest */
    return (struct packed){.next = out + 2, .code = code, .adler = 1};
}

/* Correct the frames of `how`, by this thread alone. Results go to files; how.stages and how.reasons are added to.
 * Returns a failure; then where and error tell more. */
int xdc_correct_file(struct file_correction *job)
{
    struct correction *how = &job->how;
    const struct packers *packers = packers_of(how->instructions);
    const size_t n = (size_t)job->slab, frames = (size_t)how->frames;
    const size_t common = how->asic_rows ? (size_t)how->block * DESK : 0;
    uint8_t *whole = aligned_alloc(LINE, (n * (2 + 2 + 4 + 4 + 1 + 8) + common + 2 * frames * PACKED + 4096) / LINE * LINE);
    if (!whole) abort(); /* less than a MiB: nothing else would work either */
    uint8_t *next = whole;
    struct desk desk;
    desk.raw = room(&next, 2 * n), desk.gain = room(&next, 2 * n);
    desk.energy = room(&next, 4 * n), desk.mask = room(&next, 4 * n), desk.stage = room(&next, n);
    desk.tokens = room(&next, 8 * n + 64), desk.common = room(&next, common);
    desk.masks = room(&next, frames * sizeof(struct packed)), desk.stages = room(&next, frames * sizeof(struct packed));
    struct code *codes = room(&next, 2 * frames * sizeof(struct code));
    for (size_t k = 0; job->mask && k < frames; k++) {
        desk.masks[k] = begun(job->mask + (int64_t)k * job->mask_stride, &codes[2 * k]);
        desk.stages[k] = begun(job->stage + (int64_t)k * job->stage_stride, &codes[2 * k + 1]);
    }
    struct sums sums = {{0}, {0}};
    int failed = DONE;
    for (int64_t group = 0; group < how->groups && !failed; group++)
        for (size_t at = 0; at < (size_t)how->pixels && !failed; at += n) {
            const size_t rest = (size_t)how->pixels - at;
            failed = slab(job, packers, &desk, &sums, group, at, rest < n ? rest : n);
        }
    free(whole);
    for (int i = 0; i < 4; i++) how->stages[i] += sums.stages[i];
    for (int i = 0; i < 32; i++) how->reasons[i] += sums.reasons[i];
    return failed;
}

/* The stages or the mask of one frame as xdc_correct_file deflates them. Returns the number of bytes. */
int64_t xdc_deflate(const uint8_t *stage, const uint32_t *mask, int64_t pixels, int64_t slab, int instructions, uint8_t *out)
{
    const struct packers *packers = packers_of(instructions);
    const size_t n = (size_t)slab;
    uint8_t *whole = aligned_alloc(LINE, (n * (4 + 8) + 4096) / LINE * LINE), *next = whole;
    if (!whole) abort();
    uint8_t *values = room(&next, 4 * n);
    uint16_t *tokens = room(&next, 8 * n + 64);
    struct code code;
    struct packed packed = begun(out, &code);
    struct sums unused = {{0}, {0}};
    for (size_t at = 0; at < (size_t)pixels; at += n) {
        const size_t rest = (size_t)pixels - at, now = rest < n ? rest : n;
        if (stage)
            memcpy(values, stage + at, now);
        else
            memcpy(values, mask + at, 4 * now);
        packers->deflate(&packed, &unused, stage ? values : NULL, (const uint32_t *)(const void *)values, now, tokens, now == rest);
    }
    free(whole);
    return packed.next - out;
}
