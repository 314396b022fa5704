// The functions that XLA calls, by the C interface of its foreign functions.
//
// Floats are f32. x is [B, W, H, C], kernel [3, 3, C, D], bias [D]; winners are u8. The attribute
// `devices` is the number of devices that share the threads of the process.

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>

#include "few_channels.h"
#include "many_channels.h"
#include "xla/ffi/api/c_api.h"

namespace {

// With fewer input channels, the transforms cost more than they save.
constexpr int64_t kFew = 4;

// The arguments of a call.
class Call {
 public:
  explicit Call(XLA_FFI_CallFrame* frame) : frame_(frame) {}

  const XLA_FFI_Buffer& argument(int i) const {
    return *static_cast<XLA_FFI_Buffer*>(frame_->args.args[i]);
  }
  const float* floats(int i) const { return static_cast<const float*>(argument(i).data); }
  const uint8_t* bytes(int i) const { return static_cast<const uint8_t*>(argument(i).data); }
  void* result(int i) const { return static_cast<XLA_FFI_Buffer*>(frame_->rets.rets[i])->data; }
  float* float_result(int i) const { return static_cast<float*>(result(i)); }

  Shape shape() const {
    const int64_t* x = argument(0).dims;
    return {x[0], x[1], x[2], x[3], argument(1).dims[3]};
  }

  // The number of threads that this call may use.
  int64_t threads() const {
    XLA_FFI_ThreadPool_NumThreads_Args args{};
    args.struct_size = XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE;
    args.ctx = frame_->ctx;
    int64_t count = 1;
    args.num_threads = &count;
    if (XLA_FFI_Error* error = frame_->api->XLA_FFI_ThreadPool_NumThreads(&args)) {
      discard(error);  // no pool
      return 1;
    }
    const auto* devices = static_cast<const XLA_FFI_Scalar*>(frame_->attrs.attrs[0]);
    return std::max<int64_t>(1, count / *static_cast<const int64_t*>(devices->value));
  }

  // Calls work(i) for each i below `count`, on this thread and on those of the pool that are free.
  void in_parallel(int64_t count, std::function<void(int64_t)> work) const {
    auto state = std::make_shared<State>(count, std::move(work));
    for (int64_t helpers = std::min(threads(), count) - 1; helpers > 0; --helpers) {
      auto* shared = new (std::nothrow) std::shared_ptr<State>(state);
      if (shared == nullptr) break;  // an exception here would not wait for those that have begun
      XLA_FFI_ThreadPool_Schedule_Args args{};
      args.struct_size = XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE;
      args.ctx = frame_->ctx;
      args.task = [](void* data) {
        std::unique_ptr<std::shared_ptr<State>> task(static_cast<std::shared_ptr<State>*>(data));
        (*task)->run();
      };
      args.data = shared;
      if (XLA_FFI_Error* error = frame_->api->XLA_FFI_ThreadPool_Schedule(&args)) {
        discard(error);
        delete shared;  // this thread does all the work
      }
    }
    state->run();
    state->wait();
  }

 private:
  // Work that threads share. A thread that starts late finds nothing to do, so nobody waits for it.
  struct State {
    const int64_t count;
    const std::function<void(int64_t)> work;
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable is_done;
    int64_t done = 0;
    std::exception_ptr error;

    State(int64_t count, std::function<void(int64_t)> work) : count(count), work(std::move(work)) {}

    void run() {
      for (int64_t i = next++; i < count; i = next++) {
        std::exception_ptr raised;
        try {
          work(i);
        } catch (...) {
          raised = std::current_exception();
        }
        std::lock_guard<std::mutex> lock(mutex);
        if (raised) error = raised;
        if (++done == count) is_done.notify_all();
      }
    }

    void wait() {
      std::unique_lock<std::mutex> lock(mutex);
      is_done.wait(lock, [this] { return done == count; });
      if (error) std::rethrow_exception(error);
    }
  };

  void discard(XLA_FFI_Error* error) const {
    XLA_FFI_Error_Destroy_Args args{};
    args.struct_size = XLA_FFI_Error_Destroy_Args_STRUCT_SIZE;
    args.error = error;
    frame_->api->XLA_FFI_Error_Destroy(&args);
  }

  XLA_FFI_CallFrame* frame_;
};

// Calls function(C) with the number of channels of gray or color as a constant.
template <class Function>
void with_channels(int64_t channels, const Function& function) {
  if (channels == 1) function(std::integral_constant<int, 1>());
  if (channels == 3) function(std::integral_constant<int, 3>());
}

template <class Output>
void convolve(const Call& call, const Output& output) {
  const Shape s = call.shape();
  const float *x = call.floats(0), *kernel = call.floats(1);
  const bool is_few = s.in < kFew;
  std::vector<float> u(is_few ? 0 : 16 * s.in * s.out);
  if (!is_few) transform_kernel(kernel, u.data(), s.in * s.out);
  // With fewer images than threads, these share the windows of an image.
  const int64_t parts = std::max<int64_t>(1, call.threads() / std::max<int64_t>(1, s.batch));
  call.in_parallel(s.batch * parts, [&](int64_t i) {
    const int64_t begin = s.windows() * (i % parts) / parts;
    const int64_t end = s.windows() * (i % parts + 1) / parts;
    if (!is_few) return convolve_many(s, x, u.data(), i / parts, begin, end, output);
    with_channels(s.in, [&](auto channels) {
      convolve_few<channels>(s, x, kernel, i / parts, begin, end, output);
    });
  });
}

// Results: dkernel, dbias, and dx if there are many channels.
template <class Gradient>
void differentiate(const Call& call, const Gradient& gradient) {
  const Shape s = call.shape();
  const float *x = call.floats(0), *kernel = call.floats(1);
  float *dkernel = call.float_result(0), *dbias = call.float_result(1);
  const bool is_few = s.in < kFew;
  const int64_t size = s.in * s.out, sums_size = (is_few ? 9 : 16) * size;
  std::vector<float> u, ut;
  if (!is_few) {
    u.resize(16 * size);
    transform_kernel(kernel, u.data(), size);
    ut = transposed(u.data(), s.in, s.out);
  }
  // Each part has sums of its own, which are added in order. So the result does not depend on time.
  const int64_t most = (int64_t{256} << 20) / (sizeof(float) * (sums_size + s.out));  // 256 MiB
  const int64_t parts = std::max<int64_t>(1, std::min({call.threads(), s.batch, most}));
  std::vector<float> sums(parts * (sums_size + s.out));
  call.in_parallel(parts, [&](int64_t part) {
    float* own = &sums[part * (sums_size + s.out)];
    for (int64_t i = s.batch * part / parts; i < s.batch * (part + 1) / parts; ++i)
      if (is_few) {
        with_channels(s.in, [&](auto channels) {
          differentiate_few<channels>(s, x, i, gradient, own, own + sums_size);
        });
      } else {
        float* dx = call.float_result(2);
        std::memset(dx + i * s.pixels() * s.in, 0, sizeof(float) * s.pixels() * s.in);
        differentiate_many(s, x, ut.data(), i, gradient, dx, own, own + sums_size);
      }
  });
  std::memset(dkernel, 0, sizeof(float) * 9 * size);
  std::memset(dbias, 0, sizeof(float) * s.out);
  for (int64_t part = 0; part < parts; ++part) {
    const float* own = &sums[part * (sums_size + s.out)];
    if (is_few)
      for (int64_t i = 0; i < 9 * size; i += kLanes) add(dkernel + i, load(own + i));
    else
      add_kernel_gradient(own, dkernel, size);
    for (int64_t i = 0; i < s.out; i += kLanes) add(dbias + i, load(own + sums_size + i));
  }
}

void pooled(const Call& call) {
  convolve(call, Pooled{call.float_result(0), nullptr, call.floats(2)});
}

void pooled_and_winner(const Call& call) {
  auto* winner = static_cast<uint8_t*>(call.result(1));
  convolve(call, Pooled{call.float_result(0), winner, call.floats(2)});
}

void pooled_gradient(const Call& call) {
  differentiate(call, PooledGradient{call.floats(3), call.bytes(2)});
}

void whole(const Call& call) { convolve(call, Whole{call.float_result(0)}); }

void whole_gradient(const Call& call) { differentiate(call, WholeGradient{call.floats(2)}); }

// Answers XLA's question for the version, or runs a function.
XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame, void (*function)(const Call&)) {
  const XLA_FFI_Extension_Base* extension = frame->extension_start;
  if (extension != nullptr && extension->type == XLA_FFI_Extension_Metadata) {
    auto* found = reinterpret_cast<const XLA_FFI_Metadata_Extension*>(extension);
    found->metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    found->metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    found->metadata->traits = 0;
    return nullptr;
  }
  try {
    function(Call(frame));
    return nullptr;
  } catch (const std::exception& error) {
    XLA_FFI_Error_Create_Args args{};
    args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
    args.message = error.what();
    args.errc = XLA_FFI_Error_Code_RESOURCE_EXHAUSTED;  // memory is all that can be missing
    return frame->api->XLA_FFI_Error_Create(&args);
  }
}

}  // namespace

#define CRNN_JAX_HANDLER(name) \
  extern "C" XLA_FFI_Error* crnn_jax_##name(XLA_FFI_CallFrame* f) { return handle(f, name); }

CRNN_JAX_HANDLER(pooled)
CRNN_JAX_HANDLER(pooled_and_winner)
CRNN_JAX_HANDLER(pooled_gradient)
CRNN_JAX_HANDLER(whole)
CRNN_JAX_HANDLER(whole_gradient)

// D is a multiple of it, and so is C unless it is 1 or 3.
extern "C" int crnn_jax_columns() { return kStep; }
