// Forward-mode dual numbers in float64: a reference writes only the forward pass, and its first and second derivatives
// follow exactly. Dual2{{x, t}, {d, 0}} carries, through y = f(x): y.a.a = f, y.a.b = J t, y.b.a = J d and y.b.b =
// d'/dx (J t) in direction d.
#pragma once

#include <cmath>
#include <vector>

namespace feynkac::test {

template <class T>
struct Dual {
  T a{}, b{};
  Dual() = default;
  Dual(double value) : a(value) {}
  Dual(T value, T derivative) : a(value), b(derivative) {}
  Dual operator+(const Dual& o) const { return {a + o.a, b + o.b}; }
  Dual operator-(const Dual& o) const { return {a - o.a, b - o.b}; }
  Dual operator*(const Dual& o) const { return {a * o.a, a * o.b + b * o.a}; }
  Dual operator/(const Dual& o) const { return {a / o.a, (b - a / o.a * o.b) / o.a}; }
  Dual& operator+=(const Dual& o) { return *this = *this + o; }
};
using Dual2 = Dual<Dual<double>>;

inline double exponential(double x) { return std::exp(x); }
inline double root(double x) { return std::sqrt(x); }
template <class T>
Dual<T> exponential(const Dual<T>& x) {
  const T y = exponential(x.a);
  return {y, y * x.b};
}
template <class T>
Dual<T> root(const Dual<T>& x) {
  const T y = root(x.a);
  return {y, x.b / (y + y)};
}

inline Dual2 dual2(double x, double tangent, double direction) { return {{x, tangent}, {direction, 0.0}}; }

}  // namespace feynkac::test
