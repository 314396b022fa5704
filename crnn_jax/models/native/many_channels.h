// Convolution of many channels by Winograd's F(2x2, 3x3): the formulas of window_conv.py.
//
// A block of windows goes through all formulas while it is in the cache of a core. So the
// transformed pixels and the products never reach the memory.
#pragma once

#include <algorithm>
#include <vector>

#include "windows.h"

namespace {

// u [16, C, D] = G w G', for w [3, 3, C, D]; size is C D.
void transform_kernel(const float* w, float* u, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) {
    Vec half[4][3];  // G w
#pragma GCC unroll 4
    for (int s = 0; s < 3; ++s) {
      const Vec a = load(w + s * size + i), b = load(w + (3 + s) * size + i);
      const Vec c = load(w + (6 + s) * size + i);
      half[0][s] = a, half[3][s] = c;
      half[1][s] = 0.5f * (a + b + c), half[2][s] = 0.5f * (a - b + c);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const Vec a = half[r][0], b = half[r][1], c = half[r][2];
      float* to = u + 4 * r * size + i;
      store(to, a), store(to + size, 0.5f * (a + b + c));
      store(to + 2 * size, 0.5f * (a - b + c)), store(to + 3 * size, c);
    }
  }
}

// dw [3, 3, C, D] += G' du G, for du [16, C, D].
void add_kernel_gradient(const float* du, float* dw, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) {
    Vec half[3][4];  // G' du
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      const Vec a = load(du + s * size + i), b = load(du + (4 + s) * size + i);
      const Vec c = load(du + (8 + s) * size + i), d = load(du + (12 + s) * size + i);
      half[0][s] = a + 0.5f * (b + c), half[1][s] = 0.5f * (b - c);
      half[2][s] = 0.5f * (b + c) + d;
    }
#pragma GCC unroll 4
    for (int r = 0; r < 3; ++r) {
      const Vec a = half[r][0], b = half[r][1], c = half[r][2], d = half[r][3];
      float* to = dw + 3 * r * size + i;
      add(to, a + 0.5f * (b + c)), add(to + size, 0.5f * (b - c));
      add(to + 2 * size, 0.5f * (b + c) + d);
    }
  }
}

// Returns [16, D, C] for u [16, C, D].
std::vector<float> transposed(const float* u, int64_t in, int64_t out) {
  std::vector<float> result(16 * in * out);
  for (int64_t p = 0; p < 16; ++p)
    for (int64_t c = 0; c < in; ++c)
      for (int64_t d = 0; d < out; ++d)
        result[(p * out + d) * in + c] = u[(p * in + c) * out + d];
  return result;
}

// v = B' d B of a window; its 16 places are `next` apart.
inline void transform_pixels(const Window& window, const float* x, float* v, ptrdiff_t next) {
  const float* pixels[16];
  window.find_pixels(x, pixels);
  for (int64_t i = 0; i < window.shape.in; i += kLanes) {
    Vec half[4][4];  // B' d
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      Vec d[4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) d[r] = pixels[4 * r + c] ? load(pixels[4 * r + c] + i) : Vec{};
      half[0][c] = d[0] - d[2], half[1][c] = d[1] + d[2];
      half[2][c] = d[2] - d[1], half[3][c] = d[3] - d[1];
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const Vec(&d)[4] = half[r];
      float* to = v + 4 * r * next + i;
      store(to, d[0] - d[2]), store(to + next, d[1] + d[2]);
      store(to + 2 * next, d[2] - d[1]), store(to + 3 * next, d[3] - d[1]);
    }
  }
}

// Adds B dv B' of a window to the pixels that it sees.
inline void add_pixel_gradient(const Window& window, const float* dv, float* dx, ptrdiff_t next) {
  float* pixels[16];
  window.find_pixels(dx, pixels);
  for (int64_t i = 0; i < window.shape.in; i += kLanes) {
    Vec half[4][4];  // B dv
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      Vec d[4];
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) d[r] = load(dv + (4 * r + c) * next + i);
      half[0][c] = d[0], half[1][c] = d[1] - d[2] - d[3];
      half[2][c] = d[1] + d[2] - d[0], half[3][c] = d[3];
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const Vec(&d)[4] = half[r];
      const Vec sums[4] = {d[0], d[1] - d[2] - d[3], d[1] + d[2] - d[0], d[3]};
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c)
        if (float* pixel = pixels[4 * r + c]) add(pixel + i, sums[c]);
    }
  }
}

// y = A' m A: the outputs of a window at one channel.
inline void find_outputs(const float* m, ptrdiff_t next, Vec (&y)[4]) {
  Vec half[2][4];  // A' m
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    Vec d[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) d[r] = load(m + (4 * r + c) * next);
    half[0][c] = d[0] + d[1] + d[2], half[1][c] = d[1] - d[2] + d[3];
  }
#pragma GCC unroll 4
  for (int p = 0; p < 2; ++p) {
    const Vec(&d)[4] = half[p];
    y[2 * p] = d[0] + d[1] + d[2], y[2 * p + 1] = d[1] - d[2] + d[3];
  }
}

// dm = A dy A' of a window at one channel.
inline void transform_output_gradient(const Vec (&dy)[4], float* dm, ptrdiff_t next) {
  Vec half[4][2];  // A dy
#pragma GCC unroll 4
  for (int q = 0; q < 2; ++q) {
    const Vec a = dy[q], b = dy[2 + q];
    half[0][q] = a, half[1][q] = a + b, half[2][q] = a - b, half[3][q] = b;
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
    const Vec a = half[r][0], b = half[r][1];
    float* to = dm + 4 * r * next;
    store(to, a), store(to + next, a + b), store(to + 2 * next, a - b), store(to + 3 * next, b);
  }
}

// The transformed pixels v [16, most, C] and the products m [16, most, D] of a block of windows.
struct Block {
  int64_t most;  // a multiple of kRows
  std::vector<float> v, m;

  Block(const Shape& s, int64_t windows)
      : most(std::max<int64_t>(windows / kRows, 24 / kRows) * kRows),
        v(16 * most * s.in),
        m(16 * most * s.out) {}
};

// Computes the outputs of windows `begin` to `end` of an image; u is the transformed kernel.
template <class Output>
void convolve_many(const Shape& s, const float* x, const float* u, int64_t image, int64_t begin,
                   int64_t end, const Output& output) {
  Block block(s, (int64_t{256} << 10) / (16 * 4 * (s.in + s.out)));  // 256 KiB
  const int64_t most = block.most;
  for (int64_t first = begin; first < end; first += most) {
    const int64_t count = std::min(most, end - first);
    for (int64_t t = 0; t < count; ++t)
      transform_pixels({s, image, first + t}, x, &block.v[t * s.in], most * s.in);
    for (int64_t p = 0; p < 16; ++p)
      multiply<false>({&block.v[p * most * s.in], s.in, 1}, u + p * s.in * s.out,
                      &block.m[p * most * s.out], count, s.out, s.in);
    for (int64_t t = 0; t < count; ++t)
      for (int64_t i = 0; i < s.out; i += kLanes) {
        Vec y[4];
        find_outputs(&block.m[t * s.out + i], most * s.out, y);
        output(Window{s, image, first + t}, i, y);
      }
  }
}

// Adds the gradients for an image to dx, du [16, C, D] and dbias [D]; ut is [16, D, C].
template <class Gradient>
void differentiate_many(const Shape& s, const float* x, const float* ut, int64_t image,
                        const Gradient& gradient, float* dx, float* du, float* dbias) {
  // The larger du, the more windows should share the work of moving it through the cache.
  Block block(s, std::min<int64_t>(96, s.in * s.out / 256));
  const int64_t most = block.most, size = s.in * s.out;
  for (int64_t first = 0; first < s.windows(); first += most) {
    const int64_t count = std::min(most, s.windows() - first);
    for (int64_t t = 0; t < count; ++t) {
      const Window window{s, image, first + t};
      transform_pixels(window, x, &block.v[t * s.in], most * s.in);
      for (int64_t i = 0; i < s.out; i += kLanes) {
        Vec dy[4];
        gradient(window, i, dy);
        add(dbias + i, (dy[0] + dy[1]) + (dy[2] + dy[3]));
        transform_output_gradient(dy, &block.m[t * s.out + i], most * s.out);
      }
    }
    for (int64_t p = 0; p < 16; ++p) {
      float* v = &block.v[p * most * s.in];
      const float* dm = &block.m[p * most * s.out];
      multiply<true>({v, 1, s.in}, dm, du + p * size, s.in, s.out, count);
      multiply<false>({dm, s.out, 1}, ut + p * size, v, count, s.in, s.out);  // v is now dv
    }
    for (int64_t t = 0; t < count; ++t)
      add_pixel_gradient({s, image, first + t}, &block.v[t * s.in], dx, most * s.in);
  }
}

}  // namespace
