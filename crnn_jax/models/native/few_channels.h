// Convolution of few channels, such as those of pixels, by its definition.
#pragma once

#include <algorithm>
#include <vector>

#include "windows.h"

namespace {

// Copies the 4x4 pixels that a window sees to patch [16, C], with zeros outside of the image.
template <int C>
inline void copy_patch(const Window& window, const float* x, float* patch) {
  const float* pixels[16];
  window.find_pixels(x, pixels);
  for (int p = 0; p < 16; ++p)
    for (int c = 0; c < C; ++c) patch[p * C + c] = pixels[p] ? pixels[p][c] : 0.0f;
}

// The pixel that output q of a window multiplies by a tap of the kernel.
constexpr int pixel_of(int q, int tap) { return 4 * (q / 2 + tap / 3) + q % 2 + tap % 3; }

// Computes the outputs of windows `begin` to `end` of an image.
template <int C, class Output>
void convolve_few(const Shape& s, const float* x, const float* kernel, int64_t image,
                  int64_t begin, int64_t end, const Output& output) {
  float patch[16 * C];
  for (int64_t index = begin; index < end; ++index) {
    const Window window{s, image, index};
    copy_patch<C>(window, x, patch);
    for (int64_t d = 0; d < s.out; d += kLanes) {
      Vec y[4] = {};
      for (int c = 0; c < C; ++c)
#pragma GCC unroll 9
        for (int tap = 0; tap < 9; ++tap) {
          const Vec weight = load(kernel + (tap * C + c) * s.out + d);
#pragma GCC unroll 4
          for (int q = 0; q < 4; ++q) y[q] += patch[pixel_of(q, tap) * C + c] * weight;
        }
      output(window, d, y);
    }
  }
}

// Adds the gradients for an image to dkernel [9, C, D] and dbias [D].
template <int C, class Gradient>
void differentiate_few(const Shape& s, const float* x, int64_t image, const Gradient& gradient,
                       float* dkernel, float* dbias) {
  constexpr int64_t kMost = 64;  // windows whose patches are in the cache
  std::vector<float> patches(kMost * 16 * C);
  for (int64_t first = 0; first < s.windows(); first += kMost) {
    const int64_t count = std::min(kMost, s.windows() - first);
    for (int64_t t = 0; t < count; ++t)
      copy_patch<C>({s, image, first + t}, x, &patches[t * 16 * C]);
    for (int64_t d = 0; d < s.out; d += kLanes)
      for (int c = 0; c < C; ++c) {
        Vec sums[9] = {}, total = {};
        for (int64_t t = 0; t < count; ++t) {
          const float* patch = &patches[t * 16 * C + c];
          Vec dy[4];
          gradient(Window{s, image, first + t}, d, dy);
          total += (dy[0] + dy[1]) + (dy[2] + dy[3]);
#pragma GCC unroll 9
          for (int tap = 0; tap < 9; ++tap)
#pragma GCC unroll 4
            for (int q = 0; q < 4; ++q) sums[tap] += patch[pixel_of(q, tap) * C] * dy[q];
        }
        for (int tap = 0; tap < 9; ++tap) add(dkernel + (tap * C + c) * s.out + d, sums[tap]);
        if (c == 0) add(dbias + d, total);
      }
  }
}

}  // namespace
