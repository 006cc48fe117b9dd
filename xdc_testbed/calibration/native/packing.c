/* Checksum and compression of what lies in the second cache: Adler-32, and deflate for flags.
 *
 * Flags (gain stages, bad-pixel masks) are runs of equal pixels with single pixels between, so the encoder looks for runs
 * only: a pixel as literals, then matches of distance 1 or one pixel. One part of a frame is like the next: a Huffman
 * code is made of the tokens of parts 0, 1, 8, 64, ... and serves until the next is made, with a word for every token.
 * Smaller than a general encoder at its fastest, twice as fast, and the bytes depend on no other library.
 * Sources: RFC 1950 (zlib, Adler-32), RFC 1951 (deflate). */
#include "correction.h"
#include "lanes.h"

#define NAMED(a, b) JOINED(a, b)
#define JOINED(a, b) a##b

#define RARE static __attribute__((noinline)) /* once per block: small rather than fast */

#define BASE 65521u
#define WIDE 64  /* bytes of a row, a vector or two */
#define DEEP 16  /* rows until columns leave 16 bits: sums of DEEP (DEEP + 1) / 2 bytes must fit */
#define MANY 256 /* rows until the sums of sums leave 32 bits */

/* Bytes in rows of WIDE. `plain` adds up columns; `before` adds up `plain` as it was before each row, because a byte
 * counts in the second sum once for every byte after it. */
static uint32_t adler32(uint32_t adler, const uint8_t *p, size_t n)
{
    uint64_t one = adler & 0xFFFF, two = adler >> 16;
    while (n >= WIDE) {
        size_t rows = n / WIDE < MANY ? n / WIDE : MANY;
        const size_t bytes = rows * WIDE;
        uint32_t column[WIDE] = {0}, earlier[WIDE] = {0};
        n -= bytes;
        while (rows) {
            const size_t deep = rows < DEEP ? rows : DEEP;
            uint16_t plain[WIDE] = {0}, before[WIDE] = {0};
            for (size_t r = 0; r < deep; r++, p += WIDE)
                for (int j = 0; j < WIDE; j++) before[j] += plain[j], plain[j] += p[j];
            for (int j = 0; j < WIDE; j++) earlier[j] += before[j] + (uint32_t)deep * column[j], column[j] += plain[j];
            rows -= deep;
        }
        uint64_t sum = 0, weighted = 0;
        for (uint32_t j = 0; j < WIDE; j++) {
            sum += column[j];
            weighted += (uint64_t)earlier[j] * WIDE + (uint64_t)column[j] * (WIDE - j);
        }
        two = (two + one * bytes + weighted) % BASE;
        one = (one + sum) % BASE;
    }
    for (; n; n--) one += *p++, two += one;
    return (uint32_t)(two % BASE) << 16 | (uint32_t)(one % BASE);
}

/* Symbols of literals and lengths, RFC 1951 section 3.2.5. A token is a literal (below 256), or 256 + length, with FAR
 * when its distance is a pixel of four bytes and not one byte. */
#define SYMBOLS 286
#define END 256
#define LONGEST 258
#define FAR 0x8000
#define DEEPEST 15
#define COMMON 64 /* how much more a token that was seen counts than one that was not */

static const uint16_t first_length[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                          31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t more_bits[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};

static uint32_t length_class(uint32_t length)
{
    if (length == LONGEST) return 28;
    if (length < 11) return length - 3;
    const uint32_t top = 31 - (uint32_t)__builtin_clz(length - 3); /* eight lengths share three bits, and so on */
    return 4 * (top - 1) + ((length - 3) >> (top - 2) & 3);
}

struct tokens {
    uint16_t *next;
    struct sums *sums;
};

OP void literal(struct tokens *t, uint32_t byte) { *t->next++ = (uint16_t)byte; }

static void repeat(struct tokens *t, size_t bytes, uint32_t distance, size_t longest)
{
    while (bytes >= 3) {
        const size_t now = bytes < longest ? bytes : longest;
        *t->next++ = (uint16_t)(256 + now) | (uint16_t)distance;
        bytes -= now;
    }
    while (bytes--) literal(t, 0); /* what is left of zeros, or of `longest` + 1 and + 2 equal bytes, see below */
}

OP void run_of_bytes(struct tokens *t, uint32_t value, size_t times)
{
    t->sums->stages[value < 3 ? value : 3] += (int64_t)times;
    literal(t, value);
    size_t rest = times - 1;
    for (; rest % LONGEST < 3 && rest % LONGEST; rest--) literal(t, value);
    repeat(t, rest, 0, LONGEST);
}

OP void run_of_words(struct tokens *t, uint32_t value, size_t times)
{
    if (!value) {
        literal(t, 0);
        repeat(t, 4 * times - 1, 0, LONGEST);
        return;
    }
    for (uint32_t bits = value; bits; bits &= bits - 1) t->sums->reasons[__builtin_ctz(bits)] += (int64_t)times;
    for (int i = 0; i < 4; i++) literal(t, value >> 8 * i & 0xFF);
    repeat(t, 4 * (times - 1), FAR, LONGEST / 4 * 4);
}

/* The first pixel of a block begins a run whatever was before; the byte or word before it must be readable. */
#define RUNS(values, changes, run)                                           \
    do {                                                                     \
        size_t start = 0, i = 0;                                             \
        for (; i + 64 <= n; i += 64)                                         \
            for (uint64_t bits = changes((values) + i); bits; bits &= bits - 1) { \
                const size_t at = i + (size_t)__builtin_ctzll(bits);         \
                if (at > start) run(t, (values)[start], at - start);         \
                start = at;                                                  \
            }                                                                \
        for (; i < n; i++)                                                   \
            if (i && (values)[i] != (values)[i - 1]) run(t, (values)[start], i - start), start = i; \
        if (n > start) run(t, (values)[start], n - start);                   \
    } while (0)

static void byte_runs(struct tokens *t, const uint8_t *values, size_t n) { RUNS(values, changed_bytes, run_of_bytes); }
static void word_runs(struct tokens *t, const uint32_t *values, size_t n) { RUNS(values, changed_words, run_of_words); }

/* Code lengths of the symbols seen: Huffman's, by two queues. Counts are halved until no code is too long. */
RARE void code_lengths(uint32_t *seen, uint8_t *length)
{
    uint16_t symbol[SYMBOLS], parent[2 * SYMBOLS];
    uint32_t weight[2 * SYMBOLS];
    for (;;) {
        int leaves = 0, deepest = 0;
        for (uint16_t s = 0; s < SYMBOLS; s++) {
            length[s] = 0;
            if (!seen[s]) continue;
            int i = leaves++;
            for (; i && seen[symbol[i - 1]] > seen[s]; i--) symbol[i] = symbol[i - 1];
            symbol[i] = s;
        }
        for (int i = 0; i < leaves; i++) weight[i] = seen[symbol[i]];
        if (leaves < 2) __builtin_unreachable(); /* the end of the block, and a literal to begin it */
        int leaf = 0, inner = leaves, nodes = leaves;
        for (; nodes < 2 * leaves - 1; nodes++) {
            weight[nodes] = 0;
            for (int two = 0; two < 2; two++) {
                const int least = leaf < leaves && (inner >= nodes || weight[leaf] <= weight[inner]) ? leaf++ : inner++;
                weight[nodes] += weight[least], parent[least] = (uint16_t)nodes;
            }
        }
        uint8_t depth[2 * SYMBOLS];
        depth[nodes - 1] = 0;
        for (int i = nodes - 2; i >= 0; i--) depth[i] = depth[parent[i]] + 1;
        for (int i = 0; i < leaves; i++) {
            length[symbol[i]] = depth[i];
            if (depth[i] > deepest) deepest = depth[i];
        }
        if (deepest <= DEEPEST) return;
        for (int s = 0; s < SYMBOLS; s++) seen[s] = (seen[s] + 1) / 2;
    }
}

/* Canonical codes, bits in the order in which they are sent. */
RARE void codes(const uint8_t *length, int symbols, uint16_t *code)
{
    uint32_t number[DEEPEST + 1] = {0}, next[DEEPEST + 2] = {0};
    for (int s = 0; s < symbols; s++) number[length[s]] += length[s] > 0;
    for (int bits = 1; bits <= DEEPEST; bits++) next[bits + 1] = (next[bits] + number[bits]) << 1;
    for (int s = 0; s < symbols; s++) {
        if (!length[s]) continue;
        uint32_t word = next[length[s]]++;
        word = (word >> 1 & 0x5555) | (word & 0x5555) << 1;
        word = (word >> 2 & 0x3333) | (word & 0x3333) << 2;
        word = (word >> 4 & 0x0F0F) | (word & 0x0F0F) << 4;
        word = (word >> 8 & 0x00FF) | (word & 0x00FF) << 8;
        code[s] = (uint16_t)(word >> (16 - length[s]));
    }
}

/* At most 56 bits at a time; eight bytes are written, of which those count that are full. */
OP void send(struct packed *out, uint64_t bits, uint32_t number)
{
    out->bits |= bits << out->number;
    out->number += number;
    memcpy(out->next, &out->bits, 8); /* little endian, as the processors are that this is built for */
    out->next += out->number / 8, out->bits >>= out->number & 56, out->number %= 8;
}

/* A fixed code for the code lengths themselves: long runs of symbols that do not occur are two or three of its symbols.
 * Order of its lengths: 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15. */
static const uint8_t header_length[19] = {4, 5, 5, 5, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 0, 3, 2};
static const uint8_t header_order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

RARE void send_header(struct packed *out, const uint8_t *length)
{
    uint16_t code[19];
    codes(header_length, 19, code);
    send(out, 2 << 1, 3);
    send(out, (SYMBOLS - 257) | (4 - 1) << 5 | (19 - 4) << 10, 14);
    for (int i = 0; i < 19; i++) send(out, header_length[header_order[i]], 3);
    for (int s = 0; s < SYMBOLS;) {
        int zeros = 0;
        while (s + zeros < SYMBOLS && zeros < 138 && !length[s + zeros]) zeros++;
        if (zeros >= 11)
            send(out, code[18], header_length[18]), send(out, (uint32_t)zeros - 11, 7);
        else if (zeros >= 3)
            send(out, code[17], header_length[17]), send(out, (uint32_t)zeros - 3, 3);
        else
            zeros = 1, send(out, code[length[s]], header_length[length[s]]);
        s += zeros;
    }
    for (int s = 0; s < 4; s++) send(out, code[s % 3 == 0], header_length[s % 3 == 0]); /* distances 1 and 4: a bit each */
}

static void end_of_block(struct packed *out) { send(out, out->code->bits[END], out->code->number[END]); }

/* Begin a block with a code that is good for these tokens, and has a word for every other. */
RARE void new_code(struct packed *out, const uint16_t *token, const uint16_t *end)
{
    uint32_t seen[TOKENS] = {0}, symbols[SYMBOLS];
    uint8_t length[SYMBOLS];
    uint16_t code[SYMBOLS];
    for (; token < end; token++) seen[*token & (FAR - 1u)]++;
    seen[END] = 1;
    for (uint32_t s = 0; s < SYMBOLS; s++) symbols[s] = s <= END ? COMMON * seen[s] + 1 : 1;
    for (uint32_t i = 3; i <= LONGEST; i++) symbols[257 + length_class(i)] += COMMON * seen[256 + i];
    code_lengths(symbols, length);
    codes(length, SYMBOLS, code);
    if (out->part) end_of_block(out);
    send_header(out, length);
    for (uint32_t i = 0; i <= END; i++) out->code->bits[i] = code[i], out->code->number[i] = length[i];
    for (uint32_t i = 3; i <= LONGEST; i++) {
        const uint32_t class = length_class(i), symbol = 257 + class;
        out->code->bits[256 + i] = code[symbol] | (i - first_length[class]) << length[symbol];
        out->code->number[256 + i] = length[symbol] + more_bits[class] + 1; /* and a bit for the distance */
    }
}

OP uint64_t word_of(const struct code *code, uint32_t token, uint32_t *number)
{
    const uint32_t what = token & (FAR - 1u);
    *number = code->number[what];
    return code->bits[what] | (uint64_t)(token >> 15) << (*number - 1);
}

static void deflate_part(struct packed *out, struct sums *sums, const uint8_t *stage, const uint32_t *mask, size_t n,
                         uint16_t *room, int last)
{
    struct tokens t = {room, sums};
    stage ? byte_runs(&t, stage, n) : word_runs(&t, mask, n);
    if (out->part == out->renewed) {
        new_code(out, room, t.next);
        out->renewed = out->part ? 8 * out->part : 1;
    }
    out->part++;
    struct packed now = *out;
    const uint16_t *token = room;
    uint32_t one, two;
    for (; token + 1 < t.next; token += 2) {
        const uint64_t first = word_of(now.code, token[0], &one), second = word_of(now.code, token[1], &two);
        send(&now, first | second << one, one + two);
    }
    if (token < t.next) {
        const uint64_t word = word_of(now.code, *token, &one);
        send(&now, word, one);
    }
    *out = now;
    out->adler = stage ? adler32(out->adler, stage, n) : adler32(out->adler, (const uint8_t *)mask, 4 * n);
    if (!last) return;
    end_of_block(out);
    send(out, 1 | 1 << 1, 3 + 7); /* an empty last block, as nobody knew of the others that they were the last */
    send(out, 0, (8 - out->number) % 8);
    for (int i = 3; i >= 0; i--) *out->next++ = (uint8_t)(out->adler >> 8 * i);
}

const struct packers NAMED(packers_, SET) = {adler32, deflate_part};
