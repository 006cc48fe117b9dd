/* The same traffic without the work: what the memory of this machine allows. Built for the machine that measures. */
#include <stddef.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* `n` words of 16 bits, a multiple of 64, become as many words of 32 bits, streamed past the caches. */
void limit_widen(const uint16_t *restrict from, uint32_t *restrict to, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
#if defined(__AVX512F__)
        _mm512_stream_si512((void *)(to + i), _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(from + i))));
#elif defined(__AVX2__)
        for (size_t j = i; j < i + 16; j += 8)
            _mm256_stream_si256((void *)(to + j), _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(from + j))));
#else
        for (size_t j = i; j < i + 16; j++) to[j] = from[j];
#endif
    }
}

/* A frame of `n` pairs: 4 bytes of value and gain become 4 + 4 + 1 bytes of energy, mask and stage. */
void limit_pair(const uint16_t *restrict from, uint32_t *restrict energy, uint32_t *restrict mask,
                uint8_t *restrict stage, size_t n)
{
    limit_widen(from, energy, n);
    limit_widen(from + n, mask, n);
#if defined(__SSE2__)
    for (size_t i = 0; i < n; i += 16) _mm_stream_si128((void *)(stage + i), _mm_set1_epi8((char)from[i]));
#else
    for (size_t i = 0; i < n; i++) stage[i] = (uint8_t)from[i];
#endif
}

/* The same for correction with common mode, `n` pixels whose desk lies in the first or second cache: the values on to the
 * desk, `rounds` passes over them, and from the desk to their place. A pass reads a value and a flag, subtracts, stores,
 * and adds up what is small: no less does a search for the shift of an ASIC. The gain value lies `plane` words on. */
static void rounds_of_block(const uint16_t *restrict from, float *restrict desk, uint8_t *restrict flags, uint32_t *restrict energy,
                  uint32_t *restrict mask, uint8_t *restrict stage, size_t plane, size_t n, int rounds)
{
    for (size_t i = 0; i < n; i++) desk[i] = (float)from[i] - 4000.0f, flags[i] = from[plane + i] > 5000;
    for (int round = 0; round < rounds; round++) {
        float sum = 0;
#pragma GCC ivdep
        for (size_t i = 0; i < n; i++) {
            const float x = desk[i] - 0.125f;
            desk[i] = x;
            sum += x < 30.0f && x > -30.0f && !flags[i] ? x : 0.0f;
        }
        desk[0] += sum * 1e-30f;
    }
    for (size_t i = 0; i < n; i += 16) {
#if defined(__AVX512F__)
        _mm512_stream_si512((void *)(energy + i), _mm512_castps_si512(_mm512_loadu_ps(desk + i)));
        _mm512_stream_si512((void *)(mask + i), _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(flags + i))));
        _mm_stream_si128((void *)(stage + i), _mm_loadu_si128((const void *)(flags + i)));
#else
        for (size_t j = i; j < i + 16; j++) energy[j] = (uint32_t)desk[j], mask[j] = flags[j], stage[j] = flags[j];
#endif
    }
}

/* All blocks of a frame of `n` pixels. */
void limit_rounds(const uint16_t *from, float *desk, uint8_t *flags, uint32_t *energy, uint32_t *mask, uint8_t *stage,
                  size_t n, size_t block, int rounds)
{
    for (size_t at = 0; at < n; at += block)
        rounds_of_block(from + at, desk, flags, energy + at, mask + at, stage + at, n, block, rounds);
}
