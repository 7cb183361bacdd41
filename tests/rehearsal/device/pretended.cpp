// A pretended CUDA device for a CPU build of torch: tensors carry the device cuda:N, their memory is the host's, and every
// operation runs on the processor's kernels. Modelled is what differs from a processor in meaning: separate memory, waits
// of the host, streams and events (by vector clocks), graphs, and private pools. See README.md beside this.
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <utility>

#include "graphs.h"

namespace pretended {

struct Hooks : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(DeviceIndex device = -1) const override { return default_generator(device); }
  at::Generator getNewGenerator(DeviceIndex device = -1) const override {
    return at::make_generator<Generator>(device < 0 ? pretended::current_device : device);
  }
  at::Device getDeviceFromPtr(void*) const override {
    return c10::Device(c10::DeviceType::CUDA, pretended::current_device);
  }
  bool isPinnedPtr(const void* address) const override { return is_pinned(address); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  at::Allocator* getCUDADeviceAllocator() const override { return &device_allocator; }
  DeviceIndex current_device() const override { return pretended::current_device; }
  int getNumGPUs() const override { return device_count; }
  DeviceIndex deviceCount() const override { return device_count; }
  void setCurrentDevice(DeviceIndex device) const override { pretended::current_device = device; }
  DeviceIndex getCurrentDevice() const override { return pretended::current_device; }
  DeviceIndex exchangeDevice(DeviceIndex device) const override { return std::exchange(pretended::current_device, device); }
  DeviceIndex maybeExchangeDevice(DeviceIndex device) const override {
    return std::exchange(pretended::current_device, device);
  }
  void deviceSynchronize(DeviceIndex device) const override { wait_for_device(device); }
  std::string showConfig() const override { return "  - CUDA, pretended\n"; }
};

struct Event {
  Clock clock;
  StreamKey stream;
  Graph* graph = nullptr;
};

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Device whole(c10::Device device) {
    return c10::Device(c10::DeviceType::CUDA, device.index() < 0 ? current_device : device.index());
  }
  static StreamKey key_of(const c10::Stream& stream) { return {whole(stream.device()).index(), stream.id()}; }
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
  c10::Device exchangeDevice(c10::Device device) const override {
    c10::Device before(type(), current_device);
    setDevice(device);
    return before;
  }
  c10::Device getDevice() const override { return c10::Device(type(), current_device); }
  void setDevice(c10::Device device) const override {
    if (device.index() >= 0) current_device = device.index();
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    if (device.index() >= 0) current_device = device.index();
  }
  c10::Stream getStream(c10::Device device) const override {
    device = whole(device);
    return c10::Stream(c10::Stream::UNSAFE, device, stream_of(device.index()));
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::UNSAFE, whole(device), 0);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    auto device = whole(stream.device());
    auto before = getStream(device);
    current_stream[device.index()] = stream.id();
    return before;
  }
  DeviceIndex deviceCount() const noexcept override { return device_count; }
  void destroyEvent(void* event, const DeviceIndex) const noexcept override { delete static_cast<Event*>(event); }
  void record(void** place, const c10::Stream& stream, const DeviceIndex, const c10::EventFlag) const override {
    Lock lock(mutex);
    if (!*place) *place = new Event();
    auto* event = static_cast<Event*>(*place);
    StreamKey key = key_of(stream);
    clocks[key][key]++;
    event->clock = clocks[key];
    event->stream = key;
    event->graph = capture_on(key);
  }
  void block(void* place, const c10::Stream& stream) const override {
    if (!place) return;
    Lock lock(mutex);
    auto* event = static_cast<Event*>(place);
    StreamKey key = key_of(stream);
    Graph* graph = capture_on(key);
    if (event->graph && !graph) {
      report("CAPTURE " + name(key) + " waits for an event of the captured " + name(event->stream));
      TORCH_CHECK(key.second != 0, "CUDA error: operation would make the legacy stream depend on a capturing stream");
      capturing[key] = event->graph;
    } else if (!event->graph && graph && event->stream != key)
      report("CAPTURE the captured " + name(key) + " waits for an event outside of the capture");
    merge(clocks[key], event->clock);
  }
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream& stream) const override { wait_for(key_of(stream)); }
  void synchronizeEvent(void* place) const override {
    if (!place) return;
    Lock lock(mutex);
    merge(host, static_cast<Event*>(place)->clock);
  }
  void synchronizeDevice(const DeviceIndex device) const override { wait_for_device(device); }
  bool isStreamCapturing(const c10::Stream& stream) const override { return capture_on(key_of(stream)) != nullptr; }
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

// ---- what is no kernel of the processor's on other memory -------------------------------------------------------------
c10::Device wanted(std::optional<c10::Device> device) {
  return Guard::whole(device.value_or(c10::Device(c10::DeviceType::CUDA, current_device)));
}

at::Tensor fresh(c10::IntArrayRef size, c10::IntArrayRef stride, caffe2::TypeMeta dtype, int device) {
  TORCH_CHECK(device < device_count, "CUDA error: invalid device ordinal");
  int64_t span = 1;
  bool none = false;
  for (size_t i = 0; i < size.size(); i++) {
    none = none || size[i] == 0;
    span += (size[i] - 1) * stride[i];
  }
  size_t bytes = none ? 0 : span * dtype.itemsize();
  On on(device);
  c10::Storage storage(c10::Storage::use_byte_size_t(), bytes, allocate(bytes), &device_allocator, true);
  auto t = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CUDA), dtype);
  t.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, 0);
  return t;
}

caffe2::TypeMeta type_of(std::optional<at::ScalarType> dtype) {
  return c10::scalarTypeToTypeMeta(dtype.value_or(c10::get_default_dtype_as_scalartype()));
}

at::Tensor empty_memory_format(
    c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device> device, std::optional<bool> pin, std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pin.value_or(false), "Only dense CPU tensors can be pinned");
  std::vector<int64_t> strides(size.size());
  int64_t step = 1;
  for (int i = (int)size.size() - 1; i >= 0; i--) {
    strides[i] = step;
    step *= std::max<int64_t>(size[i], 1);
  }
  if (format == at::MemoryFormat::ChannelsLast) strides = c10::get_channels_last_strides_2d(size);
  return fresh(size, strides, type_of(dtype), wanted(device).index());
}

at::Tensor empty_strided(
    c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<at::Device> device, std::optional<bool>) {
  return fresh(size, stride, type_of(dtype), wanted(device).index());
}

const at::Tensor& resize_(const at::Tensor& self, c10::IntArrayRef size, std::optional<at::MemoryFormat> format) {
  if (self.sizes() == size) return self;
  auto like = empty_memory_format(size, self.scalar_type(), std::nullopt, self.device(), false, format);
  auto* impl = self.unsafeGetTensorImpl();
  if (like.storage().nbytes() + self.storage_offset() * self.itemsize() <= self.storage().nbytes()) {
    impl->set_sizes_and_strides(like.sizes(), like.strides());
    return self;
  }
  size_t kept = std::min(like.storage().nbytes(), self.storage().nbytes());
  if (kept) memcpy(like.storage().mutable_data(), self.storage().data(), kept);
  impl->set_storage_keep_dtype(like.storage());
  impl->set_sizes_and_strides(like.sizes(), like.strides(), 0);
  return self;
}

/// Within the device a launch; else the host waits, unless it asked not to and its memory is pinned.
at::Tensor& copy_(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  static auto handle = c10::Dispatcher::singleton().findSchemaOrThrow("aten::copy_", "");
  if (self.is_same(source)) return self;
  bool to_it = on_device(self), from_it = on_device(source);
  if (to_it && from_it) {
    Stack stack{IValue(self), IValue(source), IValue(non_blocking)};
    run(handle, &stack, self.device() == source.device());
    return self;
  }
  if (self.numel() == 0) return self;
  const at::Tensor& there = to_it ? self : source;
  const at::Tensor& held = to_it ? source : self;
  StreamKey key = here(there.device().index());
  Graph* graph = capture_on(key);
  if (graph) forbidden(graph, "a copy from or to the host");
  bool waiting = !non_blocking || !is_pinned(held.storage().data());
  event(waiting ? "wait" : "asynchronous copy");
  if (!to_it) wait_for(key);  // the values are needed here and now: what is not waited for shows as a race elsewhere
  Map map;
  at::Tensor a = to_host(self, map, false), b = to_host(source, map, false);
  {
    at::AutoDispatchBelowADInplaceOrView below;
    a.copy_(b);
  }
  launch(key, {{base(there), to_it}}, to_it ? "a copy to the device" : "a copy to the host");
  if (waiting) wait_for(key);
  return self;
}

at::Scalar local_scalar(const at::Tensor& self) {
  StreamKey key = here(self.device().index());
  event("wait");
  if (Graph* graph = capture_on(key)) forbidden(graph, "item");
  launch(key, {{base(self), false}}, "item");
  wait_for(key);
  Map map;
  at::AutoDispatchBelowADInplaceOrView below;
  return at::_local_scalar_dense(to_host(self, map, false));
}

at::Tensor& set_storage_offset(
    at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  std::vector<int64_t> steps(stride.begin(), stride.end());
  if (steps.size() != size.size()) {
    steps.assign(size.size(), 1);
    for (int i = (int)size.size() - 2; i >= 0; i--) steps[i] = steps[i + 1] * size[i + 1];
  }
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(source));
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, steps, offset);
  return self;
}
at::Tensor& set_storage(at::Tensor& self, at::Storage source) {
  int64_t count = source.nbytes() / self.itemsize();
  return set_storage_offset(self, std::move(source), 0, {count}, {1});
}
at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  return set_storage_offset(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}
at::Tensor& set_none(at::Tensor& self) { return set_tensor(self, fresh({0}, {1}, self.dtype(), self.device().index())); }

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", TORCH_FN(empty_memory_format));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("resize_", TORCH_FN(resize_));
  library.impl("copy_", TORCH_FN(copy_));
  library.impl("_local_scalar_dense", TORCH_FN(local_scalar));
  library.impl("set_.source_Storage_storage_offset", TORCH_FN(set_storage_offset));
  library.impl("set_.source_Storage", TORCH_FN(set_storage));
  library.impl("set_.source_Tensor", TORCH_FN(set_tensor));
  library.impl("set_", TORCH_FN(set_none));
}

}  // namespace pretended

namespace at {
using PretendedHooks = pretended::Hooks;
C10_REGISTER_TYPED_CLASS(CUDAHooksRegistry, "CUDAHooks", PretendedHooks)
}  // namespace at

PYBIND11_MODULE(pretended_cuda, module) {
  using namespace pretended;
  c10::SetAllocator(c10::DeviceType::CUDA, &device_allocator, 1);
  module.def("device_count", [] { return device_count; });
  module.def("set_device_count", [](int count) { device_count = count; });
  module.def("get_device", [] { return current_device; });
  module.def("set_device", [](int device) {
    TORCH_CHECK(device < device_count, "CUDA error: invalid device ordinal");
    current_device = device;
  });
  module.def("current_stream", [](int device) { return stream_of(device < 0 ? current_device : device); });
  module.def("set_stream", [](int64_t stream, int device) { current_stream[device] = stream; });
  module.def("synchronize", [] { wait_for_device(current_device); });
  module.def("synchronize_stream", [](int device, int64_t stream) { wait_for({device, stream}); });
  module.def("event_new", [] { return (int64_t) new Event(); });
  module.def("event_record", [](int64_t event, int device, int64_t stream) {
    void* place = (void*)event;
    c10::Stream on(c10::Stream::UNSAFE, c10::Device(c10::DeviceType::CUDA, device), stream);
    Guard().record(&place, on, device, c10::EventFlag::PYTORCH_DEFAULT);
  });
  module.def("event_wait", [](int64_t event, int device, int64_t stream) {
    Guard().block((void*)event, c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::DeviceType::CUDA, device), stream));
  });
  module.def("event_synchronize", [](int64_t event) { Guard().synchronizeEvent((void*)event); });
  module.def("is_capturing", [] { return capture_on(here(current_device)) != nullptr; });
  module.def("pool_new", [] {
    Lock lock(mutex);
    return next_pool++;
  });
  module.def("capture_begin", [](int pool) { return (int64_t)capture_begin(pool); });
  module.def("capture_end", [](int64_t graph) { capture_end((Graph*)graph); });
  module.def("replay", [](int64_t graph) {
    py::gil_scoped_release released;
    replay((Graph*)graph);
  });
  module.def("destroy_graph", [](int64_t graph) { destroy_graph((Graph*)graph); });
  module.def("default_generator", [](int device) { return default_generator(device); });
  module.def("memory", [](int device) {
    Lock lock(mutex);
    auto& used = usage[device];
    py::dict found;
    found["current"] = used.current;
    found["peak"] = used.peak;
    found["reserved"] = used.reserved;
    found["reserved_peak"] = used.reserved_peak;
    found["allocations"] = used.allocations;
    return found;
  });
  module.def("reset_peak", [](int device) {
    Lock lock(mutex);
    usage[device].peak = usage[device].current;
    usage[device].reserved_peak = usage[device].reserved;
  });
  module.def("set_limit", [](int device, int64_t bytes) { usage[device].limit = bytes; });
  module.def("counts", [] {
    Lock lock(mutex);
    return counts;
  });
  module.def("without_kernel", [] {
    Lock lock(mutex);
    return without_kernel;
  });
  module.def("reports", [] {
    Lock lock(mutex);
    return reports;
  });
  module.def("clear", [] {
    Lock lock(mutex);
    counts.clear();
    reports.clear();
    pending.clear();
    without_kernel.clear();
  });
  module.def("listen", [](py::object function) {
    delete listener;
    listener = function.is_none() ? nullptr : new py::object(function);
  });
  module.def("know", [](std::set<std::string> scalars, std::set<std::string> kernels, std::set<std::string> all) {
    takes_host_scalars = scalars;
    has_kernel = kernels;
    listed = all;
  });
  module.def("hooks_taken", [] { return at::detail::getCUDAHooks().hasCUDA(); });
}
