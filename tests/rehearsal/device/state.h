// What the pretended device remembers: memory, streams, graphs, and what was noticed.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/Allocator.h>
#include <torch/csrc/utils/pybind.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace pretended {

namespace py = pybind11;
using c10::DeviceIndex;
using c10::IValue;
using Stack = torch::jit::Stack;
using Lock = std::lock_guard<std::recursive_mutex>;

/// A stream: the device and the stream's number there; 0 is the default one.
using StreamKey = std::pair<int, int64_t>;
/// By stream, how many of its launches are known to be over.
using Clock = std::map<StreamKey, uint64_t>;

inline std::recursive_mutex mutex;
inline int device_count = 2;
inline thread_local int current_device = 0;
inline thread_local std::map<int, int64_t> current_stream;

// ---- what was noticed -------------------------------------------------------------------------------------------------
inline std::vector<std::string> reports;
inline std::map<std::string, int64_t> counts;
/// Operations that native_functions.yaml has no kernel of CUDA's for.
inline std::set<std::string> without_kernel;
inline std::set<std::string> takes_host_scalars, has_kernel, listed;
inline py::object* listener = nullptr;

inline void report(const std::string& text) {
  Lock lock(mutex);
  if (reports.size() < 1000) reports.push_back(text);
}

/// Counts an event, and tells Python of it, which knows the line of the project that caused it.
inline void event(const std::string& kind) {
  {
    Lock lock(mutex);
    counts[kind]++;
  }
  if (!listener || !Py_IsInitialized()) return;
  py::gil_scoped_acquire gil;
  py::object held = *listener;
  try {
    held(kind);
  } catch (py::error_already_set& error) {  // an error of Python's must not travel through torch
    error.discard_as_unraisable("the pretended device's listener");
  }
}

// ---- memory -----------------------------------------------------------------------------------------------------------
struct Block {
  void* address;
  size_t bytes;
  int device;
  int64_t stream;
  int pool;
  bool live = true;
  int graphs = 0;  // that have recorded its address
  bool written = false;
  StreamKey writer;
  uint64_t write_time = 0;
  std::map<StreamKey, uint64_t> readers;
  std::string last_writer;
};
inline std::unordered_map<void*, Block*> blocks;

struct Usage {
  int64_t current = 0, peak = 0, reserved = 0, reserved_peak = 0, limit = -1, allocations = 0;
};
inline std::map<int, Usage> usage;

/// Memory of graphs that are captured into one pool, which they use again, one after the other.
struct Pool {
  std::vector<Block*> free;
  int users = 0;
  int64_t bytes = 0;
};
inline std::map<int, Pool> pools;
inline int next_pool = 1;
inline std::map<void*, size_t> pinned;

// ---- graphs -----------------------------------------------------------------------------------------------------------
struct Output {
  int result;
  int item;
  at::Tensor destination;
};
struct Node {
  c10::OperatorHandle operation;
  Stack arguments;
  std::vector<Output> outputs;
  std::vector<std::pair<void*, bool>> touched;  // address, and whether it is written
  void* workspace = nullptr;
};
struct Graph {
  int pool = 0;
  StreamKey stream;
  std::vector<Node> nodes;
  std::vector<Block*> made;
  std::set<Block*> outside;
  std::vector<std::pair<Block*, std::string>> before;
  bool broken = false, ended = false;
};
inline std::map<StreamKey, Graph*> capturing;

// ---- streams ----------------------------------------------------------------------------------------------------------
inline std::map<StreamKey, Clock> clocks;
inline Clock host;
/// Memory that its stream has back while another may still use it.
struct Pending {
  StreamKey owner, user;
  uint64_t time;
  std::string what;
};
inline std::vector<Pending> pending;

inline int64_t stream_of(int device) {
  auto found = current_stream.find(device);
  return found == current_stream.end() ? 0 : found->second;
}
inline StreamKey here(int device) { return {device, stream_of(device)}; }
inline std::string name(const StreamKey& key) {
  return "cuda:" + std::to_string(key.first) + "/stream " + std::to_string(key.second);
}
inline uint64_t seen(const Clock& clock, const StreamKey& key) {
  auto found = clock.find(key);
  return found == clock.end() ? 0 : found->second;
}
inline void merge(Clock& into, const Clock& other) {
  for (auto& [key, time] : other) into[key] = std::max(into[key], time);
}
/// The host waits for a stream, or for all of a device.
inline void wait_for(const StreamKey& key) {
  Lock lock(mutex);
  merge(host, clocks[key]);
}
inline void wait_for_device(int device) {
  Lock lock(mutex);
  for (auto& [key, clock] : clocks)
    if (key.first == device) merge(host, clock);
}
inline Graph* capture_on(const StreamKey& key) {
  Lock lock(mutex);
  auto found = capturing.find(key);
  return found == capturing.end() ? nullptr : found->second;
}

/// Inside, another device is the current one.
struct On {
  int kept;
  explicit On(int device) : kept(current_device) { current_device = device; }
  ~On() { current_device = kept; }
};

/// Notes what a launch on a stream reads and writes, and says where another stream may still be at it.
inline void launch(const StreamKey& key, const std::vector<std::pair<void*, bool>>& touched, const std::string& what) {
  Lock lock(mutex);
  auto& clock = clocks[key];
  merge(clock, host);
  uint64_t time = ++clock[key];
  for (auto& [address, writes] : touched) {
    auto found = blocks.find(address);
    if (found == blocks.end()) continue;
    Block* block = found->second;
    if (!block->live && !block->pool) report("FREED memory is used by " + what + " on " + name(key));
    if (block->device != key.first) report("DEVICE " + what + " on " + name(key) + " touches memory of another");
    // What is both may be written alone, such as a product's result that is given as its summand, times 0.
    bool read = !writes && std::find(touched.begin(), touched.end(), std::make_pair(address, true)) == touched.end();
    if (read && !block->written) report("UNWRITTEN memory is read by " + what + " on " + name(key));
    if (block->written && block->writer != key && seen(clock, block->writer) < block->write_time)
      report("RACE " + what + " on " + name(key) + " meets what " + block->last_writer + " may still write");
    if (writes) {
      for (auto& [user, read] : block->readers)
        if (user != key && seen(clock, user) < read)
          report("RACE " + what + " on " + name(key) + " writes what " + name(user) + " may still read");
      block->written = true;
      block->writer = key;
      block->write_time = time;
      block->last_writer = what;
      block->readers.clear();
    } else
      block->readers[key] = time;
  }
}

}  // namespace pretended
