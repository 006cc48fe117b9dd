/* The block driver that all kernels share: which thread takes which block, in which order, and where results go.
 *
 * A unit of work is a group of frames of one memory cell and one block of pixels. The block's constants (a few KiB
 * times the stages in use) stay in L1 while the frames of the group pass by; frame after frame over whole planes would
 * fetch more bytes of constants than of pixels. The next frame's block is asked for ahead, because it lies a frame
 * away, where no hardware prefetcher looks. */
#define _GNU_SOURCE
#include "correction.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MOST_THREADS 256
#define LINE 64

#define PUBLIC __attribute__((visibility("default")))

PUBLIC int xdc_instructions(void); /* newest set that this processor has: 0 generic, 1 AVX2, 2 AVX-512 */
PUBLIC void xdc_correct(const struct correction *how);
PUBLIC const char *xdc_sources(void); /* digest of the sources */

const char *xdc_sources(void) { return SOURCES; }

int xdc_instructions(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return 2;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return 0;
}

const struct kernels *kernels_of(int instructions)
{
#if defined(__x86_64__)
    if (instructions == 2) return &kernels_avx512;
    if (instructions == 1) return &kernels_avx2;
#endif
    (void)instructions;
    return &kernels_generic;
}

struct team {
    const struct correction *how;
    const struct kernels *kernels;
    int64_t blocks, units;
    _Atomic int64_t next;
    pthread_mutex_t lock;
};

static void ask_for(const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += LINE) __builtin_prefetch((const char *)from + i, 0, 2);
}

static void empty(const struct piece *p)
{
    for (size_t i = 0; i < p->n; i++) p->energy[i] = __builtin_nanf("");
    if (!p->mask) return;
    for (size_t i = 0; i < p->n; i++) p->mask[i] = NO_DARK_DATA | VALUE_IS_NAN;
    for (size_t i = 0; i < p->n; i++) p->stage[i] = NO_STAGE;
}

/* What is left of a block after whole steps goes to the kernels that take one pixel at a time. */
static void compute(const struct kernels *kernels, struct piece p)
{
    const struct correction *how = p.how;
    const size_t rest = how->asic_rows ? 0 : p.n % kernels->step;
    p.n -= rest;
    for (int again = 0; again < 2; again++) {
        if (how->staging == THRESHOLDS || how->asic_rows)
            kernels->thresholds(&p);
        else
            kernels->coded(&p);
        if (!rest || again) return;
        kernels = &kernels_generic;
        p.raw += p.n, p.offset += p.n, p.factor += p.n, p.bad += p.n, p.energy += p.n;
        if (p.mask) p.mask += p.n, p.stage += p.n;
        if (p.thresholds) p.thresholds += p.n;
        if (p.gain) p.gain = (const char *)p.gain + p.n * (how->staging == THRESHOLDS ? 2 : 1);
        p.n = rest;
    }
}

static void count(const struct kernels *kernels, struct sums *sums, struct piece p)
{
    const size_t rest = p.n % kernels->step;
    p.n -= rest;
    kernels->count(&p, sums);
    p.mask += p.n, p.stage += p.n, p.n = rest;
    if (rest) kernels_generic.count(&p, sums);
}

void correct_piece(const struct kernels *kernels, const struct piece *p, int64_t cell)
{
    if (cell < 0)
        empty(p);
    else
        compute(kernels, *p);
}

static void unit(const struct team *team, struct sums *sums, float *desk, int64_t group, size_t at, size_t n)
{
    const struct correction *how = team->how;
    const int analog = how->staging == THRESHOLDS, bytes = how->staging == CODE_IN_BYTE;
    const size_t pixels = (size_t)how->pixels;
    const int64_t cell = how->cell[group], c = cell < 0 ? 0 : cell;
    struct piece p = {
        .how = how,
        .n = n,
        .plane = pixels,
        .desk = desk,
        .offset = how->offset + c * how->offset_stride + at,
        .factor = how->factor + c * how->factor_stride + at,
        .bad = how->bad + c * how->bad_stride + at,
        .thresholds = analog ? how->thresholds + c * how->thresholds_stride + at : NULL,
    };
    for (int64_t k = how->start[group]; k < how->start[group + 1]; k++) {
        const int64_t frame = how->order[k];
        const size_t target = (size_t)frame * pixels + at;
        p.energy = how->energy + target;
        if (how->mask) p.mask = how->mask + target, p.stage = how->stage + target;
        p.raw = how->raw + frame * how->raw_stride + at;
        if (analog) p.gain = (const uint16_t *)how->gain + frame * how->gain_stride + at;
        if (bytes) p.gain = (const uint8_t *)how->gain + frame * how->gain_stride + at;
        if (k + 1 < how->start[group + 1]) {
            const int64_t after = how->order[k + 1];
            ask_for(how->raw + after * how->raw_stride + at, n * 2);
            if (analog) ask_for((const uint16_t *)how->gain + after * how->gain_stride + at, n * 2);
            if (bytes) ask_for((const uint8_t *)how->gain + after * how->gain_stride + at, n);
        }
        correct_piece(team->kernels, &p, cell);
        if (how->stages) count(team->kernels, sums, p);
    }
}

static void *member(void *given)
{
    struct team *team = given;
    const struct correction *how = team->how;
    const size_t block = (size_t)how->block;
    struct sums sums = {{0}, {0}};
    float *desk = NULL;
    if (how->asic_rows) {
        desk = aligned_alloc(LINE, ((size_t)how->block * DESK + LINE - 1) / LINE * LINE);
        if (!desk) abort(); /* a hundred KiB: nothing else would work either */
    }
    for (int64_t u; (u = atomic_fetch_add_explicit(&team->next, 1, memory_order_relaxed)) < team->units;) {
        const size_t at = (size_t)(u % team->blocks) * block, rest = (size_t)how->pixels - at;
        unit(team, &sums, desk, u / team->blocks, at, rest < block ? rest : block);
    }
#if defined(__SSE2__)
    __builtin_ia32_sfence(); /* streamed lines are visible to the others before this thread is said to be done */
#endif
    free(desk);
    if (how->stages) {
        pthread_mutex_lock(&team->lock);
        for (int i = 0; i < 4; i++) how->stages[i] += sums.stages[i];
        for (int i = 0; i < 32; i++) how->reasons[i] += sums.reasons[i];
        pthread_mutex_unlock(&team->lock);
    }
    return NULL;
}

/* Streaming stores want whole cache lines, and nobody who reads the results again at once. */
static int may_stream(const struct correction *how)
{
    const uintptr_t places = (uintptr_t)how->energy | (uintptr_t)how->mask | (uintptr_t)how->stage;
    return how->streaming && (places | (uintptr_t)how->pixels | (uintptr_t)how->block) % LINE == 0 && !how->stages;
}

/* Correct all frames. mask and stage: both or neither; counts and common mode need both. */
void xdc_correct(const struct correction *given)
{
    struct correction how = *given;
    how.streaming = may_stream(given);
    struct team team = {.how = &how, .kernels = kernels_of(how.instructions), .lock = PTHREAD_MUTEX_INITIALIZER};
    team.blocks = (how.pixels + how.block - 1) / how.block;
    team.units = team.blocks * how.groups;
    pthread_t threads[MOST_THREADS];
    int started = 0;
    while (started < how.threads - 1 && started < MOST_THREADS && started + 1 < team.units) {
        if (pthread_create(&threads[started], NULL, member, &team)) break; /* fewer threads do the same work */
        started++;
    }
    member(&team);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
}
