// The windows of an image: what they see, and what becomes of their four outputs.
#pragma once

#include "products.h"

namespace {

// An image is [W, H, C], its outputs [W, H, D]. Window (a, h) has the outputs (2a + p, 2h + q), for
// p and q of 0 and 1, and sees the 4x4 pixels from (2a - 1, 2h - 1) on.
struct Shape {
  int64_t batch, width, height, in, out;  // B, W, H, C, D

  int64_t down() const { return height / 2; }
  int64_t windows() const { return width / 2 * down(); }
  int64_t pixels() const { return width * height; }
};

// A window of a batch. Windows are numbered along H first.
struct Window {
  const Shape& shape;
  int64_t image, index;

  // The pixels that it sees; nullptr outside of the image.
  template <class T>
  void find_pixels(T* x, T* (&pixels)[16]) const {
    const Shape& s = shape;
    const int64_t left = 2 * (index / s.down()) - 1, top = 2 * (index % s.down()) - 1;
    T* of_image = x + image * s.pixels() * s.in;
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        const int64_t w = left + r, h = top + c;
        const bool is_inside = w >= 0 && w < s.width && h >= 0 && h < s.height;
        pixels[4 * r + c] = is_inside ? of_image + (w * s.height + h) * s.in : nullptr;
      }
  }

  // Where an array [B, W//2, H//2, D] has its values.
  int64_t place() const { return (image * shape.windows() + index) * shape.out; }

  // Where an array [B, W, H, D] has its first output.
  int64_t first_output() const {
    const int64_t w = 2 * (index / shape.down()), h = 2 * (index % shape.down());
    return ((image * shape.width + w) * shape.height + h) * shape.out;
  }
};

// Whether b is the maximum of both; at a tie, it is a. NaN is larger than any number.
inline Mask is_larger(Vec a, Vec b) { return (a < b) | (b != b); }

// Keeps the maximum of a window, after bias and ReLU. The winner is the first output that has the
// maximum, or 4 where ReLU gives 0.
struct Pooled {
  float* y;         // [B, W//2, H//2, D]
  uint8_t* winner;  // of the same shape, or nullptr
  const float* bias;

  void operator()(const Window& window, int64_t channel, const Vec (&outputs)[4]) const {
    const Mask is_second = is_larger(outputs[0], outputs[1]);
    const Mask is_fourth = is_larger(outputs[2], outputs[3]);
    const Vec upper = is_second ? outputs[1] : outputs[0];
    const Vec lower = is_fourth ? outputs[3] : outputs[2];
    const Mask is_lower = is_larger(upper, lower);
    const Vec z = (is_lower ? lower : upper) + load(bias + channel);
    const Mask is_off = z <= Vec{};  // false for NaN, which stays
    const int64_t at = window.place() + channel;
    store(y + at, is_off ? Vec{} : z);
    if (winner == nullptr) return;
    const Mask index = is_off ? Mask{} + 4 : (is_lower ? 2 - is_fourth : -is_second);
    *reinterpret_cast<Bytes*>(winner + at) = __builtin_convertvector(index, Bytes);
  }
};

// Keeps all outputs. W and H are even.
struct Whole {
  float* y;  // [B, W, H, D]

  void operator()(const Window& window, int64_t channel, const Vec (&outputs)[4]) const {
    const Shape& s = window.shape;
    float* at = y + window.first_output() + channel;
    store(at, outputs[0]), store(at + s.out, outputs[1]);
    at += s.height * s.out;
    store(at, outputs[2]), store(at + s.out, outputs[3]);
  }
};

// The gradient of the four outputs, from that of the maximum.
struct PooledGradient {
  const float* g;         // [B, W//2, H//2, D]
  const uint8_t* winner;  // of the same shape

  void operator()(const Window& window, int64_t channel, Vec (&dy)[4]) const {
    const int64_t at = window.place() + channel;
    const Mask index =
        __builtin_convertvector(*reinterpret_cast<const Bytes*>(winner + at), Mask);
    const Vec gradient = load(g + at);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) dy[q] = index == q ? gradient : Vec{};
  }
};

// The gradient of the four outputs. W and H are even.
struct WholeGradient {
  const float* g;  // [B, W, H, D]

  void operator()(const Window& window, int64_t channel, Vec (&dy)[4]) const {
    const Shape& s = window.shape;
    const float* at = g + window.first_output() + channel;
    dy[0] = load(at), dy[1] = load(at + s.out);
    at += s.height * s.out;
    dy[2] = load(at), dy[3] = load(at + s.out);
  }
};

}  // namespace
