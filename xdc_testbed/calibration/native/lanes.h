/* The few vector operations that the kernels need, for one instruction set: LANES pixels of 32 bits each.
 *
 * f: floats, u: unsigned integers, m: a choice per lane. Without AVX2 a lane is a plain variable. changed_*: which of 64
 * pixels differ from the one before, as bits. */
#ifndef XDC_LANES_H
#define XDC_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
typedef __m512 f;
typedef __m512i u;
typedef __mmask16 m;
#define OP static inline __attribute__((always_inline))
OP f load(const float *p) { return _mm512_loadu_ps(p); }
OP u load_bits(const uint32_t *p) { return _mm512_loadu_si512(p); }
OP u load_words(const uint16_t *p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)); }
OP u load_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)); }
OP void store(float *p, f x) { _mm512_storeu_ps(p, x); }
OP void store_bits(uint32_t *p, u x) { _mm512_storeu_si512(p, x); }
OP void store_bytes(uint8_t *p, u x) { _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(x)); }
OP void stream(float *p, f x) { _mm512_stream_ps(p, x); }
OP void stream_bits(uint32_t *p, u x) { _mm512_stream_si512((void *)p, x); }
OP void stream_bytes(uint8_t *p, u x) { _mm_stream_si128((void *)p, _mm512_cvtepi32_epi8(x)); }
OP u every(uint32_t x) { return _mm512_set1_epi32((int)x); }
OP f everyf(float x) { return _mm512_set1_ps(x); }
OP f number(u x) { return _mm512_cvtepi32_ps(x); }
OP f minus(f a, f b) { return _mm512_sub_ps(a, b); }
OP f plus(f a, f b) { return _mm512_add_ps(a, b); }
OP u add(u a, u b) { return _mm512_add_epi32(a, b); }
OP f times(f a, f b) { return _mm512_mul_ps(a, b); }
OP u both(u a, u b) { return _mm512_and_si512(a, b); }
OP u either(u a, u b) { return _mm512_or_si512(a, b); }
OP u right(u a, uint32_t n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128((int)n)); }
OP m same(u a, u b) { return _mm512_cmpeq_epi32_mask(a, b); }
OP m differ(u a, u b) { return _mm512_cmpneq_epi32_mask(a, b); }
OP m above(u a, u b) { return _mm512_cmpgt_epi32_mask(a, b); }
OP m greater(f a, f b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
OP m less(f a, f b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
OP m is_nan(f a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
OP m not_finite(f a) { return _mm512_cmp_ps_mask(_mm512_abs_ps(a), _mm512_set1_ps(3.402823466e+38f), _CMP_NLE_UQ); }
OP m and_(m a, m b) { return a & b; }
OP m or_(m a, m b) { return a | b; }
OP m but(m a, m b) { return (m)(a & ~b); }
OP int any(m a) { return a != 0; }
OP uint32_t how_many(m a) { return (uint32_t)__builtin_popcount(a); }
OP f choose(m c, f a, f b) { return _mm512_mask_blend_ps(c, b, a); }
OP u choose_bits(m c, u a, u b) { return _mm512_mask_blend_epi32(c, b, a); }
OP u set_bits(u x, m c, uint32_t bits) { return _mm512_mask_or_epi32(x, c, x, _mm512_set1_epi32((int)bits)); }
OP u integer(f x) { return _mm512_cvttps_epi32(x); }
OP f absolute(f x) { return _mm512_abs_ps(x); }
OP uint64_t changed_bytes(const uint8_t *p)
{
    return _mm512_cmpneq_epi8_mask(_mm512_loadu_si512(p), _mm512_loadu_si512(p - 1));
}
OP uint64_t changed_words(const uint32_t *p)
{
    uint64_t found = 0;
    for (int i = 0; i < 4; i++) found |= (uint64_t)differ(load_bits(p + 16 * i), load_bits(p + 16 * i - 1)) << 16 * i;
    return found;
}

#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
typedef __m256 f;
typedef __m256i u;
typedef __m256i m;
#define OP static inline __attribute__((always_inline))
OP f load(const float *p) { return _mm256_loadu_ps(p); }
OP u load_bits(const uint32_t *p) { return _mm256_loadu_si256((const void *)p); }
OP u load_words(const uint16_t *p) { return _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)); }
OP u load_bytes(const uint8_t *p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)p)); }
OP void store(float *p, f x) { _mm256_storeu_ps(p, x); }
OP void store_bits(uint32_t *p, u x) { _mm256_storeu_si256((void *)p, x); }
OP void store_bytes(uint8_t *p, u x)
{
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((void *)p, _mm_packus_epi16(words, words));
}
OP void stream(float *p, f x) { _mm256_stream_ps(p, x); }
OP void stream_bits(uint32_t *p, u x) { _mm256_stream_si256((void *)p, x); }
OP void stream_bytes(uint8_t *p, u x)
{
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_stream_si64((void *)p, _mm_cvtsi128_si64(_mm_packus_epi16(words, words)));
}
OP u every(uint32_t x) { return _mm256_set1_epi32((int)x); }
OP f everyf(float x) { return _mm256_set1_ps(x); }
OP f number(u x) { return _mm256_cvtepi32_ps(x); }
OP f minus(f a, f b) { return _mm256_sub_ps(a, b); }
OP f plus(f a, f b) { return _mm256_add_ps(a, b); }
OP u add(u a, u b) { return _mm256_add_epi32(a, b); }
OP f times(f a, f b) { return _mm256_mul_ps(a, b); }
OP u both(u a, u b) { return _mm256_and_si256(a, b); }
OP u either(u a, u b) { return _mm256_or_si256(a, b); }
OP u right(u a, uint32_t n) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128((int)n)); }
OP m same(u a, u b) { return _mm256_cmpeq_epi32(a, b); }
OP m differ(u a, u b) { return _mm256_xor_si256(same(a, b), _mm256_set1_epi32(-1)); }
OP m above(u a, u b) { return _mm256_cmpgt_epi32(a, b); }
OP m greater(f a, f b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
OP m less(f a, f b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
OP m is_nan(f a) { return _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
OP f absolute(f x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
OP m not_finite(f a) { return _mm256_castps_si256(_mm256_cmp_ps(absolute(a), _mm256_set1_ps(3.402823466e+38f), _CMP_NLE_UQ)); }
OP m and_(m a, m b) { return _mm256_and_si256(a, b); }
OP m or_(m a, m b) { return _mm256_or_si256(a, b); }
OP m but(m a, m b) { return _mm256_andnot_si256(b, a); }
OP int any(m a) { return !_mm256_testz_si256(a, a); }
OP uint32_t how_many(m a) { return (uint32_t)__builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(a))); }
OP f choose(m c, f a, f b) { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(c)); }
OP u choose_bits(m c, u a, u b) { return _mm256_blendv_epi8(b, a, c); }
OP u set_bits(u x, m c, uint32_t bits) { return _mm256_or_si256(x, _mm256_and_si256(c, _mm256_set1_epi32((int)bits))); }
OP u integer(f x) { return _mm256_cvttps_epi32(x); }
OP uint64_t changed_bytes(const uint8_t *p)
{
    uint64_t found = 0;
    for (int i = 0; i < 2; i++) {
        const u now = load_bits((const void *)(p + 32 * i)), before = load_bits((const void *)(p + 32 * i - 1));
        found |= (uint64_t)(uint32_t)~_mm256_movemask_epi8(_mm256_cmpeq_epi8(now, before)) << 32 * i;
    }
    return found;
}
OP uint64_t changed_words(const uint32_t *p)
{
    uint64_t found = 0;
    for (int i = 0; i < 8; i++) {
        const m other = differ(load_bits(p + 8 * i), load_bits(p + 8 * i - 1));
        found |= (uint64_t)_mm256_movemask_ps(_mm256_castsi256_ps(other)) << 8 * i;
    }
    return found;
}

#else
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#define LANES 1
typedef float f;
typedef uint32_t u;
typedef int m;
#define OP static inline
OP f load(const float *p) { return *p; }
OP u load_bits(const uint32_t *p) { return *p; }
OP u load_words(const uint16_t *p) { return *p; }
OP u load_bytes(const uint8_t *p) { return *p; }
OP void store(float *p, f x) { *p = x; }
OP void store_bits(uint32_t *p, u x) { *p = x; }
OP void store_bytes(uint8_t *p, u x) { *p = (uint8_t)x; }
OP void stream(float *p, f x) { *p = x; }
OP void stream_bits(uint32_t *p, u x) { *p = x; }
OP void stream_bytes(uint8_t *p, u x) { *p = (uint8_t)x; }
OP u every(uint32_t x) { return x; }
OP f everyf(float x) { return x; }
OP f number(u x) { return (float)(int32_t)x; }
OP f minus(f a, f b) { return a - b; }
OP f plus(f a, f b) { return a + b; }
OP u add(u a, u b) { return a + b; }
OP f times(f a, f b) { return a * b; }
OP u both(u a, u b) { return a & b; }
OP u either(u a, u b) { return a | b; }
OP u right(u a, uint32_t n) { return a >> n; }
OP m same(u a, u b) { return a == b; }
OP m differ(u a, u b) { return a != b; }
OP m above(u a, u b) { return a > b; }
OP m greater(f a, f b) { return a > b; }
OP m less(f a, f b) { return a < b; }
OP m is_nan(f a) { return a != a; }
OP f absolute(f x) { return fabsf(x); }
OP m not_finite(f a) { return !(fabsf(a) <= 3.402823466e+38f); }
OP m and_(m a, m b) { return a & b; }
OP m or_(m a, m b) { return a | b; }
OP m but(m a, m b) { return a & !b; }
OP int any(m a) { return a; }
OP uint32_t how_many(m a) { return (uint32_t)a; }
OP f choose(m c, f a, f b) { return c ? a : b; }
OP u choose_bits(m c, u a, u b) { return c ? a : b; }
OP u set_bits(u x, m c, uint32_t bits) { return c ? x | bits : x; }
OP u integer(f x) { return (uint32_t)(int32_t)x; }
OP uint64_t changed_bytes(const uint8_t *p)
{
    uint64_t found = 0;
    for (int i = 0; i < 64; i++) found |= (uint64_t)(p[i] != p[i - 1]) << i;
    return found;
}
OP uint64_t changed_words(const uint32_t *p)
{
    uint64_t found = 0;
    for (int i = 0; i < 64; i++) found |= (uint64_t)(p[i] != p[i - 1]) << i;
    return found;
}
#endif

/* NaN has one bit pattern here, whatever produced it. */
OP f settled(f x) { return choose(is_nan(x), everyf(__builtin_nanf("")), x); }

#endif
