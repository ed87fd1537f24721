// Arguments that several particle operations have.
#pragma once

#include <string>
#include <vector>

#include "request.h"

namespace feynkac::addon {

// Number of the particle in the first row.
inline uint32_t firstOf(const Napi::Value& value) { return value.IsUndefined() ? 0 : wordOf(value, "first"); }

// A list of arrays of one size.
template <class T>
std::vector<const T*> termsOf(Request& q, const char* name, size_t size) {
  return listOf(q[name], name,
                [&](const Napi::Value& v, const std::string& n) -> const T* { return q.arrayAt<T>(v, n, size).data; });
}

// Arrays of rows, to be moved from one to the other.
struct RowPairs {
  std::vector<RowView> from, to;

  // What the copies of n rows cost, for Request::startOrDo.
  size_t valuesOf(size_t n) const {
    size_t bytes = 0;
    for (const RowView& rows : from) bytes += rows.bytes;
    return n * (1 + bytes / 64);
  }
};

inline RowPairs rowPairsOf(Request& q, size_t n) {
  const auto rows = [&](const Napi::Value& v, const std::string& name) { return q.rowsAt(v, name, n); };
  RowPairs pairs{listOf(q["from"], "from", rows), listOf(q["to"], "to", rows)};
  if (pairs.from.size() != pairs.to.size()) throw wrong("to", "as many arrays as from");
  for (size_t j = 0; j < pairs.from.size(); ++j)
    if (pairs.from[j].bytes != pairs.to[j].bytes || pairs.from[j].data == pairs.to[j].data)
      throw wrong("to", "other arrays with rows of the same size as from");
  return pairs;
}

}  // namespace feynkac::addon
