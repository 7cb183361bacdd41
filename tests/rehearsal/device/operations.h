// Running an operation of the device on the processor's kernel: views of its memory for the host, checks, and records.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/native/ForeachUtils.h>

#include <thread>

#include "memory.h"

namespace pretended {

struct Generator final : c10::GeneratorImpl {
  at::Generator host = at::detail::createCPUGenerator();
  explicit Generator(DeviceIndex device)
      : GeneratorImpl(c10::Device(c10::DeviceType::CUDA, device), c10::DispatchKeySet(c10::DispatchKey::CUDA)) {}
  void set_current_seed(uint64_t seed) override { host.set_current_seed(seed); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return host.current_seed(); }
  uint64_t seed() override { return host.seed(); }
  void set_state(const c10::TensorImpl& state) override { host.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return host.unsafeGetGeneratorImpl()->get_state(); }
  Generator* clone_impl() const override {
    auto* copy = new Generator(device().index());
    copy->host = host.clone();
    return copy;
  }
};

inline at::Generator& default_generator(DeviceIndex device) {
  static std::map<int, at::Generator> all;
  Lock lock(mutex);
  if (device < 0) device = current_device;
  auto found = all.find(device);
  if (found == all.end()) found = all.emplace(device, at::make_generator<Generator>(device)).first;
  return found->second;
}
inline at::Generator host_generator(const at::Generator& generator) {
  return static_cast<Generator*>(generator.unsafeGetGeneratorImpl())->host;
}

inline bool on_device(const at::Tensor& t) { return t.defined() && t.device().type() == c10::DeviceType::CUDA; }
inline void* base(const at::Tensor& t) { return const_cast<void*>(t.storage().data()); }

/// Storages of the device and what stands for them on the host, during one operation.
struct Map {
  std::map<c10::StorageImpl*, c10::Storage> there, back;
};

inline at::Tensor shaped(c10::Storage storage, const at::Tensor& like, c10::DispatchKey key) {
  auto t = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), like.dtype());
  auto* impl = t.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  if (like.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return t;
}

/// The host's view of a tensor of the device; ``copy``: of a copy of its memory.
inline at::Tensor to_host(const at::Tensor& t, Map& map, bool copy) {
  if (!on_device(t)) return t;
  auto* impl = t.storage().unsafeGetStorageImpl();
  if (t.storage().nbytes() == 0) return at::empty_strided(t.sizes(), t.strides(), t.options().device(at::kCPU));
  auto found = map.there.find(impl);
  if (found == map.there.end()) {
    c10::Storage storage;
    if (copy) {
      auto* allocator = c10::GetAllocator(c10::DeviceType::CPU);
      storage = c10::Storage(c10::Storage::use_byte_size_t(), impl->nbytes(), allocator, true);
      memcpy(storage.mutable_data(), impl->data(), impl->nbytes());
    } else {
      c10::DataPtr pointer(const_cast<void*>(impl->data()), c10::Device(c10::DeviceType::CPU));
      storage = c10::Storage(c10::Storage::use_byte_size_t(), impl->nbytes(), std::move(pointer), nullptr, false);
    }
    map.back.emplace(storage.unsafeGetStorageImpl(), t.storage());
    found = map.there.emplace(impl, std::move(storage)).first;
  }
  return shaped(found->second, t, c10::DispatchKey::CPU);
}

inline at::Tensor to_device(const at::Tensor& t, int device, Map& map) {
  if (!t.defined() || t.device().type() != c10::DeviceType::CPU) return t;
  auto found = map.back.find(t.storage().unsafeGetStorageImpl());
  if (found != map.back.end()) return shaped(found->second, t, c10::DispatchKey::CUDA);
  On on(device);
  size_t bytes = t.storage().nbytes();
  c10::Storage storage(c10::Storage::use_byte_size_t(), bytes, allocate(bytes), &device_allocator, true);
  if (bytes) memcpy(storage.mutable_data(), t.storage().data(), bytes);
  return shaped(std::move(storage), t, c10::DispatchKey::CUDA);
}

template <class F>
IValue mapped(const IValue& value, F f) {
  if (value.isTensor()) return IValue(f(value.toTensor()));
  if (value.isTensorList()) {
    std::vector<at::Tensor> all;
    for (const auto& t : value.toTensorVector()) all.push_back(f(t));
    return IValue(all);
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> all;
    for (const std::optional<at::Tensor>& t : value.toOptionalTensorList())
      all.push_back(t ? std::optional<at::Tensor>(f(*t)) : std::nullopt);
    return IValue(all);
  }
  if (value.isDevice() && value.toDevice().type() == c10::DeviceType::CUDA)
    return IValue(c10::Device(c10::DeviceType::CPU));
  if (value.isGenerator() && value.toGenerator().device().type() == c10::DeviceType::CUDA)
    return IValue(host_generator(value.toGenerator()));
  return value;
}

template <class F>
void each(const IValue& value, F f) {
  if (value.isTensor()) f(value.toTensor());
  if (value.isTensorList())
    for (const auto& t : value.toTensorVector()) f(t);
  if (value.isOptionalTensorList())
    for (const std::optional<at::Tensor>& t : value.toOptionalTensorList())
      if (t) f(*t);
}

/// Operations whose result the host has to know: their size depends on values, or a library reports to the host.
inline const std::set<std::string> WAITS = {
    "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2", "aten::unique_dim",
    "aten::unique_consecutive", "aten::repeat_interleave", "aten::bincount", "aten::_linalg_eigh",
    "aten::linalg_inv_ex", "aten::_linalg_solve_ex"};
/// cuBLAS: one workspace for each thread and stream (aten/src/ATen/cuda/CublasHandlePool.cpp of torch 2.13).
inline const std::set<std::string> BLAS = {
    "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::addmv", "aten::dot"};
inline std::map<std::pair<size_t, StreamKey>, c10::DataPtr> workspaces;

[[noreturn]] inline void forbidden(Graph* graph, const std::string& what) {
  graph->broken = true;
  TORCH_CHECK(false, "CUDA error: operation not permitted when stream is capturing (", what, ")");
}

inline bool indexes(const std::string& operation) {
  return operation == "aten::index" || operation == "aten::index_put_" || operation == "aten::_index_put_impl_";
}

/// The operation's device; raises where arguments lie on several, as CUDA's kernels do.
inline int checked_device(const std::string& operation, const std::string& full, const std::vector<IValue>& arguments) {
  int device = -1;
  bool mixed = false, host_scalar = false, host_tensor = false;
  for (const auto& argument : arguments)
    each(argument, [&](const at::Tensor& t) {
      if (!t.defined()) return;
      if (on_device(t)) {
        mixed = mixed || (device >= 0 && device != t.device().index());
        if (device < 0) device = t.device().index();
      } else if (t.device().type() == c10::DeviceType::CPU)
        (t.dim() == 0 ? host_scalar : host_tensor) = true;
    });
  const std::string message = "Expected all tensors to be on the same device, but found at least two devices (in ";
  TORCH_CHECK(!mixed, message, full, ")");
  if (host_tensor) {
    TORCH_CHECK(indexes(operation), message, full, ")");
    event("index of the host");
  }
  TORCH_CHECK(
      !host_scalar || takes_host_scalars.count(full.substr(6)) || indexes(operation), message, full,
      ", which takes no scalar of the host)");
  Lock lock(mutex);
  if (listed.count(full.substr(6)) && !has_kernel.count(full.substr(6))) without_kernel.insert(full);
  return device < 0 ? current_device : device;
}

/// As in FusedAdamKernel.cu and FusedSgdKernel.cu: tensors of one parameter are laid out alike.
inline void check_fused(const std::string& operation, const std::vector<IValue>& arguments) {
  bool sgd = operation == "aten::_fused_sgd_";
  if (!sgd && operation != "aten::_fused_adam_" && operation != "aten::_fused_adamw_") return;
  std::vector<std::vector<at::Tensor>> lists;
  for (size_t i = 0; i < (sgd ? 3 : 4); i++)
    if (auto list = arguments[i].toTensorVector(); !list.empty()) lists.push_back(list);
  std::vector<at::TensorList> views(lists.begin(), lists.end());
  TORCH_CHECK(
      at::native::check_fast_path_restrictions(views),
      "params, grads and moments must have same dtype, device, and layout");
}

inline bool waits(const std::string& operation, const std::vector<IValue>& arguments) {
  bool found = WAITS.count(operation);
  if (operation == "aten::_index_put_impl_" || operation == "aten::index_put_")
    each(arguments[1], [&](const at::Tensor& t) { found = found || (t.defined() && t.scalar_type() == at::kBool); });
  return found;
}

inline void* workspace_for(const std::string& operation, const StreamKey& key) {
  if (!BLAS.count(operation)) return nullptr;
  Lock lock(mutex);
  auto place = std::make_pair(std::hash<std::thread::id>{}(std::this_thread::get_id()), key);
  auto found = workspaces.find(place);
  if (found == workspaces.end()) {
    On on(key.first);
    found = workspaces.emplace(place, allocate(4096)).first;
  }
  return found->second.get();
}

inline bool is_generator(const c10::Argument& argument) {
  return argument.type()->str().find("Generator") != std::string::npos;
}

/// One operation: checked, done by the processor's kernel, and noted; inside a capture recorded in place of being done.
inline void run(const c10::OperatorHandle& handle, Stack* stack, bool checks = true) {
  const auto& schema = handle.schema();
  const size_t count = schema.arguments().size();
  const auto begin = stack->size() - count;
  const std::vector<IValue> arguments(stack->begin() + begin, stack->end());
  const std::string operation = schema.name();
  const std::string full = schema.overload_name().empty() ? operation : operation + "." + schema.overload_name();
  const auto writes = [&](size_t i) {
    const auto* alias = schema.arguments()[i].alias_info();
    return alias && alias->isWrite();
  };

  int device = -1;
  if (checks)
    device = checked_device(operation, full, arguments);
  else
    each(arguments[0], [&](const at::Tensor& t) { device = t.device().index(); });
  check_fused(operation, arguments);
  StreamKey key = here(device);
  Graph* graph = capture_on(key);
  if (waits(operation, arguments)) {
    event("wait");
    if (graph) forbidden(graph, full);
    wait_for(key);
  }

  std::vector<std::pair<void*, bool>> touched;
  for (size_t i = 0; i < count; i++)
    each(arguments[i], [&](const at::Tensor& t) {
      if (on_device(t) && base(t)) touched.push_back({base(t), writes(i)});
    });
  void* workspace = workspace_for(operation, key);
  if (workspace) touched.push_back({workspace, true});

  Map map;
  Stack inner;
  for (size_t i = 0; i < count; i++) {
    IValue value = mapped(arguments[i], [&](const at::Tensor& t) { return to_host(t, map, graph != nullptr); });
    if (value.isNone() && is_generator(schema.arguments()[i])) value = IValue(host_generator(default_generator(device)));
    inner.push_back(std::move(value));
  }
  const std::vector<IValue> given(inner.begin(), inner.end());
  {
    c10::impl::ExcludeDispatchKeyGuard excluded(c10::DispatchKeySet(
        {c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot, c10::DispatchKey::AutocastCUDA,
         c10::DispatchKey::AutocastCPU}));
    at::AutoDispatchBelowADInplaceOrView below;
    handle.callBoxed(&inner);
  }

  for (size_t i = 0; i < count; i++) {  // arguments that changed their size or their memory
    if (!writes(i) || !arguments[i].isTensor() || !on_device(arguments[i].toTensor())) continue;
    at::Tensor real = arguments[i].toTensor(), changed = given[i].toTensor();
    if (!map.back.count(changed.storage().unsafeGetStorageImpl()) && changed.storage().nbytes()) {
      real.unsafeGetTensorImpl()->set_storage_keep_dtype(to_device(changed, device, map).storage());
      touched.push_back({base(real), true});
    }
    if (real.sizes() != changed.sizes() || real.strides() != changed.strides())
      real.unsafeGetTensorImpl()->set_sizes_and_strides(
          changed.sizes(), changed.strides(), changed.storage_offset());
  }
  if (graph)  // the capture's own memory may be filled to find shapes: nothing of it counts until a replay
    for (auto& [impl, storage] : map.there) {
      auto found = blocks.find(const_cast<void*>(impl->data()));
      if (found != blocks.end() && found->second->pool)
        memcpy(const_cast<void*>(impl->data()), storage.data(), impl->nbytes());
    }

  const auto& returns = schema.returns();
  const Stack results(inner.end() - returns.size(), inner.end());
  std::vector<Output> outputs;
  std::vector<IValue> given_back;
  for (size_t i = 0; i < returns.size(); i++) {
    const auto* alias = returns[i].alias_info();
    if (alias && alias->isWrite()) {
      for (size_t j = 0; j < count; j++)
        if (writes(j) && schema.arguments()[j].alias_info()->beforeSets() == alias->beforeSets()) {
          given_back.push_back(arguments[j]);
          break;
        }
      continue;
    }
    int item = 0;
    given_back.push_back(mapped(results[i], [&](const at::Tensor& t) {
      int number = item++;
      if (!t.defined()) return t;
      bool view = map.back.count(t.storage().unsafeGetStorageImpl());
      at::Tensor found = to_device(t, device, map);
      if (!view && on_device(found) && base(found)) {
        touched.push_back({base(found), true});
        Map own;
        if (graph) outputs.push_back({(int)i, number, to_host(found, own, false)});
      }
      return found;
    }));
  }
  stack->erase(stack->begin() + begin, stack->end());
  for (auto& value : given_back) stack->push_back(std::move(value));

  if (returns.size() == 1 && returns[0].alias_info() && !returns[0].alias_info()->isWrite()) return;  // only a view
  if (!graph) {
    launch(key, touched, full);
    return;
  }
  Map raw;
  Stack kept;
  for (size_t i = 0; i < count; i++) {
    IValue value = mapped(arguments[i], [&](const at::Tensor& t) { return to_host(t, raw, false); });
    if (value.isNone() && is_generator(schema.arguments()[i])) value = IValue(host_generator(default_generator(device)));
    kept.push_back(std::move(value));
  }
  Lock lock(mutex);
  for (auto& [address, _] : touched) {
    auto found = blocks.find(address);
    if (found != blocks.end() && !found->second->pool && graph->outside.insert(found->second).second)
      found->second->graphs++;
  }
  graph->nodes.push_back(Node{handle, kept, outputs, touched, workspace});
}

inline void fallback(const c10::OperatorHandle& handle, Stack* stack) { run(handle, stack); }

}  // namespace pretended
