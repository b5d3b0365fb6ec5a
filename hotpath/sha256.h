/* SHA-256 (FIPS 180-4), one 64-byte block after another, with the processor's own instructions
   where it has them. A signature's input is two or three blocks long, so a call into a library
   would cost more than the hashing. */

#include <stdint.h>
#include <string.h>

static const uint32_t SHA256_START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint32_t SHA256_ROUNDS[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t sha256_turn(uint32_t word, int right)
{
    return word >> right | word << (32 - right);
}

static void sha256_block_plain(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], one, two;
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    int i;
    for (i = 0; i < 16; i++)
        w[i] = (uint32_t) block[4 * i] << 24 | (uint32_t) block[4 * i + 1] << 16
             | (uint32_t) block[4 * i + 2] << 8 | block[4 * i + 3];
    for (i = 16; i < 64; i++) {
        one = sha256_turn(w[i - 15], 7) ^ sha256_turn(w[i - 15], 18) ^ w[i - 15] >> 3;
        two = sha256_turn(w[i - 2], 17) ^ sha256_turn(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + one + w[i - 7] + two;
    }
    for (i = 0; i < 64; i++) {
        one = h + (sha256_turn(e, 6) ^ sha256_turn(e, 11) ^ sha256_turn(e, 25))
            + ((e & f) ^ (~e & g)) + SHA256_ROUNDS[i] + w[i];
        two = (sha256_turn(a, 2) ^ sha256_turn(a, 13) ^ sha256_turn(a, 22))
            + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + one;
        d = c, c = b, b = a, a = one + two;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

/* The instructions want the eight words as (a, b, e, f) and (c, d, g, h), and do two rounds each. */
__attribute__((target("sha,sse4.1,ssse3")))
static void sha256_block_native(uint32_t state[8], const uint8_t *block)
{
    const __m128i swapped = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *) state), 0xB1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *) (state + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xF0);
    __m128i abef_before = abef, cdgh_before = cdgh, w[4], sum, next;
    int i;
    for (i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *) (block + 16 * i)), swapped);
    for (i = 0; i < 16; i++) {
        sum = _mm_add_epi32(w[0], _mm_load_si128((const __m128i *) (SHA256_ROUNDS + 4 * i)));
        next = _mm_add_epi32(_mm_sha256msg1_epu32(w[0], w[1]), _mm_alignr_epi8(w[3], w[2], 4));
        next = _mm_sha256msg2_epu32(next, w[3]);
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
        w[0] = w[1], w[1] = w[2], w[2] = w[3], w[3] = next;
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
    low = _mm_shuffle_epi32(abef, 0x1B);
    high = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *) state, _mm_blend_epi16(low, high, 0xF0));
    _mm_storeu_si128((__m128i *) (state + 4), _mm_alignr_epi8(high, low, 8));
}

static int sha256_is_native(void)
{
    unsigned int a, b = 0, c, d;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.1") || !__builtin_cpu_supports("ssse3"))
        return 0;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    return b >> 29 & 1;
}
#else
#define sha256_block_native sha256_block_plain
static int sha256_is_native(void) { return 0; }
#endif

static int sha256_native = 0;

static void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    for (; count > 0; count--, blocks += 64)
        if (sha256_native)
            sha256_block_native(state, blocks);
        else
            sha256_block_plain(state, blocks);
}

/* Hash the rest of a message of which `before` bytes, whole blocks, are in the state already. */
static void sha256_finish(
    uint32_t state[8], const uint8_t *text, size_t size, uint64_t before, uint8_t digest[32])
{
    uint8_t last[128] = {0};
    size_t whole = size / 64, rest = size % 64, end = rest < 56 ? 64 : 128;
    uint64_t bits = (before + size) * 8;
    int i;
    sha256_blocks(state, text, whole);
    memcpy(last, text + 64 * whole, rest);
    last[rest] = 0x80;
    for (i = 0; i < 8; i++)
        last[end - 1 - i] = (uint8_t) (bits >> 8 * i);
    sha256_blocks(state, last, end / 64);
    for (i = 0; i < 32; i++)
        digest[i] = (uint8_t) (state[i / 4] >> (24 - 8 * (i % 4)));
}
