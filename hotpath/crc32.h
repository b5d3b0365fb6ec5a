/* CRC-32 as zlib and PNG count it (ISO 3309), four bytes at a time. A record is a few dozen bytes,
   so a call into a library would cost as much as the counting. */

#include <stddef.h>
#include <stdint.h>

static uint32_t crc32_tables[4][256];

static void crc32_prepare(void)
{
    uint32_t word;
    int i, j;
    for (i = 0; i < 256; i++) {
        word = (uint32_t) i;
        for (j = 0; j < 8; j++)
            word = word >> 1 ^ (word & 1 ? 0xEDB88320u : 0);
        crc32_tables[0][i] = word;
    }
    for (i = 0; i < 256; i++)
        for (j = 1; j < 4; j++) {
            word = crc32_tables[j - 1][i];
            crc32_tables[j][i] = word >> 8 ^ crc32_tables[0][word & 255];
        }
}

/* Goes on from `crc`, which begins as 0. */
static uint32_t crc32_of(uint32_t crc, const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *) text;
    crc = ~crc;
    for (; size >= 4; size -= 4, at += 4) {
        crc ^= (uint32_t) at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16
             | (uint32_t) at[3] << 24;
        crc = crc32_tables[3][crc & 255] ^ crc32_tables[2][crc >> 8 & 255]
            ^ crc32_tables[1][crc >> 16 & 255] ^ crc32_tables[0][crc >> 24];
    }
    for (; size > 0; size--, at++)
        crc = crc >> 8 ^ crc32_tables[0][(crc ^ *at) & 255];
    return ~crc;
}
