/* Kernels in AVX, AVX2, FMA and F16C, and one checksum over what they compute: the same on every processor that has them. */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define COUNT 1024

static float singles[COUNT];
static double doubles[COUNT];
static int32_t words[COUNT];
static uint8_t bytes[COUNT];
static uint64_t state = 0x9e3779b97f4a7c15;
static uint64_t checksum = 0xcbf29ce484222325;

static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void add(const void *data, size_t size) {
  const uint8_t *from = data;
  for (size_t i = 0; i < size; i++) checksum = (checksum ^ from[i]) * 0x100000001b3;
}

static void fill(void) {
  for (int i = 0; i < COUNT; i++) {
    words[i] = (int32_t)next();
    bytes[i] = (uint8_t)(next() >> 20);
    singles[i] = (float)(int32_t)next() / 65536.0f;
    doubles[i] = (double)(int64_t)next() / 4294967296.0;
  }
}

static void fused(void) {
  __m256d sums = _mm256_setzero_pd();
  __m256 narrow = _mm256_set1_ps(1.0f);
  for (int i = 0; i + 8 <= COUNT; i += 8) {
    __m256d x = _mm256_loadu_pd(doubles + i), y = _mm256_loadu_pd(doubles + i + 4);
    sums = _mm256_fmadd_pd(x, y, sums);
    sums = _mm256_fnmsub_pd(y, _mm256_set1_pd(1e-3), sums);
    narrow = _mm256_fmsubadd_ps(_mm256_loadu_ps(singles + i), _mm256_set1_ps(0.37f), narrow);
  }
  add(&sums, sizeof sums);
  add(&narrow, sizeof narrow);
}

static void integers(void) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i + 8 <= COUNT; i += 8) {
    __m256i x = _mm256_loadu_si256((const __m256i *)(words + i));
    __m256i shifted = _mm256_sllv_epi32(x, _mm256_and_si256(x, _mm256_set1_epi32(31)));
    __m256i mixed = _mm256_permutevar8x32_epi32(_mm256_mullo_epi32(x, shifted), x);
    sum = _mm256_add_epi64(sum, _mm256_mul_epu32(mixed, _mm256_alignr_epi8(x, mixed, 5)));
    sum = _mm256_xor_si256(sum, _mm256_shuffle_epi8(x, sum));
  }
  add(&sum, sizeof sum);
}

static void memory(void) {
  __m256i sum = _mm256_setzero_si256();
  int32_t kept[8];
  for (int i = 0; i + 8 <= COUNT; i += 8) {
    __m256i index = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(words + i)), _mm256_set1_epi32(COUNT - 1));
    sum = _mm256_add_epi32(sum, _mm256_i32gather_epi32(words, index, 4));
    memset(kept, 0x5a, sizeof kept);
    _mm256_maskstore_epi32(kept, _mm256_loadu_si256((const __m256i *)(words + i)), sum);
    add(kept, sizeof kept);
  }
  add(&sum, sizeof sum);
}

static void halves(void) {
  for (int i = 0; i + 8 <= COUNT; i += 8) {
    __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(singles + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 wide = _mm256_cvtph_ps(half);
    add(&half, sizeof half);
    add(&wide, sizeof wide);
  }
}

/* What compilers make of loops. */
static void loops(void) {
  static float product[COUNT];
  int64_t total = 0;
  for (int i = 0; i < COUNT; i++) total += bytes[i] > 100 ? words[i] : bytes[i];
  for (int i = 0; i < COUNT; i++) product[i] = singles[i] * 1.5f + singles[COUNT - 1 - i];
  add(&total, sizeof total);
  add(product, sizeof product);
}

int main(void) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 2;
  for (int round = 0; round < 200; round++) {
    fill();
    fused();
    integers();
    memory();
    halves();
    loops();
  }
  printf("%016llx\n", (unsigned long long)checksum);
  return 0;
}
