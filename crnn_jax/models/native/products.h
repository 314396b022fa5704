// Vectors of floats, and matrix products of rows of them. For a compiler like GCC or Clang.
#pragma once

#include <cstddef>
#include <cstdint>

// Without a name, so that each library has its own functions.
namespace {

// The registers of a processor hold kRows x kVectors sums and a row of kVectors factors, except on
// x86 without AVX.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12, kVectors = 2;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6, kVectors = 2;
#else
constexpr int kLanes = 4, kRows = 6, kVectors = 4;
#endif
constexpr int kStep = kLanes * kVectors;  // columns that are computed together

typedef float Vec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t Mask __attribute__((vector_size(4 * kLanes)));  // -1 for true, 0 for false
typedef uint8_t Bytes __attribute__((vector_size(kLanes), aligned(1), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline void add(float* p, Vec v) { store(p, load(p) + v); }

// A matrix whose element (i, j) is data[i * row + j * column].
struct Matrix {
  const float* data;
  ptrdiff_t row, column;

  Matrix from_row(ptrdiff_t i) const { return {data + i * row, row, column}; }
};

// c [M, kStep] (+)= a [M, depth] b [depth, kStep]. The rows of b and c are `width` apart.
template <int M, bool kAdd>
inline void multiply_block(Matrix a, const float* b, float* c, ptrdiff_t width, ptrdiff_t depth) {
  Vec sums[M][kVectors];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int n = 0; n < kVectors; ++n)
      sums[m][n] = kAdd ? load(c + m * width + n * kLanes) : Vec{};
  for (ptrdiff_t k = 0; k < depth; ++k) {
    Vec right[kVectors];
#pragma GCC unroll 16
    for (int n = 0; n < kVectors; ++n) right[n] = load(b + k * width + n * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const float left = a.data[m * a.row + k * a.column];
#pragma GCC unroll 16
      for (int n = 0; n < kVectors; ++n) sums[m][n] += left * right[n];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 16
    for (int n = 0; n < kVectors; ++n) store(c + m * width + n * kLanes, sums[m][n]);
}

// c [rows, width] (+)= a [rows, depth] b [depth, width], where width is a multiple of kStep.
template <bool kAdd, int M = kRows>
void multiply(Matrix a, const float* b, float* c, ptrdiff_t rows, ptrdiff_t width,
              ptrdiff_t depth) {
  const ptrdiff_t whole = rows / M * M;
  for (ptrdiff_t n = 0; n < width; n += kStep)
    for (ptrdiff_t m = 0; m < whole; m += M)
      multiply_block<M, kAdd>(a.from_row(m), b + n, c + m * width + n, width, depth);
  if constexpr (M > 1) {
    constexpr int kFewer = M > 2 ? M - 2 : 1;
    if (whole < rows)
      multiply<kAdd, kFewer>(a.from_row(whole), b, c + whole * width, rows - whole, width, depth);
  }
}

}  // namespace
